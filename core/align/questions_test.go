package align

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

func TestAppendInputs_byHand(t *testing.T) {
	states := []float32{3, 4, 5, 6}
	for _, c := range []struct {
		questions []prompt.Asked
		question  int
		want      []float32
	}{
		{nil, 0, []float32{9, 3, 4, 5, 6}},
		{[]prompt.Asked{"a", "b"}, 0, []float32{9, 3, 4, 1, 0, 0, 0, 5, 6, 1, 0, 0, 0}},
		{[]prompt.Asked{"a", "b"}, 1, []float32{9, 0, 0, 0, 3, 4, 1, 0, 0, 0, 5, 6, 1}},
	} {
		s := Shape{Kind: "linear", In: 2, Questions: c.questions, Tokens: 1, Embd: 1}
		if got := s.appendInputs([]float32{9}, states, c.question); !slices.Equal(got, c.want) {
			t.Errorf("question %d of %q: %v, want %v", c.question, c.questions, got, c.want)
		}
	}
}

// twoQuestions is tinyJob with a second question about the same states, whose answers are others.
func twoQuestions(t *testing.T) Job {
	job := tinyJob(t)
	other, err := prompt.FromSegments([][]int32{{3, 5}, {5}, {6, 8}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	job.Prompts, job.Shape.Questions = append(job.Prompts, []*prompt.Prompt{other}), []prompt.Asked{"a", "b"}
	reversed := func(answer []int32) []int32 {
		other := slices.Clone(answer)
		slices.Reverse(other[:len(other)-1])
		return append([]int32{13}, other...)
	}
	for _, samples := range []*[]prompt.Sample{&job.Train, &job.Validation} {
		for _, s := range *samples {
			s.Answer, s.Task = reversed(s.Answer), 1
			*samples = append(*samples, s)
		}
	}
	for _, pair := range job.Warm {
		pair.Titles, pair.Question = [][]int32{reversed(pair.Titles[0])}, 1
		job.Warm = append(job.Warm, pair)
	}
	return job
}

// What an adapter learns for one question does not change what it says to another one, but for the
// layers that they share.
func TestTrain_questionsOfTheirOwn(t *testing.T) {
	for kind, hidden := range map[adapter.Kind]int{"mlp": 16, "linear": 0} {
		job := twoQuestions(t)
		job.Shape.Kind, job.Shape.Hidden = kind, hidden
		whole := train(t, job)
		first, last := whole.Cursor.Validations[0].Loss, whole.Cursor.Best().Loss
		if !(last < 0.8*first) {
			t.Errorf("%s: the validation loss went from %g to %g", kind, first, last)
		}
		a, b := ownOf(t, whole.Adapter, "a").Values, ownOf(t, whole.Adapter, "b").Values
		if reflect.DeepEqual(a[0], b[0]) || !reflect.DeepEqual(a[2:], b[2:]) {
			t.Errorf("%s: the questions share their first layer, or do not share the rest", kind)
		}
		alone := twoQuestions(t)
		alone.Shape = job.Shape
		alone.Config.WarmSteps, alone.Config.WeightDecay = 0, 0
		alone.Train = alone.Train[:24] // of the first question
		begun, err := NewAdapter(alone.Shape, float64(rms(t, alone)), alone.Config.Seed)
		if err != nil {
			t.Fatal(err)
		}
		trained, standard := train(t, alone).Adapter, Standard{}
		if standard, err = FitStandard(alone.statesOfTraining(), 3); err != nil {
			t.Fatal(err)
		}
		was, is := ownOf(t, standard.Fold(begun), "b"), ownOf(t, trained, "b")
		for i, x := range was.Values[0] {
			if math.Abs(float64(x-is.Values[0][i])) > 1e-6 {
				t.Fatalf("%s: training on the first question alone changed the first layer of the second: %g, was %g", kind, is.Values[0][i], x)
			}
		}
		if reflect.DeepEqual(ownOf(t, standard.Fold(begun), "a").Values[0], ownOf(t, trained, "a").Values[0]) {
			t.Errorf("%s: the first question learned nothing", kind)
		}
	}
}

// A run of several questions goes on where it was stopped, in the warm start and later.
func TestTrain_questionsResume(t *testing.T) {
	job := twoQuestions(t)
	want := train(t, job)
	for _, phase := range []string{"warm start", "training"} {
		again := job
		again.Dir = t.TempDir()
		interrupt(t, again, func(e Event) bool { return e.Phase == phase && e.Step > 6 })
		sameRun(t, train(t, again), want, again.Dir, job.Dir)
	}
}

// ownOf is the adapter of a question.
func ownOf(t *testing.T, a *Adapter, asked prompt.Asked) *Adapter {
	t.Helper()
	own, err := a.For(asked)
	if err != nil {
		t.Fatal(err)
	}
	return own
}

func TestFor_refusesOthers(t *testing.T) {
	a := &Adapter{Shape: Shape{Kind: "linear", In: 1, Questions: []prompt.Asked{"a", "b"}, Tokens: 1, Embd: 1}}
	if _, err := a.For("c"); err == nil || !strings.Contains(err.Error(), `"a" "b"`) {
		t.Errorf("error %v", err)
	}
}

// rms is the root mean square of a job's embedding table.
func rms(t *testing.T, job Job) float32 {
	t.Helper()
	info, err := job.GGUF.Describe()
	if err != nil {
		t.Fatal(err)
	}
	return float32(info.EmbdRMS)
}
