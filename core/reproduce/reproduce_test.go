package reproduce

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/internal/leak"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/judge"
)

func TestMain(m *testing.M) { leak.Main(m) }

// first is a judge that likes what is shown first.
type first struct{}

func (first) Name() string                                     { return "first" }
func (first) Ask(context.Context, string) (judge.Reply, error) { return judge.Reply{Text: "1"}, nil }

// small is a plan of seconds on a small data set.
func small(t *testing.T) (Options, *Plan) {
	t.Helper()
	d := &dataset.Dataset{Name: movieLens}
	for i := range 30 {
		d.Items = append(d.Items, dataset.Item{ID: fmt.Sprint(i), Title: fmt.Sprintf("Film %d", i), RawTitle: fmt.Sprintf("Film %d (1990)", i)})
		d.ItemAttributes.Values = append(d.ItemAttributes.Values, []string{[]string{"Drama", "War"}[i%2]})
	}
	d.ItemAttributes.Names = []string{controlledTask}
	for user := range int32(8) {
		d.Users = append(d.Users, fmt.Sprint(user))
		for k := range int32(20) {
			d.Events = append(d.Events, dataset.Event{User: user, Item: (5*user + 7*k) % 30, Time: int64(1000*k + user), Rating: 4})
		}
	}
	dir := t.TempDir()
	o := Options{Folder: filepath.Join(dir, "out"), Dataset: filepath.Join(dir, "data"), LLM: testllm.Path(t), Budget: leastControlled,
		Judge: func() (judge.Judge, func() error, error) { return first{}, func() error { return nil }, nil }}
	if err := d.Save(o.Dataset); err != nil {
		t.Fatal(err)
	}
	plan, err := NewPlan(t.Context(), testllm.Engine(t), o)
	if err != nil {
		t.Fatal(err)
	}
	plan.Samples, plan.Oracles = 6, 4
	for i := range plan.Runs {
		plan.Runs[i].Minutes = 0.02
	}
	for i := range plan.Controlled {
		plan.Controlled[i].Minutes = 0.02
	}
	return o, plan
}

// Stopped in every stage and resumed, a reproduction ends; run again it repeats the table and
// trains nothing.
func TestRun(t *testing.T) {
	o, plan := small(t)
	engine := testllm.Engine(t)
	var stages []string
	seen := map[string]bool{}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	o.Stage = func(stage string) {
		stages = append(stages, stage)
		if !seen[stage] {
			seen[stage] = true
			stop()
		}
	}
	var table *Table
	var err error
	for {
		if table, err = Run(ctx, engine, o, plan); err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		ctx, stop = context.WithCancel(t.Context())
	}
	stop()
	if trained := strings.Count(strings.Join(stages, "\n")+"\n", "training SASRec\n"); trained > 2 {
		t.Errorf("SASRec was begun %d times", trained)
	}
	what := map[string]Row{}
	for _, row := range table.Rows {
		what[row.What] = row
	}
	for name, paper := range map[string]string{
		"residual accuracy, DreamRec, as the paper scores": paperResidual, "residual accuracy, SASRec, exact": "",
		"residual accuracy, Caser, restricted to titles": "", "more than 5 items recovered, SASRec, retrieval (lookup), as the paper scores": paperRecovery,
		"more than 5 items recovered, SASRec, positions, exact":                                         "",
		"control: more than 5 items recovered, SASRec, retrieval (lookup), zeros in place of the state": "", "control: residual accuracy, GRU4Rec, zeros in place of the state": "",
		"items named from their own vectors, DreamRec, exact":                                         "",
		"genres that words and top 10 follow when states are moved":                                   "",
		"the first 1 of SASRec changed by a changed history":                                          "",
		"verdicts for the oracle, against SASRec's first recommendation (as the last of the history)": paperOracle,
		"verdicts for the oracle, against SASRec's first recommendation (by its own prompt)":          paperOracle,
	} {
		row, ok := what[name]
		if !ok || row.Paper != paper || row.Ours.N == 0 || row.Differs == "" {
			t.Errorf("%s: %+v", name, row)
		}
	}
	if row := what["verdicts for what is shown first (by its own prompt)"]; row.Ours.N > 0 && row.Ours.Value != 1 {
		t.Errorf("%+v", row)
	}
	if c := table.Controls; c == nil || c.Runs != controlledSeeds || !slices.ContainsFunc(c.Rows, func(r control.Row) bool {
		return r.Part == "held-out items" && r.Control == "adapter that ignores the states" && r.N > 0
	}) {
		t.Errorf("controls: %+v", c)
	}
	for name, text := range map[string]string{"table.md": "| residual accuracy, DreamRec, exact |", "table.json": `"rows"`,
		"report.html": "Who does the work", "report.json": "recovery-positions"} {
		if content, err := os.ReadFile(filepath.Join(o.Folder, name)); err != nil || !strings.Contains(string(content), text) {
			t.Errorf("%s: %v, no %q in it", name, err, text)
		}
	}
	adapter := filepath.Join(o.Folder, "residual-caser", align.AdapterFile)
	before, err := os.Stat(adapter)
	if err != nil {
		t.Fatal(err)
	}
	stages = nil
	if again, err := Run(t.Context(), engine, o, plan); err != nil || !reflect.DeepEqual(again, table) {
		t.Errorf("again: %v, %+v", err, again)
	}
	if after, err := os.Stat(adapter); err != nil || after.ModTime() != before.ModTime() || strings.Contains(strings.Join(stages, " "), "adapter") {
		t.Errorf("an adapter was trained again: %q, %v", stages, err)
	}
	plan.Oracles++
	if _, err := Run(t.Context(), engine, o, plan); err == nil || !strings.Contains(err.Error(), "another reproduction") {
		t.Errorf("another plan: %v", err)
	}
}

