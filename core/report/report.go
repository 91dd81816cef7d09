// Package report puts what alignment runs and their evaluations have left into one page that needs nothing else.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// Report is what is known of some runs.
type Report struct {
	Runs []Run `json:"runs"`
}

// Run is what is known of one run.
type Run struct {
	Name       string             `json:"name"` // of its folder
	Facts      []Fact             `json:"facts"`
	Training   []Point            `json:"training"`   // means of some steps each
	Validation []Point            `json:"validation"` // each one
	Residual   []Residual         `json:"residual"`
	Recovery   []Recovery         `json:"recovery"`
	Oracles    []run.OracleResult `json:"oracles"`
	Judged     []judge.Result     `json:"judged"`
	Unfinished []string           `json:"unfinished"` // what cannot be shown, with the reason

	label string // of evaluations of this adapter on this data set
}

// Fact is something that a figure depends on.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Point is a loss, in nats for each answer token.
type Point struct {
	Samples int     `json:"samples"` // trained on so far
	Loss    float64 `json:"loss"`
}

// Residual is a residual evaluation.
type Residual struct {
	File         string           `json:"file"`
	Result       *evaluate.Result `json:"result"`
	ByPopularity []Group          `json:"by_popularity"`
	ByHistory    []Group          `json:"by_history"`
	Answers      []Answer         `json:"answers"`
}

// Group is a part of the samples, with the share whose title is named exactly.
type Group struct {
	Name       string          `json:"name"`
	Free       evaluate.Share  `json:"free"`
	Restricted *evaluate.Share `json:"restricted,omitempty"`
}

// Recovery is a recovery evaluation.
type Recovery struct {
	File    string                   `json:"file"`
	Result  *evaluate.RecoveryResult `json:"result"`
	Answers []Answer                 `json:"answers"`
}

// Answer is what was said about one sample.
type Answer struct {
	Sample      string   `json:"sample"`
	Kind        string   `json:"kind"` // Right, Near or Wrong
	Titles      []string `json:"titles"`
	Said        string   `json:"said"`
	Probability float64  `json:"probability"`
	Restricted  []string `json:"restricted,omitempty"` // the likeliest answers of the catalogue
}

// The kinds of answers.
const (
	Right = "right"
	Near  = "near miss" // the title is among the likeliest of the catalogue, or, of recovery, more than half are named
	Wrong = "wrong"
)

// New gathers what the folders of runs hold.
func New(folders []string) (*Report, error) {
	r := &Report{}
	for _, folder := range folders {
		one, err := gather(folder)
		if err != nil {
			return nil, err
		}
		r.Runs = append(r.Runs, *one)
	}
	return r, nil
}

func gather(folder string) (*Run, error) {
	spec, err := run.Read(folder)
	if err != nil {
		return nil, err
	}
	data, err := dataset.Load(spec.Dataset)
	if err != nil {
		return nil, err
	}
	split, err := data.Split(dataset.DefaultProtocol())
	if err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	r := &Run{Name: filepath.Base(absolute), Training: []Point{}, Validation: []Point{}, Residual: []Residual{}, Recovery: []Recovery{},
		Oracles: []run.OracleResult{}, Judged: []judge.Result{}, Unfinished: []string{}}
	if hash, err := artifact.HashFile(filepath.Join(folder, align.AdapterFile)); err == nil {
		r.label = run.Label(hash, data.Hash())
	}
	if err := r.readFacts(folder, spec); err != nil {
		return nil, err
	}
	if err := r.readLog(filepath.Join(folder, align.LogFile)); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		path, name := filepath.Join(folder, file.Name()), file.Name()
		switch {
		case strings.HasPrefix(name, "residual-") && strings.HasSuffix(name, ".jsonl"):
			err = r.addResidual(path, split)
		case strings.HasPrefix(name, "recovery-") && strings.HasSuffix(name, ".jsonl"):
			err = r.addRecovery(path)
		case strings.HasPrefix(name, "oracles-") && strings.HasSuffix(name, ".json"):
			err = r.addOracles(path)
		case strings.HasPrefix(name, "judge-") && strings.HasSuffix(name, ".jsonl"):
			err = r.addJudged(path)
		}
		if err != nil {
			r.Unfinished = append(r.Unfinished, err.Error())
			err = nil
		}
	}
	return r, nil
}

