package align

import (
	"fmt"
	"math"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Encode gives the state after each history (item ids, oldest first, at least one), [n, D]. A recommender is one.
type Encode func(histories [][]int32) ([]float32, error)

// States gives each history the states that a prompt's slots ask for, [n, N, D]: {before} is the state without the
// history's last item, {state} and {after} are the state with it. A history whose state holds NaN or infinity is an
// error that gives its number.
func States(slots []string, histories [][]int32, encode Encode) ([]float32, error) {
	if len(histories) == 0 {
		return nil, nil
	}
	bySlot := make([][]float32, len(slots))
	for s, slot := range slots {
		asked := histories
		if slot == prompt.SlotBefore {
			asked = make([][]int32, len(histories))
			for i, history := range histories {
				if len(history) < 2 {
					return nil, fmt.Errorf("align: history %d has %d items; a state before its last item needs at least 2",
						i, len(history))
				}
				asked[i] = history[:len(history)-1]
			}
		}
		states, err := encode(asked)
		if err != nil {
			return nil, err
		}
		if len(states) == 0 || len(states)%len(histories) != 0 {
			return nil, fmt.Errorf("align: %d state values for %d histories", len(states), len(histories))
		}
		width := len(states) / len(histories)
		for at, x := range states {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return nil, fmt.Errorf("align: history %d: value %d of its state is NaN or infinite", at/width, at%width)
			}
		}
		bySlot[s] = states
	}
	var all []float32
	for i := range histories {
		for _, states := range bySlot {
			width := len(states) / len(histories)
			all = append(all, states[i*width:(i+1)*width]...)
		}
	}
	return all, nil
}

// Samples makes training samples of histories and the texts to answer with. slots are those of the prompt.
func Samples(v prompt.Vocabulary, slots []string, histories [][]int32, answers []string, encode Encode) (
	[]prompt.Sample, error) {
	if len(histories) != len(answers) {
		return nil, fmt.Errorf("align: %d histories with %d answers", len(histories), len(answers))
	}
	states, err := States(slots, histories, encode)
	if err != nil {
		return nil, err
	}
	tokens := map[string][]int32{}
	samples := make([]prompt.Sample, len(histories))
	for i, text := range answers {
		if tokens[text] == nil {
			if tokens[text], err = prompt.Answer(v, text); err != nil {
				return nil, err
			}
		}
		width := len(states) / len(histories)
		samples[i] = prompt.Sample{States: states[i*width : (i+1)*width], Answer: tokens[text]}
	}
	return samples, nil
}

// Pairs makes the lessons of the warm start: the state after each history with the title of its last item.
func Pairs(v prompt.Vocabulary, histories [][]int32, titles []string, encode Encode) ([]Pair, error) {
	samples, err := Samples(v, []string{prompt.SlotAfter}, histories, titles, encode)
	if err != nil {
		return nil, err
	}
	pairs := make([]Pair, len(samples))
	for i, s := range samples {
		pairs[i] = Pair{State: s.States, Title: s.Answer}
	}
	return pairs, nil
}
