package reproduce

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/report"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Options are what is reproduced, and where.
type Options struct {
	Folder  string // for everything that is made
	Dataset string // folder of the data set
	LLM     string // GGUF whose architecture docs/llms.md lists
	Budget  time.Duration
	Judge   func() (judge.Judge, func() error, error) // opens the judge, and says how to let go of it

	Stage    func(string)                          // is told what is begun; may be nil
	Progress func(what, unit string, done, of int) // may be nil
}

// Least is the shortest reproduction that leaves time to train.
const Least = 15 * time.Minute

// Plan is how the time is shared out.
type Plan struct {
	Dataset string `json:"dataset"`
	LLM     string `json:"llm"`
	Hashes  string `json:"hashes"` // of both
	Memory  int64  `json:"memory"` // bytes that training an adapter takes at most, about
	Budget  string `json:"budget"`
	// Trainings are those of the recommenders.
	Trainings []Training `json:"recommenders"`
	Runs      []Share    `json:"runs"`
	// Controlled are runs of several seeds whose answers are compared with controls, where the
	// budget has time for them.
	Controlled []Share `json:"controlled,omitempty"`
	Samples    int     `json:"samples"` // of each evaluation at most; 0: all of the test part
	Oracles    int     `json:"oracles"` // judged
}

// Training is that of a recommender.
type Training struct {
	Model   string  `json:"model"`
	Seed    uint64  `json:"seed,omitempty"` // 0: the first one
	Epoch   float64 `json:"epoch_seconds"`  // measured on this machine before the plan was made
	Epochs  int     `json:"epochs"`         // at most
	Minutes float64 `json:"minutes"`        // at most: training ends with the last epoch that fits
}

// Name tells trainings apart.
func (t Training) Name() string {
	if t.Seed == 0 {
		return t.Model
	}
	return fmt.Sprintf("%s, seed %d", t.Model, t.Seed)
}

// Fits says whether all epochs of a recommender have the time.
func (t Training) Fits() bool { return t.Epoch*float64(t.Epochs) <= 60*t.Minutes+1 }

// Share is a run, with the minutes that its adapter is trained.
type Share struct {
	Name        string       `json:"name"`
	Recommender string       `json:"recommender"`
	Prompt      string       `json:"prompt"`
	Adapter     adapter.Kind `json:"adapter"`
	Seed        uint64       `json:"seed,omitempty"` // of recommender and adapter, where answers are compared with controls
	Minutes     float64      `json:"minutes"`
}

// A budget is shared out between recommenders, adapters and evaluations.
const (
	recommenderShare = 0.2 // of the budget at most
	evaluationShare  = 0.2
)

// NewPlan measures how fast this machine trains the recommenders and shares out the budget. A
// reproduction that has been begun in the folder with the same budget and files keeps its plan.
func NewPlan(ctx context.Context, engine *cgo.Engine, o Options) (*Plan, error) {
	if o.Budget < Least {
		return nil, fmt.Errorf("reproduce: a budget of %v is too small; recommenders and evaluations leave no time to train adapters below %v",
			o.Budget, Least)
	}
	d, err := dataset.Load(o.Dataset)
	if err != nil {
		return nil, err
	}
	for _, one := range protocol() {
		if err := one.Adapter.Suits(len(d.Items)); err != nil {
			return nil, fmt.Errorf("reproduce: the paper's runs cannot be made with %s: %w", d.Name, err)
		}
	}
	split, err := d.Split(dataset.DefaultProtocol())
	if err != nil {
		return nil, err
	}
	llm, err := artifact.HashFile(o.LLM)
	if err != nil {
		return nil, err
	}
	p := &Plan{Dataset: d.Name, LLM: filepath.Base(o.LLM), Hashes: d.Hash() + " " + llm, Budget: o.Budget.String(), Samples: 200,
		Oracles: 100}
	if begun := p.begun(o.Folder); begun != nil {
		return begun, nil
	}
	if p.Memory, err = memory(o.LLM); err != nil {
		return nil, err
	}
	for _, model := range recommenders() {
		c, err := recommender.Default(model, len(d.Items))
		if err != nil {
			return nil, err
		}
		epoch, err := recommender.EpochTime(ctx, engine, c, split)
		if err != nil {
			return nil, err
		}
		p.Trainings = append(p.Trainings, Training{Model: model, Epoch: epoch.Seconds(), Epochs: c.MaxEpochs})
	}
	var beside []planned
	if o.Budget >= leastControlled && slices.Contains(d.ItemAttributes.Names, controlledTask) {
		beside = controlled()
		at := slices.IndexFunc(p.Trainings, func(t Training) bool { return t.Model == beside[0].Recommender })
		for seed := uint64(2); seed <= controlledSeeds; seed++ {
			another := p.Trainings[at]
			another.Seed = seed
			p.Trainings = append(p.Trainings, another)
		}
	}
	if o.Budget >= 2*time.Hour {
		p.Samples, p.Oracles = 1000, 300
	}
	if o.Budget >= 12*time.Hour {
		p.Samples, p.Oracles = 0, 1000
	}
	trained := 1 - evaluationShare
	if len(beside) > 0 {
		trained -= controlledShare
	}
	sum, left := 0.0, trained*o.Budget.Minutes()-p.divide(recommenderShare*o.Budget.Minutes())
	for _, r := range slices.Concat(protocol(), beside) {
		sum += r.weight
	}
	share := func(runs []planned) (shares []Share) {
		for _, r := range runs {
			r.Minutes = float64(int(10*left*r.weight/sum)) / 10
			shares = append(shares, r.Share)
		}
		return shares
	}
	p.Runs, p.Controlled = share(protocol()), share(beside)
	return p, nil
}