// readFacts says what the run is made from. A run that is not trained to its end has no adapter yet.
func (r *Run) readFacts(folder string, s run.Spec) error {
	add := func(name, format string, args ...any) {
		r.Facts = append(r.Facts, Fact{name, fmt.Sprintf(format, args...)})
	}
	add("recommender", "%s", filepath.Base(s.Recommender))
	add("data set", "%s", filepath.Base(s.Dataset))
	add("LLM", "%s, frozen", filepath.Base(s.LLM))
	add("prompt", "%s", s.Template.Name)
	add("adapter", "%s, %d soft tokens for each state", s.Adapter, s.Tokens)
	add("training", "batches of %d, rate %g (%s), %d steps of warm start, %s, seed %d", s.Config.BatchSize, s.Config.LearningRate,
		s.Config.Schedule, s.Config.WarmSteps, s.Precision, s.Config.Seed)
	_, provenance, err := align.LoadAdapter(filepath.Join(folder, align.AdapterFile))
	if errors.Is(err, fs.ErrNotExist) {
		add("state", "training has not ended")
		return nil
	}
	if err != nil {
		return err
	}
	add("trained", "%d samples in %.1f minutes, validation loss %.3f", provenance.Samples, provenance.Minutes, provenance.ValidationLoss)
	for _, hash := range []Fact{{"recommender", provenance.Recommender}, {"LLM", provenance.LLM}, {"data set", provenance.Dataset}} {
		add("hash of the "+hash.Name, "%s", hash.Value)
	}
	return nil
}

// atMost is how many points a curve is drawn of.
const atMost = 200

// readLog takes the losses from a log: of training as means of equally many steps.
func (r *Run) readLog(path string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a run that has only been begun has none
		return fmt.Errorf("report: %w", err)
	}
	var training []Point
	for line := range bytes.Lines(data) {
		var e align.Event
		if json.Unmarshal(line, &e) != nil {
			continue // the last line of a run that was killed
		}
		switch e.Phase {
		case "training":
			training = append(training, Point{e.Samples, e.Loss})
		case "validation":
			r.Validation = append(r.Validation, Point{e.Samples, e.Loss})
		}
	}
	each := (len(training) + atMost - 1) / atMost
	for part := range slices.Chunk(training, max(1, each)) {
		mean := Point{Samples: part[len(part)-1].Samples}
		for _, p := range part {
			mean.Loss += p.Loss / float64(len(part))
		}
		r.Training = append(r.Training, mean)
	}
	return nil
}

// mine refuses what was said of another adapter, or of another data set.
func (r *Run) mine(path, label string) error {
	if label != r.label && !strings.HasPrefix(label, r.label+", ") {
		return fmt.Errorf("report: %s is about another adapter or data set than those that are here now", path)
	}
	return nil
}

// answers reads those of a whole evaluation of this run.
func (r *Run) answers(path string) (*evaluate.Answers, error) {
	answers, err := evaluate.ReadAnswers(path)
	if err != nil {
		return nil, err
	}
	if answers.Header.Shard != "" {
		return nil, fmt.Errorf("report: %s is shard %s; recint evaluate merge joins all of them", path, answers.Header.Shard)
	}
	return answers, r.mine(path, answers.Header.Label)
}

func (r *Run) addResidual(path string, split dataset.Split) error {
	answers, err := r.answers(path)
	if err != nil {
		return err
	}
	result, err := answers.Residual()
	if err != nil {
		return err
	}
	free, restricted := answers.Of(evaluate.TrueState), answers.Of(evaluate.RestrictedState)
	one := Residual{File: filepath.Base(path), Result: result}
	for i, record := range free {
		a := answerOf(record)
		if record.Exact > 0 {
			a.Kind = Right
		}
		if restricted != nil {
			a.Restricted = likeliest(restricted[i])
			named := slices.ContainsFunc(a.Restricted, func(said string) bool { return evaluate.Exact(said, record.Titles[0]) })
			if a.Kind == Wrong && named {
				a.Kind = Near
			}
		}
		one.Answers = append(one.Answers, a)
	}
	sequences, err := sequencesOf(free, split)
	if err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	one.ByPopularity, one.ByHistory = byPopularity(free, restricted, sequences, split), byHistory(free, restricted, sequences)
	r.Residual = append(r.Residual, one)
	return nil
}

