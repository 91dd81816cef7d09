package control

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

func TestMcNemar_byHand(t *testing.T) {
	for _, c := range []struct {
		first, second int
		want          float64
	}{{0, 0, 1}, {1, 0, 1}, {5, 0, 2. / 32}, {0, 5, 2. / 32}, {8, 2, 2 * (1 + 10 + 45) / 1024.}, {3, 3, 1}} {
		if got := McNemar(c.first, c.second); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%d and %d: %g, want %g", c.first, c.second, got, c.want)
		}
	}
}

func TestHolm_byHand(t *testing.T) {
	got := Holm([]float64{0.01, 0.04, 0.03, 0.005})
	for i, want := range []float64{0.03, 0.06, 0.06, 0.02} {
		if math.Abs(got[i]-want) > 1e-12 {
			t.Errorf("%v", got)
		}
	}
}

func TestSpearman_byHand(t *testing.T) {
	for _, c := range []struct {
		y    []float64
		want float64
	}{{[]float64{1, 2, 9, 10}, 1}, {[]float64{4, 3, 2, 1}, -1}, {[]float64{1, 1, 1, 1}, 0}, {[]float64{1, 3, 2, 4}, 0.8},
		{[]float64{1, 2, 2, 3}, 4.5 / math.Sqrt(5*4.5)}} {
		if got := Spearman([]float64{-2, -1, 0, 5}, c.y); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v: %g, want %g", c.y, got, c.want)
		}
	}
}

// A user is drawn with all of its samples: the interval of four users stays that wide however many
// samples each of them has.
func TestBootstrap_drawsUsers(t *testing.T) {
	mean := func(sums []float64) float64 { return sums[0] / sums[1] }
	users := [][]float64{{-50, 100}, {150, 100}, {-50, 100}, {150, 100}} // sums and numbers of a hundred values of -0.5 or 1.5
	i, p := Bootstrap(users, mean, 1)
	if i.Mean != 0.5 || i.Low != -0.5 || i.High != 1.5 || p < 0.05 {
		t.Errorf("%+v, p = %g", i, p)
	}
	if again, _ := Bootstrap(users, mean, 1); again != i {
		t.Errorf("another interval from the same seed: %+v", again)
	}
	if i, p := Bootstrap([][]float64{{100, 100}, {100, 100}}, mean, 1); i.Low != 1 || p > 0.01 {
		t.Errorf("equal values: %+v, p = %g", i, p)
	}
}

// planted evaluates 300 samples of 50 users, of which two in three are Drama, with a way of
// answering.
func planted(t *testing.T, say func(state float32) string) *evaluate.Answers {
	t.Helper()
	values := []string{"Drama", "Drama", "War"}
	var samples []evaluate.Sample
	for i := range 300 {
		samples = append(samples, evaluate.Sample{ID: fmt.Sprint("test-", i), Titles: []string{values[i%3]}, HeldOut: i%5 == 0,
			States: prompt.States{Counts: []int{1}, Values: []float32{float32(1 + i%3)}}})
	}
	answer := func(_ context.Context, states []prompt.States) (answers []prompt.Answer, err error) {
		for _, s := range states {
			answers = append(answers, prompt.Answer{Text: say(s.Values[0])})
		}
		return answers, nil
	}
	answers, err := evaluate.Ask(t.Context(), "genres", samples, answer,
		func(string, []string) evaluate.Hits { return evaluate.Hits{} }, evaluate.Options{Seed: 1, Controls: true})
	if err != nil {
		t.Fatal(err)
	}
	return answers
}

func userOf(sample string) (int32, error) {
	number, err := strconv.Atoi(strings.TrimPrefix(sample, "test-"))
	return int32(number % 50), err
}

// honest reads the state.
func honest(state float32) string { return map[float32]string{1: "Drama", 2: "Drama", 3: "War"}[state] }

func flags(t *testing.T, answers *evaluate.Answers, others ...Other) map[string]bool {
	t.Helper()
	table, err := New([]Evaluated{{answers, others}}, userOf)
	if err != nil {
		t.Fatal(err)
	}
	flagged := map[string]bool{}
	for _, r := range table.Rows {
		flagged[r.Part+": "+r.Control] = r.Flagged
	}
	return flagged
}

