package control

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// Level is the adjusted p-value below which a control is told apart.
const Level = 0.01

// Row compares answers from the samples' own states with those of a control.
type Row struct {
	Part       string   `json:"part"`    // all samples, or those that end in seen or in held-out items
	Control    string   `json:"control"` // what answers in place of the states
	N          int      `json:"n"`
	Users      int      `json:"users"`
	Own        float64  `json:"own"`             // mean score of the own states: F1 of each sample's lines
	Other      float64  `json:"other"`           // and of the control
	OwnF1      float64  `json:"own_f1"`          // micro-F1 of the own states: of all lines together
	OtherF1    float64  `json:"other_f1"`        // and of the control
	Shown      *float64 `json:"shown,omitempty"` // mean score of the control's answers where what it shows is taken for the truth
	Difference Interval `json:"difference"`      // own less control
	McNemar    float64  `json:"mcnemar"`         // p-value, of answers that are wholly right
	Bootstrap  float64  `json:"bootstrap"`       // p-value, of the difference
	Adjusted   float64  `json:"adjusted"`        // after Holm's correction: McNemar's where every true answer has one line, else the bootstrap's
	Flagged    bool     `json:"flagged"`         // the own states are not shown to do better: the answers may not come from them
}

// Table is an evaluation beside its controls.
type Table struct {
	Label string `json:"label"`
	Task  string `json:"task"`
	Rows  []Row  `json:"rows"`
}

// Other is a control that is another evaluation of the same samples, such as that of an adapter that ignores the state.
type Other struct {
	Name    string
	Answers *evaluate.Answers
	Shown   map[string][]string // what is true of what it shows in place of a sample's own history; nil where that is nothing else
}

// New compares answers with their own controls (zero and shuffled states, one constant answer) and with other evaluations. userOf
// gives the user of a sample.
func New(answers *evaluate.Answers, others []Other, userOf func(sample string) (int32, error)) (*Table, error) {
	t := &Table{Label: answers.Header.Label, Task: answers.Header.Evaluation}
	seen, held := answers.Parts()
	for _, part := range []struct {
		name    string
		answers *evaluate.Answers
	}{{"all", answers}, {"seen items", seen}, {"held-out items", held}} {
		if part.answers == nil {
			continue
		}
		own := part.answers.Of(evaluate.TrueState)
		for _, condition := range []string{evaluate.ZeroState, evaluate.ShuffledState} {
			records := part.answers.Of(condition)
			if records == nil {
				continue
			}
			if err := t.add(part.name, evaluate.ConditionNames[condition], own, records, userOf); err != nil {
				return nil, err
			}
		}
		if err := t.add(part.name, "one constant answer", own, constant(own), userOf); err != nil {
			return nil, err
		}
		for _, other := range others {
			matched, err := match(own, other)
			if err != nil {
				return nil, err
			}
			if err := t.add(part.name, other.Name, own, matched, userOf); err != nil {
				return nil, err
			}
			if other.Shown != nil {
				t.Rows[len(t.Rows)-1].Shown = follows(matched, other.Shown)
			}
		}
	}
	t.adjust(!slices.ContainsFunc(answers.Records, func(r evaluate.Record) bool { return len(r.Titles) != 1 }))
	return t, nil
}

