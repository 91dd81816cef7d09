package task

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// Group is a part of the questions, with the share whose title is named exactly.
type Group struct {
	Name       string          `json:"name"`
	Free       evaluate.Share  `json:"free"`
	Restricted *evaluate.Share `json:"restricted,omitempty"`
}

// Item is an item that was asked for, and how often answers named it.
type Item struct {
	ID         string `json:"id"` // in the data set
	Title      string `json:"title"`
	Trained    int    `json:"trained"` // how often it came next in training
	Asked      int    `json:"asked"`
	Free       int    `json:"free"`       // how often it was named, by free answers
	Restricted *int   `json:"restricted"` // and by restricted ones
}

// Breakdown holds the questions of an evaluation, for the parts that reports show.
type Breakdown struct {
	task    Task
	answers *evaluate.Answers
	data    *dataset.Dataset
	trained []int // how often each item came next in training
	all     []asked
}

// asked is an item that an evaluation asks for, in one sample.
type asked struct {
	item             int32
	history          int // items in the sample's history
	place            int // of a recovered item in the history, counted from its end; 1 is the last
	free, restricted bool
}

// NewBreakdown finds the items of samples in the test sequences.
func NewBreakdown(task Task, answers *evaluate.Answers, data *dataset.Dataset, split dataset.Split) (*Breakdown, error) {
	facts, restricted := NewFacts(data, split), answers.Of(evaluate.RestrictedState)
	b := &Breakdown{task: task, answers: answers, data: data, trained: facts.Trained}
	for i, record := range answers.Of(evaluate.TrueState) {
		s, err := TestSequence(split, record.Sample)
		if err != nil {
			return nil, err
		}
		items := task.Question(facts, s, len(record.Titles)).Items
		if items == nil { // the task does not ask for items
			continue
		}
		if len(items) != len(record.Titles) {
			return nil, fmt.Errorf("sample %s has %d titles, its test sequence %d; has the data set changed?", record.Sample,
				len(record.Titles), len(items))
		}
		free, other := task.Named(record.Answer, record.Titles), make([]bool, len(items))
		if restricted != nil {
			other = task.Named(restricted[i].Answer, record.Titles)
		}
		for k, item := range items {
			b.all = append(b.all, asked{item, len(s.History), len(items) - k, free[k], other[k]})
		}
	}
	return b, nil
}

// restricted reports whether there are restricted answers.
func (b *Breakdown) restricted() bool { return b.answers.Of(evaluate.RestrictedState) != nil }

// ByPopularity divides questions into about quarters by how often their item came next in training.
// Items that came next equally often are in the same part.
func (b *Breakdown) ByPopularity() []Group {
	var counts, most []int // most: the highest count of each part
	for _, one := range b.all {
		counts = append(counts, b.trained[one.item])
	}
	slices.Sort(counts)
	for quarter := 1; quarter <= 4; quarter++ {
		most = append(most, counts[max(1, len(counts)*quarter/4)-1])
	}
	most = slices.Compact(most)
	part := func(count int) int {
		at, _ := slices.BinarySearch(most, count)
		return at
	}
	return b.groups(func(one asked) int { return part(b.trained[one.item]) }, func(number int) string {
		least, _ := slices.BinarySearchFunc(counts, number, func(count, number int) int { return part(count) - number })
		if counts[least] == most[number] {
			return fmt.Sprintf("%d times", most[number])
		}
		return fmt.Sprintf("%d to %d times", counts[least], most[number])
	})
}

// ByHistory divides questions by the length of the history.
func (b *Breakdown) ByHistory() []Group {
	return b.groups(func(one asked) int { return one.history }, func(n int) string { return fmt.Sprintf("%d items", n) })
}

// ByPlace divides questions by the place of their item in the history.
func (b *Breakdown) ByPlace() []Group {
	return b.groups(func(one asked) int { return one.place }, func(n int) string {
		if n == 1 {
			return "the last item"
		}
		return fmt.Sprintf("%d before it", n-1)
	})
}

// groups divides questions by a number.
func (b *Breakdown) groups(number func(asked) int, name func(int) string) (groups []Group) {
	parts := map[int][]asked{}
	for _, one := range b.all {
		parts[number(one)] = append(parts[number(one)], one)
	}
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		free, restricted := hits(parts[key])
		g := Group{Name: name(key), Free: evaluate.NewShare(free, len(parts[key]))}
		if b.restricted() {
			share := evaluate.NewShare(restricted, len(parts[key]))
			g.Restricted = &share
		}
		groups = append(groups, g)
	}
	return groups
}