// Two cheats are flagged, and what reads the states is not.
func TestTable_plantedCheats(t *testing.T) {
	for row, flagged := range flags(t, planted(t, honest)) {
		if flagged {
			t.Errorf("honest answers are flagged: %s", row)
		}
	}
	ignoring := func(float32) string { return "Drama" } // an adapter that ignores its input: every state says the same
	for row, flagged := range flags(t, planted(t, ignoring)) {
		if !flagged {
			t.Errorf("an adapter that ignores its input is not flagged: %s", row)
		}
	}
	// A prompt that leaks the answer: an adapter of the same prompt that ignores the state is as
	// right as this one is.
	leaked := flags(t, planted(t, honest), Other{Name: "adapter that ignores the state", Answers: planted(t, honest)})
	if !leaked["all: adapter that ignores the state"] || !leaked["held-out items: adapter that ignores the state"] {
		t.Errorf("a prompt that leaks the answer is not flagged: %v", leaked)
	}
}

// Answers that follow what a control shows in place of a sample's history are right about that, and
// wrong about the sample.
func TestTable_asShown(t *testing.T) {
	answers, shown := planted(t, honest), map[string][]string{}
	swapped := planted(t, func(state float32) string { return honest(4 - state) })
	for i, r := range swapped.Of(evaluate.TrueState) {
		if i > 0 { // of the first sample nobody knows what is true of what was shown
			shown[r.Sample] = []string{honest(float32(4 - (1 + i%3)))}
		}
	}
	table, err := New([]Evaluated{{answers, []Other{{Name: "swapped", Answers: swapped, Shown: shown}}}}, userOf)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range table.Rows {
		if r.Control == "swapped" && (r.Shown == nil || math.Abs(*r.Shown-1) > 1e-9 || r.OtherF1.Mean > 0.5) || r.Control != "swapped" && r.Shown != nil {
			t.Errorf("%+v", r)
		}
	}
}

func TestCompare(t *testing.T) {
	of := func(answers ...string) (records []evaluate.Record) {
		for i, answer := range answers {
			records = append(records, evaluate.Record{Sample: fmt.Sprint("test-", i), Titles: []string{"War"}, Answer: answer})
		}
		return records
	}
	table, err := Compare("x", []Pair{{"genres", of("War", "War", "Drama", "War"), of("Drama", "War", "Drama", "Drama"), FromStates, nil}}, userOf)
	if err != nil {
		t.Fatal(err)
	}
	if r := table.Rows[0]; r.N != 4 || r.OwnF1.Mean != 0.75 || r.OtherF1.Mean != 0.25 || r.Difference.Mean != 0.5 || r.McNemar != 0.5 || r.Adjusted != r.Bootstrap {
		t.Errorf("%+v", r)
	}
	if _, err := Compare("x", []Pair{{}}, userOf); err == nil {
		t.Error("no records are compared")
	}
}

// Lines of all answers count alike: in micro-F1 an answer of four lines weighs more than one of one
// line. A user without samples in one run adds nothing there.
func TestTable_countsLines(t *testing.T) {
	records := func(answers ...string) (all []evaluate.Record) {
		for i, answer := range answers {
			all = append(all, evaluate.Record{Sample: fmt.Sprint("test-", i), Titles: []string{"Drama", "War"}[:i+1], Answer: answer})
		}
		return all
	}
	// 1 and 2 lines are right, of 3 and 2 said and 1 and 2 asked for, beside 1 and 1 of 1 and 2
	// said; in the second run 1 of 1, beside none.
	table := &Table{}
	err := table.add("all", []Pair{{Name: "another", Own: records("Drama\nComedy\nAction", "Drama\nWar"), Other: records("Drama", "Drama\nComedy")},
		{Name: "another", Own: records("Drama"), Other: records("War")}}, userOf)
	if err != nil {
		t.Fatal(err)
	}
	row, own, other := table.Rows[0], 2*3./8, 2*2./6
	if row.N != 3 || row.Users != 2 || row.OwnF1 != (Spread{(own + 1) / 2, own, 1}) || row.OtherF1 != (Spread{other / 2, 0, other}) ||
		math.Abs(row.Difference.Mean-(own-other+1)/2) > 1e-12 || row.Difference.Low > row.Difference.Mean {
		t.Errorf("%+v", row)
	}
}