// divide gives each recommender what all of its epochs take or, where that is too much in all, its
// part of the minutes in proportion. It returns the sum.
func (p *Plan) divide(minutes float64) (used float64) {
	needed := 0.0
	for _, t := range p.Trainings {
		needed += t.Epoch * float64(t.Epochs) / 60
	}
	for i, t := range p.Trainings {
		p.Trainings[i].Minutes = t.Epoch * float64(t.Epochs) / 60 * min(1, minutes/needed)
	}
	return min(needed, minutes)
}

// evaluationTime is what one of a plan's evaluations has: of each run, of oracles and
// of the judge.
func (p *Plan) evaluationTime() time.Duration {
	evaluations := len(p.Runs)
	for _, share := range p.Runs {
		if share.Oracles() {
			evaluations++
		}
	}
	return p.part(evaluationShare / float64(evaluations))
}

// Controlling is the time for the controls and edits of all runs, as much for either; 0 without
// them.
func (p *Plan) Controlling() time.Duration {
	if len(p.Controlled) == 0 {
		return 0
	}
	return p.part(controlledShare)
}

// part is a share of the budget.
func (p *Plan) part(share float64) time.Duration {
	budget, _ := time.ParseDuration(p.Budget)
	return time.Duration(share * float64(budget))
}

// begun is the plan of a folder, if it is of the same budget and files.
func (p *Plan) begun(folder string) *Plan {
	data, err := os.ReadFile(filepath.Join(folder, PlanFile))
	var there Plan
	if err != nil || json.Unmarshal(data, &there) != nil ||
		there.Dataset != p.Dataset || there.LLM != p.LLM || there.Hashes != p.Hashes || there.Budget != p.Budget {
		return nil
	}
	return &there
}

// memory is what training through an LLM takes: both copies of each number in bfloat16, and a pass,
// as recint plan says it of runs whose recommender is there.
func memory(llm string) (int64, error) {
	gguf, err := cgo.OpenGGUF(llm)
	if err != nil {
		return 0, err
	}
	defer gguf.Close()
	info, err := gguf.Describe()
	return 4*int64(info.Parameters) + 1<<30, err
}

// PlanFile is the file of a reproduction's folder that says what it is.
const PlanFile = "reproduce.json"

// claim makes the folder the plan's, or refuses one that is another's.
func (p *Plan) claim(folder string) error {
	path := filepath.Join(folder, PlanFile)
	var there Plan
	err := artifact.ReadJSON(path, &there, artifact.KnownKeys)
	if !errors.Is(err, os.ErrNotExist) {
		differs := artifact.Difference(there, p)
		if err == nil && differs == "" {
			return nil
		}
		return fmt.Errorf("reproduce: %s holds another reproduction (%s); choose another folder, or the budget and the files that it was begun with",
			folder, cmp.Or(err, errors.New(differs)))
	}
	own, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return fmt.Errorf("reproduce: %w", err)
	}
	return artifact.WriteAtomic(path, func(w io.Writer) error {
		_, err := w.Write(append(own, '\n'))
		return err
	})
}

// reproduction is one under way.
type reproduction struct {
	Options
	plan   *Plan
	engine *cgo.Engine
	table  *Table
}

