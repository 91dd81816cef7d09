package control

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// Level is the adjusted p-value below which a control is told apart.
const Level = 0.01

// Row compares answers from the samples' own states with those of a control, by their micro-F1: of
// all lines together.
type Row struct {
	Part       string   `json:"part"`    // all samples, or those that end in seen or in held-out items
	Control    string   `json:"control"` // what answers in place of the states
	Tests      Claim    `json:"tests"`
	N          int      `json:"n"`
	Users      int      `json:"users"`
	OwnF1      Spread   `json:"own_f1"`          // of the own states
	OtherF1    Spread   `json:"other_f1"`        // of the control
	Shown      *float64 `json:"shown,omitempty"` // of the control's answers where what it shows is taken for the truth, of all runs together
	Difference Interval `json:"difference"`      // own less control, the mean of the runs
	McNemar    float64  `json:"mcnemar"`         // p-value, of answers that are wholly right
	Bootstrap  float64  `json:"bootstrap"`       // p-value, of the difference
	Adjusted   float64  `json:"adjusted"`        // the bootstrap's after Holm's correction
	Flagged    bool     `json:"flagged"`         // the own states through the LLM are not shown to do better
}

// Claim is what a control tests: own states through the LLM must do better.
type Claim string

const (
	FromStates  Claim = "states"   // that answers come from the states: the control has not read them
	ThroughLLM  Claim = "llm"      // that the LLM adds something: the control reads the same states without it
	FromLearned Claim = "learning" // that answers come from what the recommender learned: the control reads states of one that was not trained
)

// marks are those of rows that do not show a claim, and what they leave open.
var marks = []struct {
	claim      Claim
	mark, open string
}{
	{FromStates, "NOT SHOWN", "it is open whether the answers come from the states"},
	{ThroughLLM, "NOT BETTER", "the same states without the LLM are not shown to do worse"},
	{FromLearned, "NOT LEARNED", "states of a recommender that was never trained are not shown to do worse"},
}

// Mark says which claim the row does not show, or "".
func (r Row) Mark() string {
	for _, m := range marks {
		if r.Flagged && r.Tests == m.claim {
			return m.mark
		}
	}
	return ""
}

// Spread is a figure of several runs: its mean, and the lowest and highest one.
type Spread struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

func spread(of []float64) Spread {
	sum := 0.0
	for _, x := range of {
		sum += x
	}
	return Spread{sum / float64(len(of)), slices.Min(of), slices.Max(of)}
}

func (s Spread) String() string {
	if s.Low == s.High {
		return fmt.Sprintf("%.3f", s.Mean)
	}
	return fmt.Sprintf("%.3f (%.3f–%.3f)", s.Mean, s.Low, s.High)
}

// Table is an evaluation beside its controls, or those of several runs that differ by their seeds,
// taken together.
type Table struct {
	Label   string `json:"label"`
	Task    string `json:"task"`
	Measure string `json:"measure"` // that is compared
	Runs    int    `json:"runs"`
	Rows    []Row  `json:"rows"`
}

// Old says whether an older version wrote the table.
func (t *Table) Old() bool {
	return t.Measure != Measure || slices.ContainsFunc(t.Rows, func(r Row) bool { return r.Tests == "" })
}

// Measure is that of all tables; older ones compared the mean F1 of samples.
const Measure = "micro-F1"

// Evaluated are a run's answers, and those of its controls.
type Evaluated struct {
	Answers *evaluate.Answers
	Others  []Other
}

// Other is a control that is another evaluation of the same samples, such as that of an adapter
// that ignores the state.
type Other struct {
	Name    string
	Answers *evaluate.Answers
	Tests   Claim               // "": FromStates
	Shown   map[string][]string // what is true of what it shows in place of a sample's own history; nil where that is nothing else
}

