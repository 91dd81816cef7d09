package recommender

import (
	"fmt"
	"sync"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// Encoder computes for one history at a time, and allocates no memory: what a service wants. It may
// be used by many goroutines, whose calls wait for each other, as they would for the engine. Scores
// of oracles are asked of the recommender.
type Encoder struct {
	recommender *Recommender
	mu          sync.Mutex // of what follows
	history     cgo.Histories
	scores      []float32
}

// Encoder makes an encoder, which stops working when the recommender is closed.
func (r *Recommender) Encoder() *Encoder {
	return &Encoder{
		recommender: r,
		history:     cgo.Histories{Items: make([]int32, r.config.Positions), Lengths: make([]int32, 1)},
		scores:      make([]float32, r.config.Items),
	}
}

// State writes the state after the last item of a history (see Recommender.States) to dst [W].
func (e *Encoder) State(dst []float32, history []int32) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.take(history); err != nil {
		return err
	}
	if err := e.recommender.model.States(dst, e.history, false); err != nil {
		return err
	}
	return finite(dst, len(dst), 0)
}

// Recommend appends to dst the k items with the highest scores after a history (see Recommend).
func (e *Encoder) Recommend(dst []Scored, history []int32, k int) ([]Scored, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.take(history); err != nil {
		return dst, err
	}
	if err := e.recommender.model.Scores(e.scores, e.history); err != nil {
		return dst, err
	}
	if err := finite(e.scores, len(e.scores), 0); err != nil {
		return dst, err
	}
	return appendHighest(dst, e.scores, k, history), nil
}

// take lays out a history.
func (e *Encoder) take(history []int32) error {
	c := &e.recommender.config
	last := history[max(0, len(history)-c.Positions):]
	if len(last) == 0 {
		return fmt.Errorf("recommender: the history is empty; at least one item is needed")
	}
	for _, item := range history {
		if err := checkItem(item, c.Items); err != nil {
			return fmt.Errorf("recommender: %w", err)
		}
	}
	for i := copy(e.history.Items, last); i < len(e.history.Items); i++ {
		e.history.Items[i] = int32(c.Items)
	}
	e.history.Lengths[0] = int32(len(last))
	return nil
}
