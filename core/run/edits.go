package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// Doses are those of EvaluateEdits.
var Doses = []float64{-2, -1, 0, 1, 2}

// Curve is how two shares follow the dose, both means over histories.
type Curve struct {
	Words []float64 `json:"words,omitempty"` // probability that the answer names the value, at each dose; nil: not asked
	Top   []float64 `json:"top"`             // share of the top 10 that has it
}

// EditedValue is what moving states towards a value does.
type EditedValue struct {
	Value  string  `json:"value"`
	Items  int     `json:"items"`
	Own    Curve   `json:"own"`
	Random []Curve `json:"random"` // along random directions of the same length, at the lowest and the highest dose
}

// EditsOf describes an evaluation of edits.
type EditsOf struct {
	Samples int     // test sequences whose histories' states are moved
	Asked   int     // of them, which the LLM is asked about
	Minutes float64 // in place of Asked: the LLM is asked about as many as this takes, at least one
	Items   int     // least items that a value must have
	Seed    uint64
}

// Edits is what an evaluation of edits found.
type Edits struct {
	Label     string        `json:"label"`
	Attribute string        `json:"attribute"`
	Runs      int           `json:"runs,omitempty"` // whose means these are; 0: one
	N         int           `json:"n"`              // histories, of all runs
	Asked     int           `json:"asked"`          // those of them that the LLM is asked about
	Seed      uint64        `json:"seed"`
	Weighed   string        `json:"weighed"` // the answers whose probabilities are compared
	Doses     []float64     `json:"doses"`
	Values    []EditedValue `json:"-"`
}

// Random directions that are compared with each value's own. To recommend costs next to nothing, to
// ask the LLM does.
const (
	randomDirections = 20
	randomAsked      = 3 // the first of them, which are put into words
)

// ErrRare is the error of an evaluation of edits for which no value is frequent enough.
var ErrRare = errors.New("run: there is nothing to move states towards")

// EvaluateEdits moves the states after test histories towards each value that is frequent enough,
// and along random directions, and asks the LLM about the first of the histories. The run's task
// must be the attribute's. Finished values are kept in path. progress may be nil.
func (r *Run) EvaluateEdits(ctx context.Context, of EditsOf, path string, progress func(done, total int)) (_ *Edits, err error) {
	if of.Asked < 1 && !(of.Minutes > 0) {
		return nil, errors.New("run: edits: say how many histories the LLM is asked about, or for how long")
	}
	s, err := r.Space(ctx, r.Task.Name)
	if err != nil {
		return nil, err
	}
	values, items := s.Values(of.Items)
	if len(values) == 0 {
		return nil, fmt.Errorf("%w: no value of the %s is one of at least %d items", ErrRare, r.Task.Asks, of.Items)
	}
	_, histories, _, err := r.evaluated(of.Samples, of.Seed)
	if err != nil {
		return nil, err
	}
	if of.Minutes > 0 {
		if of.Asked, err = s.fitting(ctx, of.Minutes, len(values), histories[:1], path); err != nil {
			return nil, err
		}
	}
	asked := min(of.Asked, len(histories))
	e := Edits{Label: r.label(), Attribute: r.Task.Name, N: len(histories), Asked: asked, Seed: of.Seed,
		Weighed: fmt.Sprintf("those that are true of %d training sequences", len(s.answers)), Doses: Doses}
	journal, err := artifact.OpenJournal(path, e, func(records []EditedValue) (int, error) { return movedTowards(values, records) })
	if err != nil {
		return nil, fmt.Errorf("run: edits: %w", err)
	}
	defer func() {
		if len(journal.Records) > 0 {
			err = artifact.Resumable(err)
		}
		err = errors.Join(err, journal.Close())
	}()
	if e.Values = journal.Records; len(e.Values) == len(values) { // nothing is left to ask the LLM about
		return &e, nil
	}
	moving := editing{Space: s, histories: histories, asked: asked}
	if moving.weigh, err = s.weigher(); err != nil {
		return nil, err
	}
	if moving.unmoved, err = r.edit(ctx, histories, asked, moving.weigh, nil, 0); err != nil {
		return nil, err
	}
	for at := len(journal.Records); at < len(values); at++ {
		value := EditedValue{Value: values[at], Items: items[values[at]]}
		direction, err := s.Direction(value.Value)
		if err != nil {
			return nil, err
		}
		if err := moving.along(ctx, direction, &value, of.Seed+uint64(at*randomDirections)); err != nil {
			return nil, err
		}
		if err := journal.Append(value); err != nil {
			return nil, fmt.Errorf("run: edits: %w", err)
		}
		if progress != nil {
			progress(at+1, len(values))
		}
	}
	e.Values = journal.Records
	return &e, nil
}