// Run does what is missing of a plan, and gives the table of all results; it also stands in the
// folder, with a report of all runs.
func Run(ctx context.Context, engine *cgo.Engine, o Options, plan *Plan) (_ *Table, err error) {
	defer func() { err = artifact.Resumable(err) }()
	if o.Stage == nil {
		o.Stage = func(string) {}
	}
	if o.Progress == nil {
		o.Progress = func(string, string, int, int) {}
	}
	if _, err := time.ParseDuration(plan.Budget); err != nil {
		return nil, fmt.Errorf("reproduce: the plan's budget: %w", err)
	}
	if err := plan.claim(o.Folder); err != nil {
		return nil, err
	}
	r := &reproduction{Options: o, plan: plan, engine: engine, table: &Table{LLM: plan.LLM, Dataset: plan.Dataset, Budget: plan.Budget}}
	for _, training := range plan.Trainings {
		if err := r.recommender(ctx, training); err != nil {
			return nil, err
		}
	}
	for _, share := range plan.Runs {
		if err := r.align(ctx, share); err != nil {
			return nil, err
		}
		if err := r.evaluate(ctx, share); err != nil {
			return nil, err
		}
	}
	if err := r.controls(ctx); err != nil {
		return nil, err
	}
	if err := r.write(); err != nil { // what there is, should the judge fail
		return nil, err
	}
	for _, share := range plan.Runs {
		if share.Oracles() {
			if err := r.judge(ctx, share); err != nil {
				return nil, err
			}
		}
	}
	return r.table, r.write()
}

// weights is the file of a recommender; that of seed 1 is named by the model alone.
func (r *reproduction) weights(model string, seed uint64) string {
	name := strings.ToLower(model)
	if seed > 1 {
		name += fmt.Sprintf("-%d", seed)
	}
	return filepath.Join(r.Folder, name+".safetensors")
}

// recommender trains one, unless it is there.
func (r *reproduction) recommender(ctx context.Context, training Training) error {
	model, path := training.Model, r.weights(training.Model, training.Seed)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	r.Stage("training " + training.Name())
	d, err := dataset.Load(r.Dataset)
	if err != nil {
		return err
	}
	split, err := d.Split(dataset.DefaultProtocol())
	if err != nil {
		return err
	}
	c, err := recommender.Default(model, len(d.Items))
	if err != nil {
		return err
	}
	if training.Seed > 0 {
		c.Seed = training.Seed
	}
	checkpoint := strings.TrimSuffix(path, ".safetensors") + ".checkpoint.safetensors"
	trained, err := recommender.Train(ctx, r.engine, c, split, recommender.Options{
		Dataset: d.Hash(), CheckpointPath: checkpoint, Within: time.Duration(training.Minutes * float64(time.Minute)),
		Progress: func(p recommender.Progress) {
			r.Progress(training.Name(), fmt.Sprintf("steps, epoch %d of at most %d", p.Epoch, p.MaxEpochs), (p.Epoch-1)*p.Steps+p.Step, p.MaxEpochs*p.Steps)
		},
	})
	if err != nil {
		return err
	}
	if n := len(trained.Epochs); !training.Fits() && n < training.Epochs {
		r.Stage(fmt.Sprintf("%s: ended after %d of at most %d epochs; its share of the budget is %.1f minutes", training.Name(), n, training.Epochs,
			training.Minutes))
	}
	if err := errors.Join(trained.Best.Save(path), trained.Close()); err != nil {
		return err // the checkpoint stays
	}
	return os.Remove(checkpoint)
}

// align trains a run's adapter, or what is left of it.
func (r *reproduction) align(ctx context.Context, share Share) error {
	template, err := task.Prompt(share.Prompt)
	if err != nil {
		return err
	}
	s := run.DefaultSpec().With(template, share.Adapter)
	s.Dataset, s.LLM, s.Recommender = r.Dataset, r.LLM, r.weights(share.Recommender, share.Seed)
	s.Config.Minutes, s.LongPasses = share.Minutes, true
	if share.Seed > 0 {
		s.Config.Seed, s.HoldOut = share.Seed, controlledItems
		if share.Adapter != ignores {
			s.Config.Noise = controlledNoise
		}
	}
	folder := filepath.Join(r.Folder, share.Name)
	if _, err := os.Stat(filepath.Join(folder, align.AdapterFile)); err == nil {
		return s.Matches(folder)
	}
	r.Stage(fmt.Sprintf("%s: the adapter, %.1f minutes", share.Name, share.Minutes))
	_, err = run.Train(ctx, r.engine, folder, s, nil, func(e align.Event) {
		if e.Phase == "training" {
			r.Progress(share.Name, fmt.Sprintf("steps, loss %.3f", e.Loss), e.Step, e.Plan)
		}
	})
	return err
}

