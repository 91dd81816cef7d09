package align

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/internal/testranks"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// trainOn trains a job on n ranks, which share its folder, and gives what rank 0 has.
func trainOn(t *testing.T, n int, job Job) (*Result, []error) {
	t.Helper()
	var first *Result
	failures := testranks.Run(t, n, func(ctx context.Context, rank int) error {
		own := job
		if rank > 0 {
			own.Progress = nil
		}
		result, err := Train(ctx, own)
		if rank == 0 {
			first = result
		}
		return err
	})
	return first, failures
}

// On several ranks training leaves the bits that one leaves.
func TestTrain_onRanks(t *testing.T) {
	for warm, jobOf := range map[int]func(*testing.T) Job{0: tinyJob, 5: tinyJob, 7: twoQuestions} {
		alone := jobOf(t)
		alone.Config.WarmMicroBatch = warm
		want := train(t, alone)
		for _, n := range []int{2, 3} {
			job := jobOf(t)
			job.Config.WarmMicroBatch = warm
			got, failures := trainOn(t, n, job)
			if err := errors.Join(failures...); err != nil {
				t.Fatal(err)
			}
			sameRun(t, got, want, job.Dir, alone.Dir)
		}
	}
}

// A run goes on, after one of its ranks was told to stop, on another number of ranks, with the same
// bits.
func TestTrain_onOtherRanks(t *testing.T) {
	alone := tinyJob(t)
	want := train(t, alone)
	job := tinyJob(t)
	interrupted := errors.New("someone pulled the plug")
	failures := testranks.Run(t, 3, func(ctx context.Context, rank int) error {
		own := job
		own.Progress = nil
		if rank == 2 {
			ctx, cancel := context.WithCancelCause(ctx)
			own.Progress = func(e Event) {
				if e.Phase == "training" && e.Step == 9 {
					cancel(interrupted)
				}
			}
			_, err := Train(ctx, own)
			return err
		}
		_, err := Train(ctx, own)
		return err
	})
	for rank, err := range failures {
		if !errors.Is(err, context.Canceled) || rank == 0 && (!errors.Is(err, artifact.ErrResumable) || !errors.Is(err, ranks.ErrLeft) ||
			!strings.Contains(err.Error(), "after step 9 and saved") || !strings.Contains(err.Error(), "rank 2 (process ")) {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
	got, failures := trainOn(t, 2, job)
	if err := errors.Join(failures...); err != nil {
		t.Fatal(err)
	}
	sameRun(t, got, want, job.Dir, alone.Dir)
}

// A rank that was given another job is named.
func TestTrain_onRanksThatDiffer(t *testing.T) {
	job := tinyJob(t)
	for rank, err := range testranks.Run(t, 2, func(ctx context.Context, rank int) error {
		own := job
		own.Train = own.Train[:len(own.Train)-rank]
		_, err := Train(ctx, own)
		return err
	}) {
		if err == nil || !strings.Contains(err.Error(), "give all ranks the same command") {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}
