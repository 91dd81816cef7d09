// Package testranks makes groups of ranks within one process, so that training on several ranks is
// tested without MPI.
package testranks

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// message is what one rank has sent another.
type message struct {
	from, tag int
	data      []byte
}

// network is the inboxes of all ranks.
type network struct {
	mu      sync.Mutex
	inboxes [][]message
}

// wire is a network as one rank sees it.
type wire struct {
	*network
	rank int
	mute <-chan struct{} // once it is closed, nothing that the rank sends arrives; nil: never
}

func (w *wire) Rank() int { return w.rank }
func (w *wire) Size() int { return len(w.inboxes) }

func (w *wire) Send(to, tag int, data []byte) error {
	select {
	case <-w.mute:
		return nil
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inboxes[to] = append(w.inboxes[to], message{w.rank, tag, slices.Clone(data)})
	return nil
}

func (w *wire) Receive() (from, tag int, data []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.inboxes[w.rank]) == 0 {
		return -1, 0, nil, nil
	}
	m := w.inboxes[w.rank][0]
	w.inboxes[w.rank] = w.inboxes[w.rank][1:]
	return m.from, m.tag, m.data, nil
}

func (w *wire) Leave() error { return nil }

// Run calls body on each of n ranks at the same time, with a context of its own in which training
// is shared, and gives the errors of all.
func Run(t testing.TB, n int, body func(ctx context.Context, rank int) error) []error {
	t.Helper()
	return RunMuted(t, n, -1, nil, body)
}

// RunMuted is Run where one rank is as good as dead, once mute is closed.
func RunMuted(t testing.TB, n, muted int, mute <-chan struct{}, body func(ctx context.Context, rank int) error) []error {
	t.Helper()
	net := &network{inboxes: make([][]message, n)}
	failures := make([]error, n)
	var all sync.WaitGroup
	for rank := range n {
		all.Go(func() {
			w := &wire{network: net, rank: rank}
			if rank == muted {
				w.mute = mute
			}
			g, err := ranks.New(t.Context(), w)
			if err == nil {
				err = body(ranks.With(t.Context(), g), rank)
				err = errors.Join(err, g.Leave(err))
			}
			failures[rank] = err
		})
	}
	all.Wait()
	return failures
}
