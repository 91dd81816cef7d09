package judge

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// transcriptHeader is the first line of a file of transcripts.
type transcriptHeader struct {
	Judge     string `json:"judge"`
	Against   string `json:"against"`
	Label     string `json:"label"`
	N         int    `json:"n"`         // cases
	Questions int    `json:"questions"` // two for each case with two different titles
}

// exchange is each further line: one question with its reply. They are in the order of the replies.
type exchange struct {
	Case     string `json:"case"`
	Order    string `json:"order"`
	Question string `json:"question"`
	Reply    string `json:"reply"`
	Verdict  int    `json:"verdict"` // 1 or 2, or 0 if the reply says neither
	Tokens   int    `json:"tokens"`
}

// transcript holds the exchanges so far; it is safe for concurrent use.
type transcript struct {
	*artifact.Journal[transcriptHeader, exchange]
	mu    sync.Mutex
	said  map[[2]string]exchange // by case and order
	spent int
	fresh int // exchanges of this call
}

// openTranscript continues the exchanges in a file, and refuses those of other questions.
func openTranscript(path string, h transcriptHeader, cases []Case) (*transcript, error) {
	questions := map[[2]string]string{}
	for _, c := range cases {
		for _, order := range []string{OracleFirst, ItemFirst} {
			questions[[2]string{c.ID, order}] = c.Question(order)
		}
	}
	j, err := artifact.OpenJournal(path, h, func(exchanges []exchange) (int, error) {
		for i, e := range exchanges {
			if questions[[2]string{e.Case, e.Order}] != e.Question {
				return 0, fmt.Errorf("line %d: it is no reply to a question of this comparison", i+2)
			}
		}
		return len(exchanges), nil
	})
	if err != nil {
		return nil, fmt.Errorf("judge: the transcripts: %w", err)
	}
	return newTranscript(j), nil
}

func newTranscript(j *artifact.Journal[transcriptHeader, exchange]) *transcript {
	t := &transcript{Journal: j, said: map[[2]string]exchange{}}
	for _, e := range j.Records {
		t.keep(e)
	}
	return t
}

func (t *transcript) keep(e exchange) {
	t.said[[2]string{e.Case, e.Order}] = e
	t.spent += e.Tokens
}

// add syncs an exchange to disk: it may have been paid for.
func (t *transcript) add(e exchange) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.Append(e); err != nil {
		return fmt.Errorf("the transcripts: %w", err)
	}
	t.keep(e)
	t.fresh++
	return nil
}

func (t *transcript) has(id, order string) bool {
	_, ok := t.said[[2]string{id, order}]
	return ok
}

func (t *transcript) tokens() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spent
}

func (t *transcript) answered() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fresh
}

// Read gives the result of a finished comparison from its file.
func Read(path string) (*Result, error) {
	j, err := artifact.ReadJournal[transcriptHeader, exchange](path)
	if err != nil {
		return nil, fmt.Errorf("judge: no transcripts: %w", err)
	}
	t := newTranscript(j)
	if len(t.said) != j.Header.Questions || j.Header.N < 1 {
		return nil, fmt.Errorf("judge: %s holds %d of %d replies; %w", path, len(t.said), j.Header.Questions,
			artifact.ErrResumable)
	}
	return t.count(), nil
}

// count sums up the verdicts.
func (t *transcript) count() *Result {
	r := &Result{Judge: t.Header.Judge, Against: t.Header.Against, Label: t.Header.Label, N: t.Header.N, Tokens: t.spent,
		Same: t.Header.N - t.Header.Questions/2}
	ids := map[string]bool{}
	for key := range t.said {
		ids[key[0]] = true
	}
	cases := slices.Sorted(maps.Keys(ids))
	perCase := make([][2]int, 0, len(cases)) // verdicts, and those for the oracle
	var wins, losses, verdicts, oracle, first, both, consistent int
	for _, id := range cases {
		var preferred [2]int // 1: the oracle, 2: the item, 0: unclear
		var heard [2]int     // verdicts, and those for the oracle
		for i, order := range []string{OracleFirst, ItemFirst} {
			v := t.said[[2]string{id, order}].Verdict
			if v == 0 {
				r.Unclear++
				continue
			}
			heard[0]++
			if v == 1 {
				first++
			}
			preferred[i] = v
			if order == ItemFirst {
				preferred[i] = 3 - v
			}
			if preferred[i] == 1 {
				heard[1]++
			}
		}
		perCase = append(perCase, heard)
		verdicts, oracle = verdicts+heard[0], oracle+heard[1]
		if preferred[0] == 0 || preferred[1] == 0 {
			continue
		}
		both++
		if preferred[0] != preferred[1] {
			continue
		}
		consistent++
		if preferred[0] == 1 {
			wins++
		} else {
			losses++
		}
	}
	r.Win, r.Loss = evaluate.NewShare(wins, r.N), evaluate.NewShare(losses, r.N)
	r.Tie = evaluate.NewShare(r.N-wins-losses, r.N)
	r.Preferred, r.First = evaluate.NewShare(oracle, verdicts), evaluate.NewShare(first, verdicts)
	if low, high := bootstrap(perCase); low < high { // else all cases are alike, which says nothing about others
		r.Preferred.Low, r.Preferred.High = low, high
	}
	r.Consistent = evaluate.NewShare(consistent, both)
	return r
}

// bootstrap is the 95 % interval of the share of verdicts for the oracle. The two verdicts on a
// case are not independent, so it draws cases.
func bootstrap(cases [][2]int) (low, high float64) {
	if len(cases) == 0 {
		return 0, 1
	}
	const times = 2000
	random := rand.New(rand.NewPCG(1, 1))
	shares := make([]float64, 0, times)
	for range times {
		verdicts, oracle := 0, 0
		for range cases {
			c := cases[random.IntN(len(cases))]
			verdicts, oracle = verdicts+c[0], oracle+c[1]
		}
		if verdicts > 0 {
			shares = append(shares, float64(oracle)/float64(verdicts))
		}
	}
	if len(shares) == 0 {
		return 0, 1
	}
	slices.Sort(shares)
	return shares[len(shares)*25/1000], shares[(len(shares)*975-1)/1000]
}