// New compares the answers of runs with their own controls (zero and shuffled states, one constant
// answer) and with other evaluations. Runs have the same controls in the same order, and differ by
// the seeds of recommender and adapter; figures are means of the runs, and the bootstrap draws
// users with their samples of all runs. userOf gives the user of a sample.
func New(runs []Evaluated, userOf func(sample string) (int32, error)) (*Table, error) {
	first := runs[0].Answers
	t := &Table{Label: first.Header.Label, Task: first.Header.Evaluation, Measure: Measure, Runs: len(runs)}
	for _, part := range []struct {
		name string
		of   func(*evaluate.Answers) *evaluate.Answers
	}{
		{"all", func(a *evaluate.Answers) *evaluate.Answers { return a }},
		{"seen items", func(a *evaluate.Answers) *evaluate.Answers { seen, _ := a.Parts(); return seen }},
		{"held-out items", func(a *evaluate.Answers) *evaluate.Answers { _, held := a.Parts(); return held }},
	} {
		var pairs [][]Pair // of each control, one for each run
		for i, run := range runs {
			answers := part.of(run.Answers)
			if answers == nil {
				continue
			}
			all, err := run.pairs(answers)
			if err != nil {
				return nil, err
			}
			if pairs == nil {
				pairs = make([][]Pair, len(all))
			}
			if len(all) != len(pairs) {
				return nil, fmt.Errorf("control: run %d has %d controls, the first one %d; evaluate the same of each", i+1, len(all), len(pairs))
			}
			for k, pair := range all {
				pairs[k] = append(pairs[k], pair)
			}
		}
		for _, of := range pairs {
			if err := t.add(part.name, of, userOf); err != nil {
				return nil, err
			}
		}
	}
	t.adjust()
	return t, nil
}

// pairs sets a part of a run's answers beside those of each control.
func (e Evaluated) pairs(part *evaluate.Answers) (pairs []Pair, err error) {
	own := part.Of(evaluate.TrueState)
	for _, condition := range []string{evaluate.ZeroState, evaluate.ShuffledState} {
		if records := part.Of(condition); records != nil {
			pairs = append(pairs, Pair{Name: evaluate.ConditionNames[condition], Own: own, Other: records})
		}
	}
	pairs = append(pairs, Pair{Name: "one constant answer", Own: own, Other: constant(own)})
	for _, other := range e.Others {
		matched, err := match(own, other)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, Pair{other.Name, own, matched, other.Tests, other.Shown})
	}
	return pairs, nil
}

// adjust corrects the p-values of all rows, those of the bootstrap: McNemar's test takes samples of
// one user for independent.
func (t *Table) adjust() {
	p := make([]float64, len(t.Rows))
	for i, r := range t.Rows {
		p[i] = r.Bootstrap
	}
	for i, adjusted := range Holm(p) {
		t.Rows[i].Adjusted = adjusted
		t.Rows[i].Flagged = !(t.Rows[i].Difference.Mean > 0 && adjusted < Level)
	}
}

// Pair is two ways of answering the same questions, record by record.
type Pair struct {
	Name       string
	Own, Other []evaluate.Record
	Tests      Claim               // of the other one; "": FromStates
	Shown      map[string][]string // what is true of what the other one shows, by sample; nil where that is nothing else
}

// Compare compares pairs, a row for each.
func Compare(label string, pairs []Pair, userOf func(sample string) (int32, error)) (*Table, error) {
	t := &Table{Label: label, Measure: Measure, Runs: 1}
	for _, p := range pairs {
		if err := t.add("all", []Pair{p}, userOf); err != nil {
			return nil, err
		}
	}
	t.adjust()
	return t, nil
}

// match gives another evaluation's answers to the samples of records.
func match(records []evaluate.Record, other Other) ([]evaluate.Record, error) {
	of := map[string]evaluate.Record{}
	for _, r := range other.Answers.Of(evaluate.TrueState) {
		of[r.Sample] = r
	}
	matched := make([]evaluate.Record, len(records))
	for i, r := range records {
		found, ok := of[r.Sample]
		if !ok || strings.Join(found.Titles, "\n") != strings.Join(r.Titles, "\n") {
			return nil, fmt.Errorf("control: %s does not answer sample %s, or is asked for something else there; evaluate the same samples "+
				"of the same data set", other.Name, r.Sample)
		}
		matched[i] = found
	}
	return matched, nil
}

// constant answers everything with what is most often true.
func constant(records []evaluate.Record) []evaluate.Record {
	best, same := evaluate.MostFrequent(records), slices.Clone(records)
	for i := range same {
		same[i].Answer = best
	}
	return same
}

// follows is the micro-F1 of answers where what was shown is taken for the truth; nil where nothing
// is known of what was shown.
func follows(pairs []Pair) *float64 {
	var all tally
	for _, p := range pairs {
		for _, r := range p.Other {
			if r.Titles = p.Shown[r.Sample]; len(r.Titles) > 0 {
				all.add(count(r))
			}
		}
	}
	if all.lines == 0 {
		return nil
	}
	f1 := all.f1()
	return &f1
}

// tally counts the lines of answers.
type tally struct {
	right float64 // said and true
	lines float64 // said, and asked for
}

