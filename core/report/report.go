// Package report puts what alignment runs and their evaluations have left into one page that needs nothing else.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
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
	ByHistory    []Group          `json:"by_history"` // by its length
	Details
}

// Recovery is a recovery evaluation.
type Recovery struct {
	File    string                   `json:"file"`
	Result  *evaluate.RecoveryResult `json:"result"`
	ByPlace []Group                  `json:"by_place"` // in the history, its last item first
	Details
}

// Details are what both have.
type Details struct {
	ByItem  []Item   `json:"by_item"`  // every item that is asked for, by its number in the data set
	ByToken []Curve  `json:"by_token"` // of each condition that keeps tokens
	Answers []Answer `json:"answers"`
}

// Answer is what was said about one sample.
type Answer struct {
	Sample     string   `json:"sample"`
	Kind       string   `json:"kind"` // Right, Near or Wrong: the free answer
	Titles     []string `json:"titles"`
	Free       Said     `json:"free"`
	Restricted *Said    `json:"restricted,omitempty"`
}

// Said is an answer under one condition.
type Said struct {
	Text        string    `json:"text"`
	Probability float64   `json:"probability"`
	Tokens      []string  `json:"tokens,omitempty"`
	LogProbs    []float64 `json:"log_probs,omitempty"` // of the tokens and, where the answer ended, of its end
	Others      []string  `json:"others,omitempty"`    // the next likeliest answers
}

// The kinds of answers.
const (
	Right = "right"
	Near  = "near miss" // the title is among the likeliest, or said but for a few letters; of recovery, more than half are named
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
			err = r.addResidual(path, data, split)
		case strings.HasPrefix(name, "recovery-") && strings.HasSuffix(name, ".jsonl"):
			err = r.addRecovery(path, data, split)
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
	of := "state"
	if s.Adapter == align.Recall {
		of = "item that it looks up"
	}
	add("adapter", "%s, %d soft tokens for each %s", s.Adapter, s.Tokens, of)
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

func (r *Run) addResidual(path string, data *dataset.Dataset, split dataset.Split) error {
	answers, err := r.answers(path)
	if err != nil {
		return err
	}
	result, err := answers.Residual()
	if err != nil {
		return err
	}
	asked, err := questionsOf(answers, split)
	if err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	trained := countTrained(split)
	one := Residual{File: filepath.Base(path), Result: result, ByPopularity: asked.byPopularity(trained), ByHistory: asked.byHistory(),
		Details: Details{ByItem: asked.byItem(data, trained), ByToken: curves(answers), Answers: said(answers)}}
	for i := range one.Answers {
		a := &one.Answers[i]
		title := a.Titles[0]
		among := a.Restricted != nil && (evaluate.Exact(a.Restricted.Text, title) ||
			slices.ContainsFunc(a.Restricted.Others, func(other string) bool { return evaluate.Exact(other, title) }))
		switch {
		case evaluate.Exact(a.Free.Text, title):
			a.Kind = Right
		case among || evaluate.Close(a.Free.Text, title):
			a.Kind = Near
		}
	}
	r.Residual = append(r.Residual, one)
	return nil
}

func (r *Run) addRecovery(path string, data *dataset.Dataset, split dataset.Split) error {
	answers, err := r.answers(path)
	if err != nil {
		return err
	}
	result, err := answers.Recovery()
	if err != nil {
		return err
	}
	asked, err := questionsOf(answers, split)
	if err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	one := Recovery{File: filepath.Base(path), Result: result, ByPlace: asked.byPlace(),
		Details: Details{ByItem: asked.byItem(data, countTrained(split)), ByToken: curves(answers), Answers: said(answers)}}
	for i, record := range answers.Of(evaluate.TrueState) {
		switch {
		case record.Exact == len(record.Titles):
			one.Answers[i].Kind = Right
		case 2*record.Exact > len(record.Titles):
			one.Answers[i].Kind = Near
		}
	}
	r.Recovery = append(r.Recovery, one)
	return nil
}

func (r *Run) addOracles(path string) error {
	var result run.OracleResult
	if err := artifact.ReadJSON(path, &result, artifact.AnyKeys); err != nil {
		return fmt.Errorf("report: %w; remove the file, and recint oracle writes it again", err)
	}
	if len(result.Oracles) != result.N || result.N == 0 {
		return fmt.Errorf("report: %s holds %d of %d oracles; %w", path, len(result.Oracles), result.N, artifact.ErrResumable)
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

// said gives the answers to all samples, as if all were wrong.
func said(answers *evaluate.Answers) (all []Answer) {
	restricted := answers.Of(evaluate.RestrictedState)
	for i, record := range answers.Of(evaluate.TrueState) {
		a := Answer{Sample: record.Sample, Kind: Wrong, Titles: record.Titles, Free: saidIn(record)}
		if restricted != nil {
			other := saidIn(restricted[i])
			a.Restricted = &other
		}
		all = append(all, a)
	}
	return all
}

func saidIn(record evaluate.Record) Said {
	s := Said{Text: record.Answer, Probability: math.Exp(record.LogProb), Tokens: record.Tokens, LogProbs: record.LogProbs}
	for _, other := range record.Others {
		s.Others = append(s.Others, other.Answer)
	}
	return s
}

// WriteJSON writes all of it for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
