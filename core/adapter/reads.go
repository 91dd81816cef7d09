package adapter

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Reads is what an adapter reads for a slot of a prompt.
type Reads int

// What adapters read.
const (
	OneState         Reads = iota // the state that the slot is about
	EachState                     // the state after each item, which all get soft tokens of their own
	SumOfStates                   // the sum of the states after each item, which says how many there are as well
	StatesSideBySide              // the states after each item side by side, zero after the history's end
)

// EveryItem says whether the states after all items of a history are read, not one.
func (r Reads) EveryItem() bool { return r != OneState }

// ShowsAllItems says whether the soft tokens of a slot stand for all items of a history, one after
// another.
func (r Reads) ShowsAllItems() bool { return r == EachState || r == SumOfStates }

// Encoder gives the states that are to be put into words; a recommender is one. Histories are item
// ids, oldest first, at least one each; of a longer one than Positions the last items count.
type Encoder interface {
	StateWidth() int // W
	ItemWidth() int  // D, of items' vectors
	Positions() int  // T, the items of a history that count
	// States writes the state after the last item of each history, [n, W].
	States(ctx context.Context, dst []float32, histories [][]int32) error
	// AllStates writes the state after each item, [n, T, W], zero behind a history's end.
	AllStates(ctx context.Context, dst []float32, histories [][]int32) error
	// Items writes the vector of the last item of each history, [n, D].
	Items(ctx context.Context, dst []float32, histories [][]int32) error
}

// Source is an encoder of the sequences of a data set: a recommender, an ONNX encoder, or a file of
// states.
type Source interface {
	Encoder
	// Past gives a sequence's history, with the next item at its end or without it, as the methods
	// of Encoder take it.
	Past(s dataset.Sequence, next bool) []int32
	// TrainedOn refuses a data set that the states do not belong to.
	TrainedOn(d *dataset.Dataset) error
	// Hash is the content hash of the file that the states follow from.
	Hash() string
	Close() error
}

// InputWidth is how many numbers an adapter reads for each state of a prompt with the slots.
func InputWidth(encoder Encoder, slots []string) int {
	if slices.Contains(slots, prompt.SlotItem) {
		return encoder.ItemWidth()
	}
	return encoder.StateWidth()
}

