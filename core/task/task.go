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

// Task is a kind of question. A run's task is the one that its prompt asks.
type Task struct {
	Name   string       // of its evaluation: a command, and the beginning of file names
	Asks   prompt.Asked // the value of "asks" in its prompts
	Vector bool         // its prompts show an item's vector, {item}, and no states
	Own    bool         // its evaluation has a command of its own, recint evaluate NAME, beside --task
	Last   bool         // it asks about the last item alone, so that another item or a vector can stand there

	Closed bool // answers come from a closed set, which a grammar enforces in use

	Title bool // the answer is the title of the last item, as of a vector in its place

	Prompts []prompt.Template // with names; the first is the default
	Usage   string            // what is asked, for the help of commands
	Right   string            // when the exact scorer says that an answer is right, for the same

	// Ask makes a question of what is known of somebody.
	Ask func(Subject) Question
	// Allowed gives the lines that a restricted answer may consist of, and how many lines it has at
	// most.
	Allowed func(f *Facts, positions int) (lines []string, most int)
	// Places is how many of the likeliest restricted answers an evaluation keeps.
	Places int
	// Score compares an answer with the true lines; known are all lines that are allowed.
	Score func(answer string, truth []string, known evaluate.Titles) evaluate.Hits
	// Summarise counts what an evaluation was answered.
	Summarise func(*evaluate.Answers) Summary
	// Named says which of the true lines an answer names.
	Named func(answer string, truth []string) []bool
	// Parts splits the log-probabilities of an answer by the lines that its tokens stand in.
	Parts func(evaluate.Record) []Part
	// Kind is Right, Near or Wrong, of the answer to a sample.
	Kind func(free evaluate.Record, restricted *evaluate.Record) string
	// Section gathers what a report shows, and Page is the template that shows it.
	Section func(file string, b *Breakdown) any
	Page    string
}

// Subject is what a question is about: a history, and what is known.
type Subject struct {
	*Facts
	User      int32   // whose history it is; -1 where nobody knows
	History   []int32 // dense item ids, oldest first
	Positions int     // of the recommender's memory
}

// Question is what is asked about one history.
type Question struct {
	History []int32  // dense item ids, oldest first
	Items   []int32  // the items that the answer names, where it names some
	Answer  []string // the lines of the true answer; none where it is not known
}

// Question makes a question of a sequence, for a recommender whose memory is that many positions.
// Tasks that ask about the last item ask about the one that came next.
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
		return dataset.Sequence{}, fmt.Errorf("there is no test sequence %q; is the data set another one by now?", sample)
	}
	return split.Test[at], nil
}

const testPrefix = "test-"

// Text is the true answer as it is trained.
func (q Question) Text() string { return strings.Join(q.Answer, "\n") }

// Summary is what an evaluation found.
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
	Note      string // what the reader of the share must know
}

// Basis says what a summary is about.
type Basis struct {
	Label string `json:"label"`
	N     int    `json:"n"`               // samples asked about
	Shard string `json:"shard,omitempty"` // the part of the evaluation that they are, e.g. 2/4
	Seed  uint64 `json:"seed"`
}

// About is the basis itself.
func (b Basis) About() Basis { return b }

// basis is what the summary of answers is about.
func basis(a *evaluate.Answers) Basis {
	return Basis{Label: a.Header.Label, N: a.N(), Shard: a.Header.Shard, Seed: a.Header.Seed}
}

// All are the tasks that there are.
func All() []Task {
	return slices.Concat([]Task{residual(), recovery(), item()}, attributes(), persons(), []Task{profile()}, comparisons())
}

// Evaluations are the tasks whose evaluations have names of their own.
func Evaluations() (tasks []Task) {
	for _, task := range All() {
		if !slices.ContainsFunc(tasks, func(t Task) bool { return t.Name == task.Name }) {
			tasks = append(tasks, task)
		}
	}
	return tasks
}

// Default is the prompt that commands take where none is named.
func Default() prompt.Template { return All()[0].Prompts[0] }

// Of gives the task of a prompt, or what is wrong with the prompt.
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

// Named gives the task whose evaluations have a name.
func Named(name string) (Task, error) {
	for _, task := range All() {
		if task.Name == name {
			return task, nil
		}
	}
	return Task{}, fmt.Errorf("task: no evaluation is called %q", name)
}

// Prompts are the names of all prompts that have one.
func Prompts() (names []string) {
	for _, task := range All() {
		for _, t := range task.Prompts {
			names = append(names, t.Name)
		}
	}
	return names
}

// Prompt gives a prompt by its name, or reads it from a JSON file.
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

// Compile makes prompts of a template (see prompt.Compile), with the answers to its examples. Where
// one state stands for all that is asked for, no title's tokens are an example of it: examples are
// left out there.
func Compile(v prompt.Vocabulary, t prompt.Template, shown prompt.Shown) ([]*prompt.Prompt, error) {
	task, err := Of(t)
	if err != nil {
		return nil, err
	}
	shown.Answer = func(titles []string) string { return strings.Join(titles, "\n") }
	if task.Last {
		shown.Answer = func(titles []string) string { return titles[len(titles)-1] }
	} else if !shown.AllItems {
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
