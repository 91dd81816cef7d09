package report

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// Group is a part of what was asked, with the share whose title is named exactly.
type Group struct {
	Name       string          `json:"name"`
	Free       evaluate.Share  `json:"free"`
	Restricted *evaluate.Share `json:"restricted,omitempty"`
}

// Item is what became of an item that was asked for.
type Item struct {
	ID         string `json:"id"` // in the data set
	Title      string `json:"title"`
	Trained    int    `json:"trained"` // how often it came next in training
	Asked      int    `json:"asked"`
	Free       int    `json:"free"`       // how often it was named, by free answers
	Restricted *int   `json:"restricted"` // and by restricted ones
}

// questions are all items that an evaluation asks for.
type questions struct {
	all        []question
	restricted bool // it has restricted answers
}

// question is one of them, in one sample.
type question struct {
	item             int32
	history          int // items in the sample's history
	place            int // of a recovered item in the history, counted from its end; 1 is the last
	free, restricted bool
}

// questionsOf finds the items that samples are about in the test sequences.
func questionsOf(answers *evaluate.Answers, split dataset.Split) (*questions, error) {
	recovery, restricted := answers.Header.Evaluation == evaluate.RecoveryTask, answers.Of(evaluate.RestrictedState)
	named := func(r evaluate.Record) []bool {
		if recovery {
			return evaluate.Named(r.Answer, r.Titles)
		}
		return []bool{r.Exact > 0}
	}
	q := &questions{restricted: restricted != nil}
	for i, record := range answers.Of(evaluate.TrueState) {
		at, err := strconv.Atoi(strings.TrimPrefix(record.Sample, "test-"))
		if err != nil || at < 0 || at >= len(split.Test) {
			return nil, fmt.Errorf("there is no test sequence %q; is the data set another one by now?", record.Sample)
		}
		s := split.Test[at]
		items := []int32{s.Next}
		if recovery {
			items = s.History[max(0, len(s.History)-len(record.Titles)):]
		}
		if len(items) != len(record.Titles) {
			return nil, fmt.Errorf("sample %s has %d titles, its test sequence %d; is the data set another one by now?", record.Sample,
				len(record.Titles), len(items))
		}
		free, other := named(record), make([]bool, len(items))
		if q.restricted {
			other = named(restricted[i])
		}
		for k, item := range items {
			q.all = append(q.all, question{item, len(s.History), len(items) - k, free[k], other[k]})
		}
	}
	return q, nil
}

// countTrained says how often each item came next in training.
func countTrained(split dataset.Split) map[int32]int {
	often := map[int32]int{}
	for _, s := range split.Train {
		often[s.Next]++
	}
	return often
}

// byPopularity parts questions in about quarters by how often their item came next in training. Items that came next equally
// often are in the same part.
func (q *questions) byPopularity(trained map[int32]int) []Group {
	var counts, most []int // most: the highest count of each part
	for _, one := range q.all {
		counts = append(counts, trained[one.item])
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
	return q.groups(func(one question) int { return part(trained[one.item]) }, func(number int) string {
		least, _ := slices.BinarySearchFunc(counts, number, func(count, number int) int { return part(count) - number })
		if counts[least] == most[number] {
			return fmt.Sprintf("%d times", most[number])
		}
		return fmt.Sprintf("%d to %d times", counts[least], most[number])
	})
}

func (q *questions) byHistory() []Group {
	return q.groups(func(one question) int { return one.history }, func(n int) string { return fmt.Sprintf("%d items", n) })
}

func (q *questions) byPlace() []Group {
	return q.groups(func(one question) int { return one.place }, func(n int) string {
		if n == 1 {
			return "the last item"
		}
		return fmt.Sprintf("%d before it", n-1)
	})
}

// groups parts questions by a number.
func (q *questions) groups(number func(question) int, name func(int) string) (groups []Group) {
	parts := map[int][]question{}
	for _, one := range q.all {
		parts[number(one)] = append(parts[number(one)], one)
	}
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		free, restricted := hits(parts[key])
		g := Group{Name: name(key), Free: evaluate.NewShare(free, len(parts[key]))}
		if q.restricted {
			share := evaluate.NewShare(restricted, len(parts[key]))
			g.Restricted = &share
		}
		groups = append(groups, g)
	}
	return groups
}

func (q *questions) byItem(data *dataset.Dataset, trained map[int32]int) (items []Item) {
	parts := map[int32][]question{}
	for _, one := range q.all {
		parts[one.item] = append(parts[one.item], one)
	}
	for _, number := range slices.Sorted(maps.Keys(parts)) {
		free, restricted := hits(parts[number])
		item := Item{ID: data.Items[number].ID, Title: data.Items[number].Title, Trained: trained[number], Asked: len(parts[number]), Free: free}
		if q.restricted {
			item.Restricted = &restricted
		}
		items = append(items, item)
	}
	return items
}

func hits(questions []question) (free, restricted int) {
	for _, one := range questions {
		if one.free {
			free++
		}
		if one.restricted {
			restricted++
		}
	}
	return free, restricted
}

// Curve is how sure the LLM is of the tokens of a title, under one condition.
type Curve struct {
	Condition string  `json:"condition"`
	Places    []Place `json:"places"`
}

// Place is a token's in the title that it belongs to.
type Place struct {
	Number int  `json:"place"` // from 1; behind the title comes what ends it, a line break or the end of the answer
	Right  Mean `json:"right"` // of titles that are right
	Wrong  Mean `json:"wrong"`
}

// Mean is that of log-probabilities.
type Mean struct {
	N       int     `json:"n"`
	LogProb float64 `json:"log_prob"` // nats
}

func (m *Mean) add(x float64) {
	m.N++
	m.LogProb += (x - m.LogProb) / float64(m.N)
}

// curves takes the conditions of which tokens are kept.
func curves(answers *evaluate.Answers) []Curve {
	all := []Curve{}
	for _, condition := range answers.Header.Conditions {
		var places []Place
		for _, record := range answers.Of(condition) {
			for _, title := range titlesOf(record, answers.Header.Evaluation) {
				for i, x := range title.logProbs {
					if i == len(places) {
						places = append(places, Place{Number: i + 1})
					}
					if title.right {
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

// title is what an answer says in one place of a list.
type title struct {
	logProbs []float64
	right    bool
}

// titlesOf parts an answer's log-probabilities by the lines that its tokens stand in; the answer of a residual evaluation is one.
func titlesOf(record evaluate.Record, evaluation string) (titles []title) {
	if evaluation != evaluate.RecoveryTask {
		return []title{{record.LogProbs, record.Exact > 0}}
	}
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
		if strings.TrimSpace(line) != "" && len(titles) < len(lines) {
			titles = append(titles, title{record.LogProbs[first : i+1], lines[len(titles)].Right})
		}
		text, first = rest, i+1
	}
	return titles
}