func (r *Run) addRecovery(path string) error {
	answers, err := r.answers(path)
	if err != nil {
		return err
	}
	result, err := answers.Recovery()
	if err != nil {
		return err
	}
	one := Recovery{File: filepath.Base(path), Result: result}
	for _, record := range answers.Of(evaluate.TrueState) {
		a := answerOf(record)
		switch {
		case record.Exact == len(record.Titles):
			a.Kind = Right
		case 2*record.Exact > len(record.Titles):
			a.Kind = Near
		}
		one.Answers = append(one.Answers, a)
	}
	r.Recovery = append(r.Recovery, one)
	return nil
}

func (r *Run) addOracles(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	var result run.OracleResult
	if err := json.Unmarshal(data, &result); err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	if len(result.Oracles) != result.N || result.N == 0 {
		return fmt.Errorf("report: %s holds %d of %d oracles; the same command goes on with it", path, len(result.Oracles), result.N)
	}
	for i, o := range result.Oracles {
		if len(o.Nearest) == 0 {
			return fmt.Errorf("report: %s: oracle %d has no nearest items", path, i)
		}
	}
	if err := r.mine(path, result.Label); err != nil {
		return err
	}
	r.Oracles = append(r.Oracles, result)
	return nil
}

func (r *Run) addJudged(path string) error {
	result, err := judge.Read(path)
	if err != nil {
		return err
	}
	if err := r.mine(path, result.Label); err != nil {
		return err
	}
	r.Judged = append(r.Judged, *result)
	return nil
}

func answerOf(record evaluate.Record) Answer {
	return Answer{Sample: record.Sample, Kind: Wrong, Titles: record.Titles, Said: record.Answer, Probability: math.Exp(record.LogProb)}
}

func likeliest(record evaluate.Record) []string {
	titles := []string{record.Answer}
	for _, other := range record.Others {
		titles = append(titles, other.Answer)
	}
	return titles
}

// sequencesOf finds the test sequences that samples are about.
func sequencesOf(records []evaluate.Record, split dataset.Split) ([]dataset.Sequence, error) {
	sequences := make([]dataset.Sequence, len(records))
	for i, record := range records {
		at, err := strconv.Atoi(strings.TrimPrefix(record.Sample, "test-"))
		if err != nil || at < 0 || at >= len(split.Test) {
			return nil, fmt.Errorf("there is no test sequence %q; is the data set another one by now?", record.Sample)
		}
		sequences[i] = split.Test[at]
	}
	return sequences, nil
}

// byPopularity parts samples in quarters by how often their item came next in training.
func byPopularity(free, restricted []evaluate.Record, sequences []dataset.Sequence, split dataset.Split) []Group {
	often := map[int32]int{}
	for _, s := range split.Train {
		often[s.Next]++
	}
	order := make([]int, len(sequences))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return often[sequences[a].Next] - often[sequences[b].Next] })
	var groups []Group
	for quarter := range 4 {
		part := order[len(order)*quarter/4 : len(order)*(quarter+1)/4]
		if len(part) == 0 {
			continue
		}
		name := fmt.Sprintf("%d to %d times", often[sequences[part[0]].Next], often[sequences[part[len(part)-1]].Next])
		groups = append(groups, groupOf(name, part, free, restricted))
	}
	return groups
}

// byHistory parts samples by the length of their history.
func byHistory(free, restricted []evaluate.Record, sequences []dataset.Sequence) []Group {
	parts := map[int][]int{}
	for i, s := range sequences {
		parts[len(s.History)] = append(parts[len(s.History)], i)
	}
	var groups []Group
	for _, length := range slices.Sorted(maps.Keys(parts)) {
		groups = append(groups, groupOf(fmt.Sprintf("%d items", length), parts[length], free, restricted))
	}
	return groups
}

func groupOf(name string, part []int, free, restricted []evaluate.Record) Group {
	hits := func(records []evaluate.Record) evaluate.Share {
		n := 0
		for _, i := range part {
			n += records[i].Exact
		}
		return evaluate.NewShare(n, len(part))
	}
	g := Group{Name: name, Free: hits(free)}
	if restricted != nil {
		share := hits(restricted)
		g.Restricted = &share
	}
	return g
}

// WriteJSON writes all of it for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
