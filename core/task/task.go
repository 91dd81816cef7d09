package task

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Task is a kind of question. A run's task is that of its prompt.
type Task struct {
	Name   string       // of its evaluation: a command, and the beginning of file names
	Asks   prompt.Asked // the value of "asks" in its prompts
	Vector bool         // its prompts show an item's vector, {item}, and no states
	Own    bool         // its evaluation has a separate command, recint evaluate NAME, in addition to --task
	Last   bool         // it asks only about the last item, so that another item or a vector can take its place

	Closed bool // answers come from a closed set, which a grammar enforces in use

	Title bool // the answer is the title of the last item, or of a vector in its place

	// Legible says that the state which the prompt shows last holds the answer, and that answers
	// differ in their first tokens: a warm start can teach these, and examples can show them.
	Legible bool

	Prompts []prompt.Template // with names; the first is the default
	Usage   string            // the question, for the help of commands
	Right   string            // when the exact scorer counts an answer as right, for the help of commands

	// Ask makes a question about a subject.
	Ask func(Subject) Question
	// Allowed returns the lines of which a restricted answer may consist, and their largest number.
	Allowed func(f *Facts, positions int) (lines []string, most int)
	// Places is the number of the likeliest restricted answers that an evaluation keeps.
	Places int
	// Score compares an answer with the true lines; known are all allowed lines.
	Score func(answer string, truth []string, known evaluate.Titles) evaluate.Hits
	// Summarise summarises the answers of an evaluation.
	Summarise func(*evaluate.Answers) Summary
	// Named reports which of the true lines an answer names.
	Named func(answer string, truth []string) []bool
	// Parts splits the log-probabilities of an answer by the lines of its tokens.
	Parts func(evaluate.Record) []Part
	// Kind is Right, Near or Wrong, of the answer to a sample.
	Kind func(free evaluate.Record, restricted *evaluate.Record) string
	// Section collects the data for a report, and Page is the template that shows them.
	Section func(file string, b *Breakdown) any
	Page    string
}

// Subject is the subject of a question: a user and a history.
type Subject struct {
	*Facts
	User      int32   // of the history; -1 if unknown
	History   []int32 // dense item ids, oldest first
	Positions int     // of the recommender's memory
}

// Question is a question about one history.
type Question struct {
	History []int32  // dense item ids, oldest first
	Items   []int32  // the items that the answer names, if any
	Answer  []string // the lines of the true answer; none if it is unknown
}

// Question makes a question of a sequence, for a recommender with that number of positions. Tasks
// that ask about the last item ask about the one that came next.
func (t Task) Question(f *Facts, s dataset.Sequence, positions int) Question {
	history := s.History
	if t.Last {
		history = slices.Concat(history, []int32{s.Next})
	}
	user := s.User
	if f.Data.Kind() == dataset.Given {
		user = -1
	}
	return t.Ask(Subject{Facts: f, User: user, History: history, Positions: positions})
}

// SampleID names the sample of a test sequence, which it numbers from 0.
func SampleID(test int) string { return testPrefix + strconv.Itoa(test) }

// TestSequence finds the test sequence of a sample.
func TestSequence(split dataset.Split, sample string) (dataset.Sequence, error) {
	at, err := strconv.Atoi(strings.TrimPrefix(sample, testPrefix))
	if err != nil || at < 0 || at >= len(split.Test) {
		return dataset.Sequence{}, fmt.Errorf("there is no test sequence %q; has the data set changed?", sample)
	}
	return split.Test[at], nil
}

const testPrefix = "test-"

// Text is the true answer as the adapter learns it.
func (q Question) Text() string { return strings.Join(q.Answer, "\n") }

// Summary is the result of an evaluation.
type Summary interface {
	About() Basis
	What() string            // the figure, in words
	Figures() []Figure       // the main shares of each condition
	Write(w io.Writer) error // the figures as a table for a terminal
}

// Figure is a share of an evaluation's samples.
type Figure struct {
	Condition string // e.g. evaluate.TrueState
	Paper     bool   // counted by the paper's scorer; by the exact one otherwise
	Share     evaluate.Share
	Note      string // what readers of the share must know
}

// Basis describes the samples of a summary.
type Basis struct {
	Label string `json:"label"`
	N     int    `json:"n"`               // samples asked about
	Shard string `json:"shard,omitempty"` // the part of the evaluation, e.g. 2/4
	Seed  uint64 `json:"seed"`
}