// Of another data set no figure stands beside the paper's.
func TestTable_otherData(t *testing.T) {
	table := &Table{Dataset: "lastfm"}
	table.add("x", evaluate.NewShare(1, 2), paperResidual, "")
	if table.Rows[0].Paper != "" {
		t.Errorf("%+v", table.Rows)
	}
}

func TestNewPlan(t *testing.T) {
	o, _ := small(t)
	engine := testllm.Engine(t)
	for budget, samples := range map[time.Duration]int{30 * time.Minute: 200, 4 * time.Hour: 1000, 24 * time.Hour: 0} {
		o.Budget = budget
		p, err := NewPlan(t.Context(), engine, o)
		if err != nil {
			t.Fatal(err)
		}
		adapters, recommenders := 0.0, 0.0
		for _, s := range slices.Concat(p.Runs, p.Controlled) {
			adapters += s.Minutes
		}
		if (len(p.Controlled) > 0) != (budget >= leastControlled) || len(p.Trainings) != 4+len(p.Controlled)/3 {
			t.Errorf("%v: %d runs beside controls, %d recommenders", budget, len(p.Controlled), len(p.Trainings))
		}
		for _, r := range p.Trainings {
			recommenders += r.Minutes
			if !(r.Epoch > 0) || r.Epochs < 1 {
				t.Errorf("%v: %+v", budget, r)
			}
		}
		share := 0.8
		if len(p.Controlled) > 0 {
			share = 0.65 // 0.15 for controls and edits
		}
		if most := share*budget.Minutes() - recommenders; p.Samples != samples || adapters > most+0.1 || adapters < most-1 ||
			recommenders > 0.2*budget.Minutes()+1e-9 {
			t.Errorf("%v: %+v, %g minutes for adapters and %g for recommenders", budget, p, adapters, recommenders)
		}
	}
	if _, err := NewPlan(t.Context(), engine, Options{Budget: time.Minute}); err == nil {
		t.Error("a minute is enough")
	}
	// Once begun, a plan stays, whatever would be measured now; another budget has its own.
	first, err := NewPlan(t.Context(), engine, o)
	if err != nil {
		t.Fatal(err)
	}
	first.Trainings[0].Epoch = 1234
	if err := first.claim(o.Folder); err != nil {
		t.Fatal(err)
	}
	if again, err := NewPlan(t.Context(), engine, o); err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("again: %+v, %v; want %+v", again, err, first)
	}
	o.Budget++
	if other, err := NewPlan(t.Context(), engine, o); err != nil || other.Trainings[0].Epoch == 1234 {
		t.Errorf("another budget: %+v, %v", other, err)
	}
}

// 10 minutes for recommenders that take 4 and 16 with all their epochs, and for the same on a
// machine ten times as fast.
func TestPlan_divide(t *testing.T) {
	p := &Plan{Budget: "45m0s", Trainings: []Training{{Model: "a", Epoch: 24, Epochs: 10}, {Model: "b", Epoch: 16, Epochs: 60}},
		Runs: []Share{{Name: "residual-sasrec"}, {Name: "residual-dreamrec"}}}
	if used := p.divide(10); used != 10 || p.Trainings[0].Minutes != 2 || p.Trainings[1].Minutes != 8 || p.Trainings[0].Fits() {
		t.Errorf("%g minutes: %+v", used, p.Trainings)
	}
	if each := p.evaluationTime(); each != 3*time.Minute { // a fifth of 45 minutes for two runs and the oracles
		t.Errorf("an evaluation has %v", each)
	}
	if all := p.Controlling(); all != 0 {
		t.Errorf("controls without runs have %v", all)
	}
	p.Controlled = []Share{{Name: "genres-mlp-1"}}
	if all := p.Controlling(); all != 405*time.Second { // 15 % of 45 minutes
		t.Errorf("controls and edits have %v", all)
	}
	for i := range p.Trainings {
		p.Trainings[i].Epoch /= 10
	}
	if used := p.divide(10); math.Abs(used-2) > 1e-9 || math.Abs(p.Trainings[1].Minutes-1.6) > 1e-9 || !p.Trainings[1].Fits() {
		t.Errorf("%g minutes: %+v", used, p.Trainings)
	}
}
