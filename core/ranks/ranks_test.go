package ranks_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/testranks"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// model has one tensor that is trained and one that is not.
type model struct{ gradient []float32 }

func (m *model) Tensors() ([]cgo.TensorInfo, error) {
	return []cgo.TensorInfo{{Name: "fixed", Shape: []int{2}}, {Name: "trained", Shape: []int{len(m.gradient)}, Trainable: true}}, nil
}

func (m *model) Read(dst []float32, index int, slot cgo.Slot) error {
	if index != 1 || slot != cgo.Gradient {
		return fmt.Errorf("slot %v of tensor %d is read", slot, index)
	}
	copy(dst, m.gradient)
	return nil
}

func (m *model) Write(index int, slot cgo.Slot, src []float32) error {
	if index != 1 || slot != cgo.Gradient {
		return fmt.Errorf("slot %v of tensor %d is written", slot, index)
	}
	copy(m.gradient, src)
	return nil
}

// add adds a leaf's gradient: numbers whose sum depends on their order.
func (m *model) add(leaf int) {
	for k := range m.gradient {
		m.gradient[k] += float32(math.Sin(float64(leaf*100+k))) * float32(math.Pow(10, float64(leaf%5-2)))
	}
}

// Sums and losses have the same bits on any number of ranks, with weights and without, also where
// there are fewer leaves or numbers than ranks.
func TestSum(t *testing.T) {
	for _, weighted := range []bool{false, true} {
		for _, n := range []int{1, 7} {
			for _, count := range []int{1, 3, 11} {
				leaves := make([]ranks.Leaf, count)
				for i := range leaves {
					leaves[i].Cost = float64(i % 4)
					if weighted {
						leaves[i].Weight = 1 / float64(i+3)
					}
				}
				sum := func(ctx context.Context) ([]float32, []float64, error) {
					m := &model{make([]float32, n)}
					losses, err := ranks.Of(ctx).Sum(ctx, m, leaves, func(leaf int) (float64, error) {
						m.add(leaf)
						return float64(leaf) / 3, nil
					})
					return m.gradient, losses, err
				}
				want, wantLosses, err := sum(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, size := range []int{2, 3, 8} {
					for _, err := range testranks.Run(t, size, func(ctx context.Context, rank int) error {
						got, losses, err := sum(ctx)
						if err == nil && (!slices.Equal(got, want) || !slices.Equal(losses, wantLosses)) {
							err = fmt.Errorf("rank %d of %d has %v and %v, not %v and %v", rank, size, got, losses, want, wantLosses)
						}
						return err
					}) {
						if err != nil {
							t.Error(err)
						}
					}
				}
			}
		}
	}
}

// A leaf that fails stops all ranks, which say whose it was, and leaves no gradient.
func TestSum_failure(t *testing.T) {
	broken := errors.New("out of paper")
	failures := testranks.Run(t, 3, func(ctx context.Context, rank int) error {
		m := &model{make([]float32, 5)}
		_, err := ranks.Of(ctx).Sum(ctx, m, make([]ranks.Leaf, 3), func(leaf int) (float64, error) {
			m.add(leaf)
			if rank == 1 {
				return 0, broken
			}
			return 0, nil
		})
		if slices.ContainsFunc(m.gradient, func(x float32) bool { return x != 0 }) {
			return fmt.Errorf("rank %d is left with the gradient %v", rank, m.gradient)
		}
		return err
	})
	for rank, err := range failures {
		if rank == 1 {
			if !errors.Is(err, broken) {
				t.Errorf("rank 1: %v", err)
			}
		} else if !errors.Is(err, ranks.ErrLeft) || !strings.Contains(err.Error(), "rank 1 (process ") || !strings.Contains(err.Error(), "out of paper") {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// A rank that was told to stop makes the others stop as if they had been told.
func TestSum_canceled(t *testing.T) {
	failures := testranks.Run(t, 2, func(ctx context.Context, rank int) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		_, err := ranks.Of(ctx).Sum(ctx, &model{make([]float32, 5)}, make([]ranks.Leaf, 2), func(leaf int) (float64, error) {
			if rank == 0 {
				cancel()
			}
			return 0, ctx.Err()
		})
		return err
	})
	for rank, err := range failures {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// A rank that falls silent is named by all others, soon.
func TestGroup_death(t *testing.T) {
	beat, silence := ranks.Beat, ranks.Silence
	ranks.Beat, ranks.Silence = 10*time.Millisecond, 300*time.Millisecond
	defer func() { ranks.Beat, ranks.Silence = beat, silence }()
	mute := make(chan struct{})
	failures := testranks.RunMuted(t, 3, 2, mute, func(ctx context.Context, rank int) error {
		g := ranks.Of(ctx)
		if rank == 2 {
			close(mute) // from here on it is as good as dead
			return nil
		}
		_, err := g.First(ctx, 1)
		if err != nil {
			return err
		}
		return g.Agree(ctx, "the step", "1")
	})
	for rank, err := range failures[:2] {
		if !errors.Is(err, ranks.ErrLeft) || !strings.Contains(err.Error(), "rank 2 (process ") || !strings.Contains(err.Error(), "has died") {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

func TestGroup_Agree(t *testing.T) {
	for rank, err := range testranks.Run(t, 2, func(ctx context.Context, rank int) error {
		return errors.Join(ranks.Of(ctx).Agree(ctx, "the seed", "1"), ranks.Of(ctx).Agree(ctx, "the batch", fmt.Sprint(64+rank)))
	}) {
		if err == nil || strings.Contains(err.Error(), "the seed") || !strings.Contains(err.Error(), "the batch of rank 0 ") {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

func TestGroup_First(t *testing.T) {
	for rank, err := range testranks.Run(t, 3, func(ctx context.Context, rank int) error {
		if got, err := ranks.Of(ctx).First(ctx, float64(rank)+0.1); err != nil || got != 0.1 {
			return fmt.Errorf("%v, %w", got, err)
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
	if got, err := (*ranks.Group)(nil).First(t.Context(), 7); got != 7 || err != nil {
		t.Errorf("alone: %v, %v", got, err)
	}
}

// Ranks that may use the same CPUs share them.
func TestGroup_Threads(t *testing.T) {
	testranks.Run(t, 4, func(ctx context.Context, rank int) error {
		if got := ranks.Of(ctx).Threads(); got < 1 || got > runtime.NumCPU() {
			t.Errorf("rank %d has %d threads", rank, got)
		}
		return nil
	})
}
