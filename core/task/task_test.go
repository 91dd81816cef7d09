package task

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// state is a sample's state of one number.
func state(x float32) prompt.States { return prompt.States{Counts: []int{1}, Values: []float32{x}} }

// evaluated asks a task's question of samples and sums up the answers.
func evaluated(t *testing.T, task Task, samples []evaluate.Sample, allowed []string, answer evaluate.Answerer, opts evaluate.Options) Summary {
	t.Helper()
	known := evaluate.NewTitles(allowed)
	answers, err := evaluate.Ask(t.Context(), task.Name, samples, answer,
		func(answer string, truth []string) evaluate.Hits { return task.Score(answer, truth, known) }, opts)
	if err != nil {
		t.Fatal(err)
	}
	return task.Summarise(answers)
}

// Every prompt with a name is one of the task that holds it.
func TestPrompts(t *testing.T) {
	for _, task := range All() {
		for _, p := range task.Prompts {
			found, err := Prompt(p.Name)
			if err != nil {
				t.Fatal(err)
			}
			if of, err := Of(found); err != nil || of.Asks != task.Asks || of.Vector != task.Vector {
				t.Errorf("%s is taken for a prompt of %+v: %v", p.Name, of, err)
			}
		}
	}
	if _, err := Prompt("nonsense"); err == nil || !strings.Contains(err.Error(), Default().Name) {
		t.Errorf("unknown name: error %v should list the known ones", err)
	}
	if names := Prompts(); !slices.Contains(names, "recovery-varied") || !slices.Contains(names, "item") {
		t.Errorf("names %q", names)
	}
}

func TestOf_refusals(t *testing.T) {
	for says, bad := range map[string]prompt.Template{
		`can ask for "last item" or "history"`: {Name: "p", Asks: "the weather", Texts: []string{"{state}"}},
		"says nothing of other items":          {Name: "p", Asks: "history", Texts: []string{"{item}"}},
		"has no name":                          {Asks: "history", Texts: []string{"{state}"}},
	} {
		if _, err := Of(bad); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one with %q", err, says)
		}
	}
}

// The last item's title is said of an example where it is asked for, and the last answer where the
// answers are a closed set, else all titles; where the tokens of an example would not show what
// soft tokens show, there is none.
func TestCompile_examples(t *testing.T) {
	examples := [][]string{{"wxyz", "k"}}
	for _, c := range []struct {
		asks     prompt.Asked
		allItems bool
		want     string
	}{
		{"last item", false, "say it\nk.:k."}, {"history", true, "say it\nwxk.:wxyz\nk."}, {"history", false, "say it\n"},
		{"gender", false, "say it\nk.:k."}, {"gender", true, "say it\n"},
	} {
		template := prompt.Template{Name: "t", Asks: c.asks, Texts: []string{"say it"}, Reply: "{state}:", Examples: examples}
		prompts, err := Compile(letters{}, template, prompt.Shown{Tokens: 2, PerState: 1, AllItems: c.allItems})
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, token := range prompts[0].Prefix() {
			text.WriteRune(token)
		}
		if text.String() != c.want {
			t.Errorf("%s, all items %v: prefix %q, want %q", c.asks, c.allItems, text.String(), c.want)
		}
	}
}

// letters is a vocabulary of one token for each rune, in which a point ends an answer.
type letters struct{}

func (letters) Special() (bos, eos, eot int32, err error) { return -1, '.', -1, nil }

func (letters) Tokenize(text string, _ bool) ([]int32, error) { return []rune(text), nil }

func (letters) Detokenize(tokens []int32, _ bool) (string, error) { return string(tokens), nil }

func (letters) Chat(string) (string, error) {
	return "", fmt.Errorf("no template: %w", errors.ErrUnsupported)
}

func TestResidual_ranked(t *testing.T) {
	catalogue := []string{"Film 0", "Film 1", "Film 2", "Film 3"}
	var samples []evaluate.Sample
	for i, title := range catalogue {
		samples = append(samples, evaluate.Sample{ID: title, States: state(float32(i)), Titles: []string{title}})
	}
	answer := func(_ context.Context, asked []prompt.States) (answers []prompt.Answer, err error) {
		for _, s := range asked {
			answers = append(answers, prompt.Answer{Text: fmt.Sprintf("film %g.", s.Values[0])})
		}
		return answers, nil
	}
	opts := evaluate.Options{Restricted: func(ctx context.Context, asked []prompt.States) (ranked [][]prompt.Answer, err error) {
		answers, err := answer(ctx, asked)
		for i := range answers {
			if i < 3 { // another title comes first, but of one sample the right one does not come at all
				answers[i].Text = strings.Replace(answers[i].Text, "0", "7", 1)
				ranked = append(ranked, []prompt.Answer{{Text: "Film 3"}, answers[i]})
			} else {
				ranked = append(ranked, answers[i:i+1])
			}
		}
		return ranked, err
	}}
	r := evaluated(t, residual(), samples, catalogue, answer, opts).(*Residual)
	free, restricted := r.Conditions[0], r.Conditions[1]
	if free.Exact.Hits != 4 || free.Contains.Hits != 4 || free.Paper.Hits != 0 || free.Valid.Hits != 4 || free.Ranked != nil {
		t.Errorf("free: %+v", free)
	}
	if restricted.Exact.Hits != 1 || restricted.Ranked.Hits != 3 || restricted.Places != 2 {
		t.Errorf("restricted: %+v, ranked %+v", restricted, restricted.Ranked)
	}
}

// Where items are held out, a table has rows of all samples, of seen and of held-out items.
func TestResidual_parts(t *testing.T) {
	samples := []evaluate.Sample{{ID: "a", States: state(1), Titles: []string{"Film 1"}},
		{ID: "b", States: state(2), Titles: []string{"Film 2"}, HeldOut: true}, {ID: "c", States: state(3), Titles: []string{"Film 3"}, HeldOut: true}}
	answer := func(_ context.Context, asked []prompt.States) (answers []prompt.Answer, err error) {
		for _, s := range asked {
			answers = append(answers, prompt.Answer{Text: fmt.Sprintf("Film %g", min(2, s.Values[0]))})
		}
		return answers, nil
	}
	r := evaluated(t, residual(), samples, []string{"Film 1", "Film 2", "Film 3"}, answer, evaluate.Options{}).(*Residual)
	if r.Seen.N != 1 || r.HeldOut.N != 2 || r.HeldOut.Conditions[0].Exact.Hits != 1 || r.HeldOut.HeldOut != nil {
		t.Errorf("seen %+v, held out %+v", r.Seen, r.HeldOut)
	}
	if ece := r.Calibration.ECE; math.Abs(ece-1./3) > 1e-9 { // all are sure, and one of three is wrong
		t.Errorf("ECE %g", ece)
	}
	var text strings.Builder
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"\nown states ", "\nseen items: own states ", "\nheld-out items: own states "} {
		if !strings.Contains(text.String(), row) {
			t.Errorf("no row %q in\n%s", row, text.String())
		}
	}
}