// movedTowards counts the records of a file, which must be those of the first values.
func movedTowards(values []string, records []EditedValue) (int, error) {
	for i, r := range records {
		if i >= len(values) || r.Value != values[i] {
			return 0, fmt.Errorf("line %d: %q is not the value that is asked about there", i+2, r.Value)
		}
	}
	return len(records), nil
}

// editing is an evaluation of edits that has begun.
type editing struct {
	*Space
	histories [][]int32
	asked     int // the number of the first histories, which are put into words
	weigh     evaluate.Ranker
	unmoved   []Edited
}

// along moves the states along a value's direction, and along random ones.
func (e *editing) along(ctx context.Context, direction []float32, v *EditedValue, seed uint64) (err error) {
	if v.Own, err = e.curve(ctx, v.Value, direction, Doses, e.asked); err != nil {
		return err
	}
	ends := []float64{Doses[0], Doses[len(Doses)-1]}
	for number := range randomDirections {
		asked := e.asked
		if number >= randomAsked {
			asked = 0
		}
		c, err := e.curve(ctx, v.Value, random(direction, seed+uint64(number)), ends, asked)
		if err != nil {
			return err
		}
		v.Random = append(v.Random, c)
	}
	return nil
}

// curve moves the states along a direction, and has those of the first histories put into words.
func (e *editing) curve(ctx context.Context, value string, direction []float32, doses []float64, asked int) (c Curve, err error) {
	for _, dose := range doses {
		edited := e.unmoved
		if dose != 0 {
			if edited, err = e.run.edit(ctx, e.histories, asked, e.weigh, direction, dose); err != nil {
				return c, err
			}
		}
		words, top := 0.0, 0.0
		for i, one := range edited {
			if i < asked {
				words += one.Says(value) / float64(asked)
			}
			for _, scored := range one.Top {
				if slices.Contains(e.of(scored.Item), value) {
					top += 1 / float64(len(edited)*len(one.Top))
				}
			}
		}
		if c.Top = append(c.Top, top); asked > 0 {
			c.Words = append(c.Words, words)
		}
	}
	return c, nil
}

// fitting gives the number of histories to ask about: that of the evaluation that has begun or, at
// the speed measured now, as many as some minutes have time for.
func (s *Space) fitting(ctx context.Context, minutes float64, values int, one [][]int32, path string) (int, error) {
	switch begun, err := artifact.ReadJournal[Edits, EditedValue](path); {
	case err == nil:
		return begun.Header.Asked, nil
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, artifact.ErrNoHeader):
		return 0, fmt.Errorf("run: edits: %w; move the file away to start again", err)
	}
	weigh, err := s.weigher()
	if err != nil {
		return 0, err
	}
	var took time.Duration
	for range 2 { // the first also does work that all later ones share
		began := time.Now()
		if _, err := s.run.edit(ctx, one, 1, weigh, nil, 0); err != nil {
			return 0, err
		}
		took = time.Since(began)
	}
	weighings := 1 + values*(len(Doses)-1+2*randomAsked)
	return max(1, int(minutes*float64(time.Minute)/float64(took)/float64(weighings))), nil
}