// count counts those of one answer.
func count(r evaluate.Record) tally {
	lines, right := evaluate.Lines(r.Answer, r.Titles), 0
	for _, line := range lines {
		if line.Right {
			right++
		}
	}
	return tally{float64(right), float64(len(lines) + len(r.Titles))}
}

func (t *tally) add(other tally) { t.right, t.lines = t.right+other.right, t.lines+other.lines }

// f1 is 0 where nothing is asked.
func (t tally) f1() float64 { return 2 * t.right / max(t.lines, 1) }

// whole says that an answer's lines are the true ones and no others.
func (t tally) whole() bool { return 2*t.right == t.lines }

// add adds the row of a control: of a pair for each run.
func (t *Table) add(part string, pairs []Pair, userOf func(string) (int32, error)) error {
	row := Row{Part: part, Control: pairs[0].Name, Tests: cmp.Or(pairs[0].Tests, FromStates), Shown: follows(pairs)}
	var users [][]float64 // four sums for each run: right and lines of the own states, and of the control
	var ownF1, otherF1 []float64
	place, onlyOwn, onlyOther := map[int32]int{}, 0, 0
	for k, p := range pairs {
		if len(p.Own) == 0 || p.Name != row.Control {
			return fmt.Errorf("control: there are %d answers beside the control %q", len(p.Own), p.Name)
		}
		row.N += len(p.Own)
		var allOwn, allOther tally
		for i := range p.Own {
			user, err := userOf(p.Own[i].Sample)
			if err != nil {
				return err
			}
			at, known := place[user]
			if !known {
				at, place[user], users = len(users), len(users), append(users, make([]float64, 4*len(pairs)))
			}
			own, other := count(p.Own[i]), count(p.Other[i])
			allOwn.add(own)
			allOther.add(other)
			for j, x := range []float64{own.right, own.lines, other.right, other.lines} {
				users[at][4*k+j] += x
			}
			switch {
			case own.whole() && !other.whole():
				onlyOwn++
			case other.whole() && !own.whole():
				onlyOther++
			}
		}
		ownF1, otherF1 = append(ownF1, allOwn.f1()), append(otherF1, allOther.f1())
	}
	row.Users, row.OwnF1, row.OtherF1, row.McNemar = len(users), spread(ownF1), spread(otherF1), McNemar(onlyOwn, onlyOther)
	difference := func(sums []float64) (mean float64) {
		for of := range slices.Chunk(sums, 4) {
			mean += tally{of[0], of[1]}.f1() - tally{of[2], of[3]}.f1()
		}
		return mean / float64(len(pairs))
	}
	row.Difference, row.Bootstrap = Bootstrap(users, difference, uint64(len(t.Rows)))
	t.Rows = append(t.Rows, row)
	return nil
}

// Verdict says in a line for each mark what the rows with it leave open.
func (t *Table) Verdict() []string {
	marked := map[string]int{}
	for _, r := range t.Rows {
		marked[r.Mark()]++
	}
	verdict, of := []string{}, fmt.Sprintf(" of %d rows", len(t.Rows)) // said once
	for _, m := range marks {
		switch n := marked[m.mark]; {
		case n > 0:
			verdict = append(verdict, fmt.Sprintf("%s in %d%s: %s", m.mark, n, of, m.open))
		case m.claim == FromStates:
			verdict = append(verdict, "the own states do better than every control that does not read them")
		}
		of = ""
	}
	return verdict
}

// Write writes the table for a terminal.
func (t *Table) Write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tn\tusers\town F1\tcontrol F1\tas shown\tdifference\t95 % interval\tMcNemar p\tbootstrap p\tadjusted p\t")
	for _, r := range t.Rows {
		shown := ""
		if r.Shown != nil {
			shown = fmt.Sprintf("%.3f", *r.Shown)
		}
		fmt.Fprintf(w, "%s: %s\t%d\t%d\t%v\t%v\t%s\t%+.3f\t%+.3f to %+.3f\t%.2g\t%.2g\t%.2g\t%s\n", r.Part, r.Control, r.N, r.Users, r.OwnF1,
			r.OtherF1, shown, r.Difference.Mean, r.Difference.Low, r.Difference.High, r.McNemar, r.Bootstrap, r.Adjusted, r.Mark())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	runs := ""
	if t.Runs > 1 {
		runs = fmt.Sprintf("%d runs taken together, F1 with the lowest and highest of them; ", t.Runs)
	}
	_, err := fmt.Fprintf(to, "%sF1 is micro-F1, of all lines together; as shown: by what the control shows; intervals are a bootstrap over users; p is adjusted across the table (Holm)\n%s\n",
		runs, strings.Join(t.Verdict(), "\n"))
	return err
}
