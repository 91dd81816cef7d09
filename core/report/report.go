package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Report holds the results of some runs.
type Report struct {
	Runs []Run `json:"runs"`
}

// Run holds the results of one run.
type Run struct {
	Name        string // of its folder
	Facts       []Fact
	Training    []Point     // means of several steps
	Validation  []Point     // each one
	Evaluations []Evaluated // of each task
	Oracles     []run.OracleResult
	Judged      []judge.Result
	Controls    []control.Table
	Unfinished  []string // missing parts, with the reason

	label string // of evaluations of this adapter on this data set
}

// Fact is a setting that figures depend on.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Point is a loss, in nats per answer token.
type Point struct {
	Samples int     `json:"samples"` // trained on so far
	Loss    float64 `json:"loss"`
}

// Evaluated holds the evaluations of one task.
type Evaluated struct {
	Name     string
	Sections []any // of finished evaluations
}

// MarshalJSON writes each task's evaluations under the name of the task.
func (r Run) MarshalJSON() ([]byte, error) {
	type fields struct { // of a run, in their order
		key   string
		value any
	}
	all := []fields{{"name", r.Name}, {"facts", r.Facts}, {"training", r.Training}, {"validation", r.Validation}}
	for _, e := range r.Evaluations {
		all = append(all, fields{e.Name, e.Sections})
	}
	if r.Controls != nil {
		all = append(all, fields{"controls", r.Controls})
	}
	all = append(all, fields{"oracles", r.Oracles}, fields{"judged", r.Judged}, fields{"unfinished", r.Unfinished})
	var text bytes.Buffer
	for i, field := range all {
		value, err := json.Marshal(field.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&text, "%c%q:%s", "{,"[min(i, 1)], field.key, value)
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}

// New reads the folders of runs.
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

// newRun makes a run without results; label identifies its evaluations.
func newRun(label string) *Run {
	r := &Run{Training: []Point{}, Validation: []Point{}, Oracles: []run.OracleResult{}, Judged: []judge.Result{}, Unfinished: []string{},
		label: label}
	for _, t := range task.Evaluations() {
		if !t.Own { // those without figures are skipped
			continue
		}
		r.Evaluations = append(r.Evaluations, Evaluated{Name: t.Name, Sections: []any{}})
	}
	return r
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
	r := newRun("")
	r.Name = filepath.Base(absolute)
	if hash, err := artifact.HashFile(filepath.Join(folder, align.AdapterFile)); err == nil {
		r.label = run.Label(hash, data.Hash())
	}
	if err := r.readFacts(folder, spec); err != nil {
		return nil, err
	}
	if err := r.readLog(filepath.Join(folder, align.LogFile)); err != nil {
		return nil, err
	}
	files, err := run.Leavings(folder)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		switch file.Kind {
		case run.AnswersFile:
			err = r.addAnswers(file.Path, file.Task, data, split)
		case run.OraclesFile:
			err = r.addOracles(file.Path)
		case run.ControlsFile:
			err = r.addControls(file.Path)
		case run.JudgedFile:
			err = r.addJudged(file.Path)
		}
		if err != nil {
			r.Unfinished = append(r.Unfinished, err.Error())
			err = nil
		}
	}
	return r, nil
}

// readFacts reads the inputs and settings of the run. A run whose training has not ended has no
// adapter yet.
func (r *Run) readFacts(folder string, s run.Spec) error {
	add := func(name, format string, args ...any) {
		r.Facts = append(r.Facts, Fact{name, fmt.Sprintf(format, args...)})
	}
	if s.States != "" {
		add("states", "%s, a file of states", filepath.Base(s.States))
	} else {
		add("recommender", "%s", filepath.Base(s.Recommender))
	}
	add("data set", "%s", filepath.Base(s.Dataset))
	add("LLM", "%s, frozen", filepath.Base(s.LLM))
	add("prompt", "%s", s.Template.Name)
	of := "state"
	if s.Adapter.Entry().LookUps {
		of = "item that it looks up"
	}
	add("adapter", "%s, %d soft tokens for each %s", s.Adapter.Label(), s.Tokens, of)
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

// atMost is the most points of a curve.
const atMost = 200

// readLog reads the losses from a log: for training, means of equally many steps.
func (r *Run) readLog(path string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a run that has only begun has none
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

// mine refuses results of another adapter or another data set.
func (r *Run) mine(path, label string) error {
	if label != r.label && !strings.HasPrefix(label, r.label+", ") {
		return fmt.Errorf("report: %s belongs to another adapter or data set than those here now", path)
	}
	return nil
}

// answers reads the answers of a finished evaluation of this run.
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

func (r *Run) addAnswers(path string, t task.Task, data *dataset.Dataset, split dataset.Split) error {
	answers, err := r.answers(path)
	if err != nil {
		return err
	}
	if answers.Header.Evaluation != t.Name {
		return fmt.Errorf("report: %s holds the answers of a %s evaluation, not of %s", path, answers.Header.Evaluation, t.Name)
	}
	asked, err := task.NewBreakdown(t, answers, data, split)
	if err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	section := t.Section(filepath.Base(path), asked)
	at := slices.IndexFunc(r.Evaluations, func(e Evaluated) bool { return e.Name == t.Name })
	if at < 0 {
		at = len(r.Evaluations)
		r.Evaluations = append(r.Evaluations, Evaluated{Name: t.Name})
	}
	r.Evaluations[at].Sections = append(r.Evaluations[at].Sections, section)
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

func (r *Run) addControls(path string) error {
	var table control.Table
	if err := artifact.ReadJSON(path, &table, artifact.AnyKeys); err != nil {
		return fmt.Errorf("report: %w; remove the file, and recint evaluate controls writes it again", err)
	}
	if table.Old() {
		return fmt.Errorf("report: an older version wrote %s; recint evaluate controls writes it again, from the answers that are kept", path)
	}
	if err := r.mine(path, table.Label); err != nil {
		return err
	}
	r.Controls = append(r.Controls, table)
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

// WriteJSON writes the report as JSON, for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
