package evaluate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// cases makes n samples whose one state value is the number of its title; every third title is
// shared.
func cases(n int) (samples []Sample, catalogue []string) {
	for i := range n {
		title := fmt.Sprintf("Film %d", i/3*3)
		samples = append(samples, Sample{ID: fmt.Sprint(i), States: one(float32(i/3*3 + 1)), Titles: []string{title}})
		catalogue = append(catalogue, title)
	}
	return samples, catalogue
}

// one is a sample of one state of one number.
func one(x float32) prompt.States { return prompt.States{Counts: []int{1}, Values: []float32{x}} }

// reader answers with the title of the state, and with nonsense to a zero state.
func reader(_ context.Context, states []prompt.States) ([]prompt.Answer, error) {
	var answers []prompt.Answer
	for _, s := range states {
		x := s.Values[0]
		text := "nothing"
		if x > 0 {
			text = fmt.Sprintf("film %g.", x-1)
		}
		answers = append(answers, prompt.Answer{Text: text, Pieces: strings.SplitAfter(text, " "), LogProb: -float64(x) / 3, Ended: true,
			LogProbs: []float64{-1.23456, -0.0001, -float64(x) / 3}})
	}
	return answers, nil
}

// tally is what answers come to under each condition.
type tally struct {
	N          int
	Shard      string
	Conditions []tallied
}

type tallied struct{ Exact, Contains, Paper, Valid Share }

// asking asks for the title of each sample and counts the hits.
func asking(ctx context.Context, samples []Sample, catalogue []string, answer Answerer, opts Options) (*tally, error) {
	known := NewTitles(catalogue)
	one := map[bool]int{true: 1}
	answers, err := Ask(ctx, "titles", samples, answer, func(answer string, titles []string) Hits {
		return Hits{one[Exact(answer, titles[0])], one[Contains(answer, titles[0])], one[Paper(answer, titles[0])], one[known.Has(answer)]}
	}, opts)
	if err != nil {
		return nil, err
	}
	result := &tally{N: answers.N(), Shard: answers.Header.Shard}
	for _, condition := range answers.Header.Conditions {
		var sum Hits
		records := answers.Of(condition)
		for _, r := range records {
			sum.Exact, sum.Contains, sum.Paper, sum.Valid = sum.Exact+r.Exact, sum.Contains+r.Contains, sum.Paper+r.Paper, sum.Valid+r.Valid
		}
		share := func(hits int) Share { return NewShare(hits, len(records)) }
		result.Conditions = append(result.Conditions, tallied{share(sum.Exact), share(sum.Contains), share(sum.Paper), share(sum.Valid)})
	}
	return result, nil
}

