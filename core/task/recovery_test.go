package task

import (
	"context"
	"reflect"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

func TestRecovered_byHand(t *testing.T) {
	titles := []string{"It", "The Matrix", "Heat", "Heat"}
	known := evaluate.NewTitles([]string{"It", "The Matrix", "Heat", "Kolya"})
	for answer, want := range map[string]evaluate.Hits{
		"It\nThe Matrix\nHeat\nHeat":      {Exact: 4, Contains: 3, Paper: 3, Valid: 4},
		"heat.\n\nthe  matrix\n":          {Exact: 2, Contains: 2, Paper: 0, Valid: 2},
		"Heat\nHeat\nHeat":                {Exact: 2, Contains: 1, Paper: 1, Valid: 3},
		"It was The Matrix":               {Exact: 0, Contains: 2, Paper: 2, Valid: 0},
		"1. Heat\nKolya":                  {Exact: 0, Contains: 1, Paper: 1, Valid: 1},
		"":                                {},
		"The Matrix, Heat and nothing":    {Exact: 0, Contains: 2, Paper: 2, Valid: 0},
		"Theatre\nItem\nthematrixheating": {Paper: 1}, // "It" in "Item"
	} {
		if got := recovered(answer, titles, known); got != want {
			t.Errorf("%q: %+v, want %+v", answer, got, want)
		}
	}
}

func TestRecovery_counts(t *testing.T) {
	var titles []string
	for _, letter := range "ABCDEFGHIJ" {
		titles = append(titles, string(letter))
	}
	var samples []evaluate.Sample
	for i := range 11 { // sample i is answered with its first i titles
		samples = append(samples, evaluate.Sample{ID: titles[0] + string(rune('a'+i)), States: state(float32(i)), Titles: titles})
	}
	samples = append(samples, evaluate.Sample{ID: "short", States: state(2), Titles: titles[:3]})
	answer := func(_ context.Context, asked []prompt.States) (answers []prompt.Answer, err error) {
		for _, s := range asked {
			text := ""
			for _, title := range titles[:int(s.Values[0])] {
				text += title + "\n"
			}
			answers = append(answers, prompt.Answer{Text: text})
		}
		return answers, nil
	}
	result := evaluated(t, recovery(), samples, titles, answer, evaluate.Options{Controls: true}).(*Recovery)
	own, zero := result.Conditions[0].Exact, result.Conditions[1].Exact
	if want := []int{1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1}; !reflect.DeepEqual(own.Histogram, want) {
		t.Errorf("histogram %v, want %v", own.Histogram, want)
	}
	if own.Mean != 57./12 || own.OverFive != evaluate.NewShare(5, 12) {
		t.Errorf("mean %g, over five %+v", own.Mean, own.OverFive)
	}
	if zero.Mean != 0 || zero.OverFive.Hits != 0 || result.Conditions[2].Exact.Mean == 0 {
		t.Errorf("controls %+v", result.Conditions[1:])
	}
}