// About returns the basis.
func (b Basis) About() Basis { return b }

// basis describes the samples of answers.
func basis(a *evaluate.Answers) Basis {
	return Basis{Label: a.Header.Label, N: a.N(), Shard: a.Header.Shard, Seed: a.Header.Seed}
}

// All are all tasks.
func All() []Task {
	return slices.Concat([]Task{residual(), recovery(), item()}, attributes(), persons(), []Task{profile()}, comparisons())
}

// Evaluations are the tasks whose evaluations have a name.
func Evaluations() (tasks []Task) {
	for _, task := range All() {
		if !slices.ContainsFunc(tasks, func(t Task) bool { return t.Name == task.Name }) {
			tasks = append(tasks, task)
		}
	}
	return tasks
}

// Default is the default prompt of commands.
func Default() prompt.Template { return All()[0].Prompts[0] }

// Of returns the task of a prompt, or an error for an invalid prompt.
func Of(t prompt.Template) (Task, error) {
	if err := t.Validate(); err != nil {
		return Task{}, err
	}
	slots, err := t.Slots()
	if err != nil {
		return Task{}, err
	}
	if task, ok := column(string(t.Asks)); ok {
		return task, nil
	}
	vector := slices.Contains(slots, prompt.SlotItem)
	var asks []string
	for _, task := range All() {
		if task.Asks == t.Asks && task.Vector == vector {
			return task, nil
		}
		if text := fmt.Sprintf("%q", task.Asks); !slices.Contains(asks, text) {
			asks = append(asks, text)
		}
	}
	if vector {
		return Task{}, fmt.Errorf("task: prompt %q shows {%s}, which says nothing of other items, and asks for %q", t.Name, prompt.SlotItem,
			t.Asks)
	}
	return Task{}, fmt.Errorf("task: prompt %q asks for %q; it can ask for %s", t.Name, t.Asks, strings.Join(asks, " or "))
}

// Named returns the task whose evaluations have the name.
func Named(name string) (Task, error) {
	for _, task := range All() {
		if task.Name == name {
			return task, nil
		}
	}
	return Task{}, fmt.Errorf("task: no evaluation is called %q", name)
}

// Prompts are the names of all named prompts.
func Prompts() (names []string) {
	for _, task := range All() {
		for _, t := range task.Prompts {
			names = append(names, t.Name)
		}
	}
	return names
}

// Prompt returns the prompt with a name, or reads one from a JSON file.
func Prompt(name string) (prompt.Template, error) {
	if strings.HasSuffix(name, ".json") {
		t, err := prompt.ReadTemplate(name)
		if err != nil {
			return t, err
		}
		if _, err = Of(t); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return t, err
	}
	for _, task := range All() {
		for _, t := range task.Prompts {
			if t.Name == name {
				return t, nil
			}
		}
	}
	if task, ok := column(name); ok {
		return task.Prompts[0], nil
	}
	return prompt.Template{}, fmt.Errorf("task: no prompt is called %q; known are %s, %sCOLUMN, %sCOLUMN, or give a JSON file", name,
		strings.Join(Prompts(), ", "), itemColumn, userColumn)
}

// Compile makes prompts of a template (see prompt.Compile), with the answers to its examples. They
// are omitted where no tokens could show what soft tokens show: one state that stands for several
// titles, or states of all items where the answer is about a person.
func Compile(v prompt.Vocabulary, t prompt.Template, shown prompt.Shown) ([]*prompt.Prompt, error) {
	task, err := Of(t)
	if err != nil {
		return nil, err
	}
	shown.Answer = func(titles []string) string { return titles[len(titles)-1] }
	if !task.Legible {
		shown.Answer = func(titles []string) string { return strings.Join(titles, "\n") }
	}
	if !task.Last && task.Legible == shown.AllItems {
		t.Examples = nil
	}
	return prompt.Compile(v, t, shown)
}

// titles gives the titles of items.
func titles(d *dataset.Dataset, items []int32) []string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = d.Items[item].Title
	}
	return texts
}

// catalogue gives the titles of all items.
func catalogue(d *dataset.Dataset) []string {
	texts := make([]string, len(d.Items))
	for i, item := range d.Items {
		texts[i] = item.Title
	}
	return texts
}
