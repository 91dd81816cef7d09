package recommender

import (
	"context"
	"errors"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// ErrNoTimes is the error of a recommender that reads times and is given items alone.
var ErrNoTimes = errors.New("recommender: it reads the times of items, which a history of items alone does not have; " +
	"use a file of its states, or train it without times")

// timed is a recommender that reads times, as an encoder of a data set's sequences: in a history,
// -1-e stands for event number e.
type timed struct {
	*Recommender
	events []dataset.Event
}

// Of gives r as an encoder of the sequences of a data set, as Load reads it: r itself, unless it
// reads the times of their items.
func Of(r Live, d *dataset.Dataset) Live { return of(r, d.Events) }

func of(r Live, events []dataset.Event) Live {
	if own, ok := r.(*Recommender); ok && own.config.Timed() {
		return timed{own, events}
	}
	return r
}

func (t timed) standIns() standIns { return standIns{events: t.events} }

// Past gives the events of a sequence's history.
func (t timed) Past(s dataset.Sequence, next bool) []int32 { return s.Rows(next) }

// States is Recommender.States.
func (t timed) States(ctx context.Context, dst []float32, histories [][]int32) error {
	return t.states(ctx, dst, histories, t.standIns(), false)
}

// AllStates is Recommender.AllStates.
func (t timed) AllStates(ctx context.Context, dst []float32, histories [][]int32) error {
	return t.states(ctx, dst, histories, t.standIns(), true)
}

// Items is Recommender.Items.
func (t timed) Items(_ context.Context, dst []float32, histories [][]int32) error {
	return t.items(dst, histories, t.standIns())
}

// Scores is Recommender.Scores.
func (t timed) Scores(ctx context.Context, dst []float32, histories [][]int32) error {
	return t.run(ctx, dst, t.config.Items, histories, t.standIns(), t.model.Scores)
}