// adjust corrects the p-values of all rows: McNemar's where every true answer has one line, else the bootstrap's.
func (t *Table) adjust(single bool) {
	p := make([]float64, len(t.Rows))
	for i, r := range t.Rows {
		if p[i] = r.Bootstrap; single {
			p[i] = r.McNemar
		}
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
}

// Compare compares pairs, a row for each.
func Compare(label string, pairs []Pair, userOf func(sample string) (int32, error)) (*Table, error) {
	t := &Table{Label: label}
	for _, p := range pairs {
		if err := t.add("all", p.Name, p.Own, p.Other, userOf); err != nil {
			return nil, err
		}
	}
	t.adjust(false)
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

// follows is the mean score of answers where what was shown is taken for the truth; nil where nothing is known of what was shown.
func follows(records []evaluate.Record, shown map[string][]string) *float64 {
	sum, n := 0.0, 0
	for _, r := range records {
		if r.Titles = shown[r.Sample]; len(r.Titles) > 0 {
			f1, _ := score(r)
			sum, n = sum+f1, n+1
		}
	}
	if n == 0 {
		return nil
	}
	mean := sum / float64(n)
	return &mean
}

// microF1 is that of all lines together.
func microF1(records []evaluate.Record) float64 {
	right, made, asked := 0, 0, 0
	for _, r := range records {
		for _, line := range evaluate.Lines(r.Answer, r.Titles) {
			if made++; line.Right {
				right++
			}
		}
		asked += len(r.Titles)
	}
	return 2 * float64(right) / float64(made+asked)
}

// score is the F1 of an answer's lines, and whether they are the true ones and no others.
func score(r evaluate.Record) (f1 float64, whole bool) {
	lines, right := evaluate.Lines(r.Answer, r.Titles), 0
	for _, line := range lines {
		if line.Right {
			right++
		}
	}
	return 2 * float64(right) / float64(len(lines)+len(r.Titles)), right == len(r.Titles) && right == len(lines)
}

func (t *Table) add(part, name string, own, other []evaluate.Record, userOf func(string) (int32, error)) error {
	if len(own) == 0 {
		return errors.New("control: there are no answers")
	}
	row := Row{Part: part, Control: name, N: len(own), OwnF1: microF1(own), OtherF1: microF1(other)}
	users, differences, known := make([]int32, len(own)), make([]float64, len(own)), map[int32]bool{}
	onlyOwn, onlyOther := 0, 0
	for i := range own {
		a, aWhole := score(own[i])
		b, bWhole := score(other[i])
		row.Own, row.Other = row.Own+a/float64(len(own)), row.Other+b/float64(len(own))
		differences[i] = a - b
		switch {
		case aWhole && !bWhole:
			onlyOwn++
		case bWhole && !aWhole:
			onlyOther++
		}
		var err error
		if users[i], err = userOf(own[i].Sample); err != nil {
			return err
		}
		known[users[i]] = true
	}
	row.Users, row.McNemar = len(known), McNemar(onlyOwn, onlyOther)
	row.Difference, row.Bootstrap = Bootstrap(users, differences, uint64(len(t.Rows)))
	t.Rows = append(t.Rows, row)
	return nil
}

// Write writes the table for a terminal.
func (t *Table) Write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tn\tusers\town F1\tcontrol F1\town score\tcontrol score\tas shown\tdifference\t95 % interval\tMcNemar p\tbootstrap p\tadjusted p\t")
	flagged := 0
	for _, r := range t.Rows {
		mark, shown := "", ""
		if r.Shown != nil {
			shown = fmt.Sprintf("%.3f", *r.Shown)
		}
		if r.Flagged {
			mark, flagged = "NOT SHOWN", flagged+1
		}
		fmt.Fprintf(w, "%s: %s\t%d\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t%s\t%+.3f\t%+.3f to %+.3f\t%.2g\t%.2g\t%.2g\t%s\n", r.Part, r.Control, r.N, r.Users, r.OwnF1, r.OtherF1, r.Own,
			r.Other, shown, r.Difference.Mean, r.Difference.Low, r.Difference.High, r.McNemar, r.Bootstrap, r.Adjusted, mark)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	verdict := "the own states do better than every control"
	if flagged > 0 {
		verdict = fmt.Sprintf("%d of %d rows do not show that the answers come from the states", flagged, len(t.Rows))
	}
	_, err := fmt.Fprintf(to, "F1 is of all lines together, scores are the mean F1 of each sample's lines, as shown: by what the control shows; intervals are a bootstrap over users; p is adjusted across the table (Holm)\n%s\n",
		verdict)
	return err
}