func (b *Breakdown) byItem() (items []Item) {
	parts := map[int32][]asked{}
	for _, one := range b.all {
		parts[one.item] = append(parts[one.item], one)
	}
	for _, number := range slices.Sorted(maps.Keys(parts)) {
		free, restricted := hits(parts[number])
		item := Item{ID: b.data.Items[number].ID, Title: b.data.Items[number].Title, Trained: b.trained[number], Asked: len(parts[number]), Free: free}
		if b.restricted() {
			item.Restricted = &restricted
		}
		items = append(items, item)
	}
	return items
}

func hits(questions []asked) (free, restricted int) {
	for _, one := range questions {
		free += count(one.free)
		restricted += count(one.restricted)
	}
	return free, restricted
}

// Curve is the LLM's mean log-probability of the tokens of a title, by place, under one condition.
type Curve struct {
	Condition string  `json:"condition"`
	Places    []Place `json:"places"`
}

// Place is the place of a token in its title.
type Place struct {
	Number int  `json:"place"` // from 1; after the title comes its end, a line break or the end of the answer
	Right  Mean `json:"right"` // of right titles
	Wrong  Mean `json:"wrong"`
}

// Mean is a mean of log-probabilities.
type Mean struct {
	N       int     `json:"n"`
	LogProb float64 `json:"log_prob"` // nats
}

func (m *Mean) add(x float64) {
	m.N++
	m.LogProb += (x - m.LogProb) / float64(m.N)
}

// curves uses the conditions with kept tokens.
func (b *Breakdown) curves() []Curve {
	all := []Curve{}
	for _, condition := range b.answers.Header.Conditions {
		var places []Place
		for _, record := range b.answers.Of(condition) {
			for _, part := range b.task.Parts(record) {
				for i, x := range part.logProbs {
					if i == len(places) {
						places = append(places, Place{Number: i + 1})
					}
					if part.right {
						places[i].Right.add(x)
					} else {
						places[i].Wrong.add(x)
					}
				}
			}
		}
		if places != nil {
			all = append(all, Curve{condition, places})
		}
	}
	return all
}

// Part is a line of an answer: the log-probabilities of its tokens, and whether it is right.
type Part struct {
	logProbs []float64
	right    bool
}

// byLine splits an answer's log-probabilities by the lines of its tokens.
func byLine(record evaluate.Record) (parts []Part) {
	lines := evaluate.Lines(record.Answer, record.Titles)
	text, first := "", 0
	for i := range record.LogProbs {
		ends := i == len(record.LogProbs)-1
		if i < len(record.Tokens) {
			text += record.Tokens[i]
		}
		line, rest, broken := text, "", false
		if at := strings.LastIndexByte(text, '\n'); at >= 0 {
			line, rest, broken = text[:at], text[at+1:], true
		}
		if !broken && !ends {
			continue
		}
		if strings.TrimSpace(line) != "" && len(parts) < len(lines) {
			parts = append(parts, Part{record.LogProbs[first : i+1], lines[len(parts)].Right})
		}
		text, first = rest, i+1
	}
	return parts
}

// Details are common to the sections of all tasks.
type Details struct {
	ByItem  []Item   `json:"by_item"`  // every item that is asked for, by its number in the data set
	ByToken []Curve  `json:"by_token"` // of each condition with kept tokens
	Answers []Answer `json:"answers"`
}

// Details collects the common parts of a section.
func (b *Breakdown) Details() Details {
	return Details{ByItem: b.byItem(), ByToken: b.curves(), Answers: b.said()}
}

// Answer holds the answers to one sample.
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
	Near  = "near miss" // the title is among the likeliest, or named except for a few letters; in recovery, more than half are named
	Wrong = "wrong"
)

// said collects the answers to all samples.
func (b *Breakdown) said() (all []Answer) {
	others := b.answers.Of(evaluate.RestrictedState)
	for i, record := range b.answers.Of(evaluate.TrueState) {
		a := Answer{Sample: record.Sample, Titles: record.Titles, Free: saidIn(record)}
		var restricted *evaluate.Record
		if others != nil {
			restricted = &others[i]
			said := saidIn(*restricted)
			a.Restricted = &said
		}
		a.Kind = b.task.Kind(record, restricted)
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

func count(hit bool) int {
	if hit {
		return 1
	}
	return 0
}