func TestAsk_countsAndControls(t *testing.T) {
	samples, catalogue := cases(300)
	result, err := asking(context.Background(), samples, catalogue, reader, Options{Seed: 7, Controls: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Conditions) != 3 || result.N != 300 {
		t.Fatalf("%+v", result)
	}
	own, zero, shuffled := result.Conditions[0], result.Conditions[1], result.Conditions[2]
	if own.Exact.Hits != 300 || own.Contains.Hits != 300 || own.Paper.Hits != 0 || own.Valid.Hits != 300 {
		t.Errorf("own states: %+v", own)
	}
	if zero.Exact.Hits != 0 || zero.Valid.Hits != 0 || zero.Exact.N != 300 {
		t.Errorf("zero state: %+v", zero)
	}
	// A sample never gets its own state; two others share its title, so a few hits are chance.
	if shuffled.Exact.Hits > 15 || shuffled.Valid.Hits != 300 {
		t.Errorf("shuffled states: %+v", shuffled)
	}
}

// ranker reads a state as reader does and puts another title in front, unless the state is that of
// film 0.
func ranker(ctx context.Context, states []prompt.States) (ranked [][]prompt.Answer, err error) {
	answers, err := reader(ctx, states)
	for i, a := range answers {
		list := []prompt.Answer{a}
		if states[i].Values[0] > 1 {
			list = []prompt.Answer{{Text: "film 0", LogProb: -1}, {Text: "film 3", LogProb: -2}, a}
		}
		ranked = append(ranked, list)
	}
	return ranked, err
}

func TestAsk_restricted(t *testing.T) {
	samples, catalogue := cases(12) // three samples for each of the films 0, 3, 6 and 9
	path := filepath.Join(t.TempDir(), "answers.jsonl")
	opts := Options{Restricted: ranker, Path: path}
	for range 2 { // the second time from the file alone
		result, err := asking(t.Context(), samples, catalogue, reader, opts)
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Conditions) != 2 {
			t.Fatalf("%+v", result)
		}
		restricted := result.Conditions[1]
		if restricted.Exact.Hits != 3 || restricted.Valid.Hits != 12 {
			t.Errorf("%+v", restricted)
		}
		opts.Restricted = func(context.Context, []prompt.States) ([][]prompt.Answer, error) {
			return nil, errors.New("asked again")
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if line := `"answer":"film 9.","exact":1,"contains":1,"paper":0,"valid":1,"log_prob":-3.3333333333333335,"ended":true,` +
		`"tokens":["film ","9."],"log_probs":[-1.235,0,-3.333]}`; !bytes.Contains(data, []byte(line)) {
		t.Errorf("no line with %s in\n%s", line, data)
	}
	if line := `"answer":"film 0","exact":0,"contains":0,"paper":0,"valid":1,"log_prob":-1,"ended":false,"others":[` +
		`{"answer":"film 3","log_prob":-2},{"answer":"film 9.",`; !bytes.Contains(data, []byte(line)) {
		t.Errorf("no line with %s in\n%s", line, data)
	}
	silent := func(_ context.Context, states []prompt.States) ([][]prompt.Answer, error) {
		return make([][]prompt.Answer, len(states)), nil
	}
	if _, err := asking(t.Context(), samples, catalogue, reader, Options{Restricted: silent}); err == nil ||
		!strings.Contains(err.Error(), "restricted, sample 0: no answer") {
		t.Errorf("no answers: error %v", err)
	}
}

// A run that is killed at any byte completes the file to the same bytes and does not ask again what
// was complete. Answers depend on the questions answered with them, as an LLM's last digits do.
func TestAsk_resumesToTheSameBytes(t *testing.T) {
	samples, catalogue := cases(Chunk + 100)
	asked := 0
	sensitive := func(ctx context.Context, states []prompt.States) ([]prompt.Answer, error) {
		asked += len(states)
		answers, err := reader(ctx, states)
		for i := range answers {
			answers[i].LogProb += float64(len(states)) + float64(states[0].Values[0])/1000
		}
		return answers, err
	}
	dir := t.TempDir()
	opts := Options{Seed: 3, Restricted: ranker, Controls: true, Label: "a", Path: filepath.Join(dir, "whole.jsonl")}
	whole, err := asking(t.Context(), samples, catalogue, sensitive, opts)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(want, []byte("\n")); lines != 1+4*len(samples) {
		t.Fatalf("%d lines", lines)
	}
	cuts := []int{0, 5, len(want) - 1, len(want)}
	random := rand.New(rand.NewPCG(4, 4))
	for range 60 {
		cuts = append(cuts, random.IntN(len(want)))
	}
	opts.Path = filepath.Join(dir, "cut.jsonl")
	for _, cut := range cuts {
		if err := os.WriteFile(opts.Path, want[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		asked = 0
		result, err := asking(t.Context(), samples, catalogue, sensitive, opts)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(opts.Path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("cut at %d: other bytes", cut)
		}
		if !reflect.DeepEqual(result, whole) {
			t.Errorf("cut at %d: %+v, want %+v", cut, result, whole)
		}
		// What is asked one by one: the ranker is not counted, and each chunk of the zero condition
		// is one question.
		missing := bytes.Count(want[cut:], []byte(`{"condition":"state"`)) + bytes.Count(want[cut:], []byte(`{"condition":"shuffled"`))
		if asked < missing || asked > missing+Chunk+2 {
			t.Errorf("cut at %d: asked %d with %d answers missing", cut, asked, missing)
		}
	}
}

// A finished file of an earlier version, which kept no tokens, is read; one that is not finished is
// not mixed with new answers.
func TestAsk_earlierVersion(t *testing.T) {
	samples, catalogue := cases(2 * Chunk)
	untold := func(ctx context.Context, states []prompt.States) ([]prompt.Answer, error) {
		answers, err := reader(ctx, states)
		for i := range answers {
			answers[i].Pieces, answers[i].LogProbs = nil, nil
		}
		return answers, err
	}
	opts := Options{Path: filepath.Join(t.TempDir(), "answers.jsonl")}
	for range 2 {
		if result, err := asking(t.Context(), samples, catalogue, untold, opts); err != nil || result.Conditions[0].Exact.Hits != 2*Chunk {
			t.Fatalf("%+v, %v", result, err)
		}
	}
	data, err := os.ReadFile(opts.Path)
	if err != nil || bytes.Contains(data, []byte("log_probs")) {
		t.Fatalf("%v; %s", err, data)
	}
	if err := os.Truncate(opts.Path, int64(len(data)-10)); err != nil {
		t.Fatal(err)
	}
	if _, err := asking(t.Context(), samples, catalogue, reader, opts); err == nil ||
		!strings.Contains(err.Error(), "move the file away to start again") {
		t.Errorf("a file of an earlier version goes on: error %v", err)
	}
}

func TestAsk_stoppedKeepsWhatIsFinished(t *testing.T) {
	samples, catalogue := cases(2*Chunk + 10)
	path := filepath.Join(t.TempDir(), "answers.jsonl")
	calls := 0
	stopping := func(ctx context.Context, states []prompt.States) ([]prompt.Answer, error) {
		if calls++; calls == 3 {
			return nil, context.Canceled
		}
		return reader(ctx, states)
	}
	_, err := asking(context.Background(), samples, catalogue, stopping, Options{Path: path})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(data, []byte("\n")); lines != 1+2*Chunk {
		t.Errorf("%d lines kept, want %d", lines, 1+2*Chunk)
	}
}

func TestAsk_refusals(t *testing.T) {
	samples, catalogue := cases(4)
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(notes, []byte("my notes"), 0o644); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "used.jsonl")
	if _, err := asking(context.Background(), samples, catalogue, reader, Options{Path: used, Label: "a"}); err != nil {
		t.Fatal(err)
	}
	other := append([]Sample(nil), samples...)
	other[2].ID = "x"
	short := append([]Sample(nil), samples...)
	short[1].States = prompt.States{}
	twice := append([]Sample(nil), samples...)
	twice[1].ID = twice[0].ID
	for name, c := range map[string]struct {
		samples []Sample
		opts    Options
		want    string
	}{
		"none":          {nil, Options{}, "no samples"},
		"short state":   {short, Options{}, "sample 1"},
		"same id":       {twice, Options{}, "two samples"},
		"foreign file":  {samples, Options{Path: notes}, "a header is expected"},
		"other label":   {samples, Options{Path: used, Label: "b"}, `label was "a", is "b"`},
		"other samples": {other, Options{Path: used, Label: "a"}, "line 4"},
		"no folder":     {samples, Options{Path: filepath.Join(dir, "none", "x")}, "cannot be written"},
	} {
		_, err := asking(context.Background(), c.samples, catalogue, reader, c.opts)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	if data, _ := os.ReadFile(notes); string(data) != "my notes" {
		t.Error("a file that is not ours was changed")
	}
}

func TestDerangement(t *testing.T) {
	for n := 2; n < 40; n++ {
		seen := map[int]bool{}
		for i, k := range Derangement(n, uint64(n)) {
			if i == k {
				t.Errorf("n = %d: %d stays in its place", n, i)
			}
			seen[k] = true
		}
		if len(seen) != n {
			t.Errorf("n = %d: not a permutation", n)
		}
	}
}