// States gives each history what the slots of a prompt ask for, as an adapter that reads so takes
// it. {before} is about the history without its last item, {state} and {after} are about all of it
// (see prompt.About), and {item} is its last item's vector at length 1: what an oracle means is its
// direction, for it is a mean of items and shorter than any. A history whose state holds NaN or
// infinity is an error that gives its number.
func (r Reads) States(ctx context.Context, encoder Encoder, slots []string, histories [][]int32) ([]prompt.States, error) {
	all := make([]prompt.States, len(histories))
	for _, slot := range slots {
		asked := make([][]int32, len(histories))
		for i, history := range histories {
			if asked[i] = prompt.About(slot, history); len(asked[i]) == 0 {
				return nil, fmt.Errorf("adapter: history %d has %d items; slot {%s} needs one more", i, len(history), slot)
			}
		}
		for first := 0; first < len(asked); first += atOnce {
			last := min(first+atOnce, len(asked))
			if err := r.fill(ctx, encoder, slot, first, asked[first:last], all[first:last]); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// atOnce is how many histories' states are computed between two copies, so that those of long
// histories need little memory.
const atOnce = 4096

// Count is how many states a slot holds for a history.
func (r Reads) Count(encoder Encoder, slot string, history []int32) int {
	if r == EachState {
		return min(len(prompt.About(slot, history)), encoder.Positions())
	}
	return 1
}

// fill adds one slot's states to those of each history, of which the first has a number, for
// messages.
func (r Reads) fill(ctx context.Context, encoder Encoder, slot string, first int, histories [][]int32, all []prompt.States) error {
	width, compute := encoder.StateWidth(), encoder.States
	switch {
	case slot == prompt.SlotItem && r.EveryItem():
		return fmt.Errorf("adapter: slot {%s} holds one vector, of which an adapter of the states after all items has nothing to read; choose %s",
			slot, Names(ReadsOne))
	case slot == prompt.SlotItem:
		width, compute = encoder.ItemWidth(), encoder.Items
	case r.EveryItem():
		width, compute = width*encoder.Positions(), encoder.AllStates
	}
	states := make([]float32, len(histories)*width)
	if err := compute(ctx, states, histories); err != nil {
		return err
	}
	for i, history := range histories {
		own := states[i*width : (i+1)*width]
		if r == EachState {
			own = own[:min(len(history), encoder.Positions())*encoder.StateWidth()]
		}
		for at, x := range own {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf("adapter: history %d: value %d of its state is NaN or infinite", first+i, at)
			}
		}
		r.lay(&all[i], encoder, slot, own)
	}
	return nil
}

// Given lays out vectors that are there without a history, as an adapter that reads so takes them:
// one for each slot of a prompt, in their order, or, where it reads the states after all items, 1
// to T of them for the only slot. Each is finite and as wide as InputWidth says. That of {item}
// gets the length 1, as in States.
func (r Reads) Given(encoder Encoder, slots []string, vectors [][]float32) (prompt.States, error) {
	shown, fit := fmt.Sprint(len(slots)), len(vectors) == len(slots)
	if r.EveryItem() {
		if len(slots) != 1 {
			return prompt.States{}, fmt.Errorf("adapter: the prompt shows the states after all items in %d slots; give a history", len(slots))
		}
		most := encoder.Positions()
		shown, fit = fmt.Sprintf("1 to %d", most), len(vectors) >= 1 && len(vectors) <= most
	}
	if !fit {
		return prompt.States{}, fmt.Errorf("adapter: %d states are given; the prompt shows %s", len(vectors), shown)
	}
	var states prompt.States
	if r.EveryItem() {
		r.lay(&states, encoder, slots[0], slices.Concat(vectors...))
		return states, nil
	}
	for i, slot := range slots {
		r.lay(&states, encoder, slot, slices.Clone(vectors[i]))
	}
	return states, nil
}

// lay adds what a slot shows: a vector, or the states after all items, side by side or summed up.
// It may change the values.
func (r Reads) lay(to *prompt.States, encoder Encoder, slot string, values []float32) {
	count := 1
	switch {
	case r == EachState:
		count = len(values) / encoder.StateWidth()
	case r == SumOfStates: // the sum, which says how many there are as well
		sum := make([]float32, encoder.StateWidth())
		for i, x := range values {
			sum[i%len(sum)] += x
		}
		values = sum
	case r == StatesSideBySide: // zero behind a history's end
		values = append(values, make([]float32, encoder.Positions()*encoder.StateWidth()-len(values))...)
	case slot == prompt.SlotItem:
		ScaleToUnit(values)
	}
	to.Counts = append(to.Counts, count)
	to.Values = append(to.Values, values...)
}

// Samples makes training samples of histories and the tokens to answer with. slots are those of the
// prompt.
func (r Reads) Samples(ctx context.Context, encoder Encoder, slots []string, histories, answers [][]int32) ([]prompt.Sample, error) {
	if len(histories) != len(answers) {
		return nil, fmt.Errorf("adapter: %d histories with %d answers", len(histories), len(answers))
	}
	states, err := r.States(ctx, encoder, slots, histories)
	if err != nil {
		return nil, err
	}
	samples := make([]prompt.Sample, len(histories))
	for i := range samples {
		samples[i] = prompt.Sample{States: states[i], Answer: answers[i]}
		if r == SumOfStates {
			samples[i].Items = histories[i]
		}
	}
	return samples, nil
}

// ScaleToUnit gives a vector the length 1, unless it is zero.
func ScaleToUnit(v []float32) {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / math.Sqrt(sum))
	}
}