// evaluate measures a run.
func (r *reproduction) evaluate(ctx context.Context, share Share) (err error) {
	r.Stage(share.Name + ": evaluation")
	folder := filepath.Join(r.Folder, share.Name)
	one, err := run.Open(r.engine, folder, interpret.Options{Slots: 64})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	opts := evaluate.Options{Seed: 1, Controls: true}
	path := run.PlannedAnswers(folder, share.Prompt)
	measure := func(n int) error {
		result, err := one.Evaluate(ctx, n, opts)
		if err == nil && opts.Path != "" {
			r.table.addEvaluation(share, one.Provenance.Minutes, result)
		}
		return err
	}
	n, err := r.samples(path, one, r.plan.evaluationTime(), measure)
	if err != nil {
		return err
	}
	opts.Path, opts.Drawn = path, n
	opts.Progress = func(done, total int) { r.Progress(share.Name, "answers", done, total) }
	return measure(n)
}

// samples is the number of test sequences for an evaluation whose answers a file keeps.
func (r *reproduction) samples(path string, one *run.Run, within time.Duration, measure func(n int) error) (int, error) {
	most := len(one.Split.Test)
	if r.plan.Samples > 0 {
		most = min(most, r.plan.Samples)
	}
	return evaluate.Within(within, path, most, measure)
}

// beside opens a run to set its answers beside others.
func (r *reproduction) beside(share Share, do func(one *run.Run, dir string) error) (err error) {
	r.Stage(share.Name + ": evaluation")
	folder := filepath.Join(r.Folder, share.Name)
	one, err := run.Open(r.engine, folder, interpret.Options{Slots: 64})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	return do(one, folder)
}

// judge compares oracles, as a run puts them into words, with the baseline's first recommendations.
func (r *reproduction) judge(ctx context.Context, share Share) (err error) {
	folder := filepath.Join(r.Folder, share.Name)
	cases, oracles, err := r.cases(ctx, folder)
	if err != nil {
		return err
	}
	r.Stage(share.Name + ": judging")
	j, done, err := r.Judge()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	result, err := judge.Compare(ctx, cases, j, judge.Options{Path: run.PlannedJudged(folder),
		Label: oracles.Label, Against: baseline, Parallel: 4, Progress: func(done, total int) { r.Progress("judging", "questions", done, total) }})
	if err == nil {
		r.table.addOracles(share, oracles, result)
	}
	return err
}

func (r *reproduction) cases(ctx context.Context, folder string) (cases []judge.Case, oracles *run.OracleResult, err error) {
	r.Stage(filepath.Base(folder) + ": oracles in words")
	one, err := run.Open(r.engine, folder, interpret.Options{Slots: 64})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	other, err := recommender.Load(r.engine, r.weights(baseline, 1))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, other.Close()) }()
	oracles, err = one.EvaluateOracles(ctx, r.plan.Oracles, 1, run.PlannedOracles(folder),
		func(done, total int) { r.Progress("oracles", "oracles", done, total) })
	if err != nil {
		return nil, nil, err
	}
	cases, err = Cases(ctx, one, oracles, other)
	return cases, oracles, err
}

// Cases pairs the words of a run's oracles with the first recommendations of another recommender
// for the same histories.
func Cases(ctx context.Context, r *run.Run, oracles *run.OracleResult, other *recommender.Recommender) ([]judge.Case, error) {
	choices, err := r.Choices(ctx, oracles, other)
	if err != nil {
		return nil, err
	}
	cases := make([]judge.Case, len(choices))
	for i, o := range oracles.Oracles {
		cases[i] = judge.Case{ID: fmt.Sprint(i), History: o.History, Oracle: o.Words, Item: choices[i]}
	}
	return cases, nil
}

// write leaves the table and the report in the folder.
func (r *reproduction) write() error {
	var folders []string
	for _, share := range slices.Concat(r.plan.Runs, r.plan.Controlled) {
		folders = append(folders, filepath.Join(r.Folder, share.Name))
	}
	page, err := report.New(folders)
	if err != nil {
		return err
	}
	for name, write := range map[string]func(io.Writer) error{"table.md": r.table.WriteMarkdown, "table.json": r.table.WriteJSON,
		"report.html": page.WriteHTML, "report.json": page.WriteJSON} {
		if err := artifact.WriteAtomic(filepath.Join(r.Folder, name), write); err != nil {
			return err
		}
	}
	return nil
}