func TestTable_write(t *testing.T) {
	table, err := New([]Evaluated{{planted(t, honest), nil}}, userOf)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := table.Write(&text); err != nil || !strings.Contains(text.String(), "do better than every control") || len(table.Rows) != 9 {
		t.Errorf("%d rows, %v:\n%s", len(table.Rows), err, text.String())
	}
	// What reads the same states without the LLM says nothing against the states.
	same := Other{Name: "adapter alone", Answers: planted(t, honest), Tests: ThroughLLM}
	untrained := Other{Name: "untrained", Answers: planted(t, honest), Tests: FromLearned}
	if table, err = New([]Evaluated{{planted(t, honest), []Other{same, untrained}}}, userOf); err != nil {
		t.Fatal(err)
	}
	text.Reset()
	if err := table.Write(&text); err != nil || strings.Contains(text.String(), "NOT SHOWN") || strings.Count(text.String(), "  NOT BETTER\n") != 3 ||
		strings.Count(text.String(), "  NOT LEARNED\n") != 3 || !strings.Contains(text.String(), "that does not read them\nNOT BETTER in 3: ") ||
		!strings.Contains(text.String(), "NOT LEARNED in 3: ") {
		t.Errorf("%v:\n%s", err, text.String())
	}
	if table.Old() {
		t.Error("a table of this version is an old one")
	}
	if table.Rows[0].Tests = ""; !table.Old() { // as of a file without the key
		t.Error("a table whose rows do not say what they test is of this version")
	}
	short := planted(t, honest)
	short.Records[0].Sample = "test-900"
	if _, err := New([]Evaluated{{planted(t, honest), []Other{{Name: "another", Answers: short}}}}, userOf); err == nil || !strings.Contains(err.Error(), "test-0") {
		t.Errorf("other samples: error %v", err)
	}
}

// Two of three users have the value 1 ten times, one has the value 5 a hundred times: the draws
// hold either as the median.
func TestMedian_drawsUsers(t *testing.T) {
	var users []int32
	var values []float64
	for user, n := range []int{10, 10, 100} {
		for range n {
			users, values = append(users, int32(user)), append(values, []float64{1, 1, 5}[user])
		}
	}
	if median, low, high := Median(users, values, 1); median != 5 || low != 1 || high != 5 {
		t.Errorf("%g (%g to %g)", median, low, high)
	}
	if median, _, _ := Median([]int32{1, 1}, []float64{4, 1}, 1); median != 2.5 {
		t.Errorf("the median of two numbers is %g", median)
	}
}

// Two runs are taken together: twice the samples of the same users, and the spread of both. One
// that has other controls is refused.
func TestTable_seeds(t *testing.T) {
	half := planted(t, func(state float32) string { return map[float32]string{1: "Drama", 2: "War", 3: "War"}[state] })
	table, err := New([]Evaluated{{planted(t, honest), nil}, {half, nil}}, userOf)
	if err != nil {
		t.Fatal(err)
	}
	row := table.Rows[0]
	if row.N != 600 || row.Users != 50 || row.OwnF1.High != 1 || math.Abs(row.OwnF1.Low-2./3) > 1e-9 || math.Abs(row.OwnF1.Mean-5./6) > 1e-9 ||
		row.Adjusted < row.Bootstrap || table.Runs != 2 {
		t.Errorf("%+v", row)
	}
	var text strings.Builder
	if err := table.Write(&text); err != nil || !strings.Contains(text.String(), "0.833 (0.667–1.000)") || !strings.Contains(text.String(), "2 runs") {
		t.Errorf("%v:\n%s", err, text.String())
	}
	more := []Other{{Name: "another", Answers: half}}
	if _, err := New([]Evaluated{{half, nil}, {half, more}}, userOf); err == nil || !strings.Contains(err.Error(), "run 2 has 4 controls") {
		t.Errorf("other controls: error %v", err)
	}
}