// PoolEdits gives the means of several runs' edits, such as runs of other seeds: of their curves,
// and of the rises along all of their random directions. Each run weighs the same. It refuses edits
// of different values or doses.
func PoolEdits(runs []*Edits) (*Edits, error) {
	switch len(runs) {
	case 0:
		return nil, errors.New("run: no edits to pool")
	case 1:
		return runs[0], nil
	}
	pooled := *runs[0]
	pooled.Runs, pooled.N, pooled.Asked, pooled.Values = len(runs), 0, 0, nil
	var labels, weighed []string
	for _, e := range runs {
		if e.Attribute != pooled.Attribute || !slices.Equal(e.Doses, pooled.Doses) ||
			!slices.EqualFunc(e.Values, runs[0].Values, func(a, b EditedValue) bool { return a.Value == b.Value }) {
			return nil, fmt.Errorf("run: edits of %s and of %s moved states towards other values; name runs on the same data set", runs[0].Label, e.Label)
		}
		labels, weighed = append(labels, e.Label), append(weighed, e.Weighed)
		pooled.N, pooled.Asked = pooled.N+e.N, pooled.Asked+e.Asked
	}
	pooled.Label, pooled.Weighed = strings.Join(labels, "; "), strings.Join(slices.Compact(weighed), "; ")
	mean := func(at int, share func(Curve) []float64) []float64 {
		sums := make([]float64, len(pooled.Doses))
		for _, e := range runs {
			for dose, x := range share(e.Values[at].Own) {
				sums[dose] += x / float64(len(runs))
			}
		}
		return sums
	}
	for at, first := range runs[0].Values {
		value := EditedValue{Value: first.Value, Items: first.Items, Own: Curve{Words: mean(at, inWords), Top: mean(at, inTop)}}
		for _, e := range runs {
			value.Random = append(value.Random, e.Values[at].Random...)
		}
		pooled.Values = append(pooled.Values, value)
	}
	return &pooled, nil
}

func inWords(c Curve) []float64 { return c.Words }
func inTop(c Curve) []float64   { return c.Top }

// Effect is how a share follows the dose.
type Effect struct {
	Spearman float64 // rank correlation with the dose
	Rise     float64 // from the lowest dose to the highest
	Random   float64 // mean size of the rise along random directions
}

// Shows says whether the share rises with the dose, and at least three times as much as along
// random directions.
func (e Effect) Shows() bool { return e.Spearman >= 0.9 && e.Rise >= 3*e.Random }

// Effects are those on the words and on the top 10.
func (v EditedValue) Effects() (words, top Effect) {
	effect := func(of func(Curve) []float64) Effect {
		rise := func(share []float64) float64 { return share[len(share)-1] - share[0] }
		e, n := Effect{Spearman: control.Spearman(Doses, of(v.Own)), Rise: rise(of(v.Own))}, 0.0
		for _, c := range v.Random {
			if share := of(c); share != nil {
				e.Random, n = e.Random+math.Abs(rise(share)), n+1
			}
		}
		e.Random /= max(1, n)
		return e
	}
	return effect(inWords), effect(inTop)
}

// Following counts the values that words and the top 10 follow.
func (e *Edits) Following() (n int) {
	for _, v := range e.Values {
		if words, top := v.Effects(); words.Shows() && top.Shows() {
			n++
		}
	}
	return n
}

// Write writes a row for each value.
func (e *Edits) Write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\titems\twords, doses %v\trank corr.\trise\trandom\ttop 10\trank corr.\trise\trandom\t\n", e.Attribute, e.Doses)
	percent := func(shares []float64) string {
		var text []string
		for _, share := range shares {
			text = append(text, fmt.Sprintf("%.1f", 100*share))
		}
		return strings.Join(text, " ")
	}
	for _, v := range e.Values {
		words, top := v.Effects()
		mark := ""
		if words.Shows() && top.Shows() {
			mark = "follows"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%.2f\t%+.1f\t%.1f\t%s\t%.2f\t%+.1f\t%.1f\t%s\n", v.Value, v.Items, percent(v.Own.Words), words.Spearman,
			100*words.Rise, 100*words.Random, percent(v.Own.Top), top.Spearman, 100*top.Rise, 100*top.Random, mark)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	of := ""
	if e.Runs > 0 {
		of = fmt.Sprintf(" of %d runs", e.Runs)
	}
	_, err := fmt.Fprintf(to, "shares in %%, means over %d histories%s (in words: %d of them); %d of %d values rise with the dose in words and in the top 10 (rank correlation at least 0.9), "+
		"at least 3 times as much as along random directions\n", e.N, of, e.Asked, e.Following(), len(e.Values))
	return err
}
