package judge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
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
	Questions int    `json:"questions"` // two of each case, but for those in which both are the same
}

// exchange is each further line: one question with its reply. They stand in the order in which replies came.
type exchange struct {
	Case     string `json:"case"`
	Order    string `json:"order"`
	Question string `json:"question"`
	Reply    string `json:"reply"`
	Verdict  int    `json:"verdict"` // 1 or 2, or 0 if the reply says neither
	Tokens   int    `json:"tokens"`
}

// transcript is what has been said so far; it is safe for concurrent use.
type transcript struct {
	header transcriptHeader
	file   *os.File // nil: in memory alone
	lock   *artifact.Lock
	mu     sync.Mutex
	length int64                  // of what is whole in the file
	broken error                  // why nothing can be written any more
	said   map[[2]string]exchange // by case and order
	spent  int
	fresh  int // exchanges of this sitting
}

// openTranscript takes up what earlier sittings left in a file, but for a last line that was cut, and refuses what belongs to
// other questions.
func openTranscript(path string, h transcriptHeader, cases []Case) (*transcript, error) {
	t := &transcript{header: h, said: map[[2]string]exchange{}}
	if path == "" {
		return t, nil
	}
	var err error
	if t.lock, err = artifact.Claim(path); err != nil {
		return nil, err
	}
	if err := t.open(path, cases); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *transcript) open(path string, cases []Case) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("judge: %w", err)
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	if own, err := json.Marshal(t.header); err != nil || whole == 0 && !bytes.HasPrefix(own, data) {
		return fmt.Errorf("judge: %s holds no transcripts; choose another file", path)
	}
	if err := t.read(path, data[:whole], cases); err != nil {
		return err
	}
	if t.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		return fmt.Errorf("judge: the transcripts cannot be written: %w", err)
	}
	if err = t.file.Truncate(int64(whole)); err == nil {
		_, err = t.file.Seek(int64(whole), 0)
	}
	t.length = int64(whole)
	if err == nil && whole == 0 {
		err = t.write(t.header)
	}
	return err
}

func (t *transcript) read(path string, data []byte, cases []Case) error {
	if len(data) == 0 {
		return nil
	}
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	var h transcriptHeader
	if json.Unmarshal(first, &h) != nil || h != t.header {
		return fmt.Errorf("judge: %s holds the transcripts of another comparison; remove it to start again", path)
	}
	questions := map[[2]string]string{}
	for _, c := range cases {
		for _, order := range []string{OracleFirst, ItemFirst} {
			questions[[2]string{c.ID, order}] = c.Question(order)
		}
	}
	n := 1
	for line := range bytes.Lines(rest) {
		n++
		var e exchange
		err := json.Unmarshal(line, &e)
		if key := [2]string{e.Case, e.Order}; err != nil || questions[key] != e.Question {
			return fmt.Errorf("judge: %s, line %d: no reply to a question of this comparison; remove the file to start again", path, n)
		}
		t.keep(e)
	}
	return nil
}

func (t *transcript) keep(e exchange) {
	t.said[[2]string{e.Case, e.Order}] = e
	t.spent += e.Tokens
}

// add writes an exchange through to the disk: it may have been paid for.
func (t *transcript) add(e exchange) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.write(e); err != nil {
		return err
	}
	t.keep(e)
	t.fresh++
	return nil
}

func (t *transcript) write(line any) error {
	if t.file == nil {
		return nil
	}
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if t.broken != nil {
		return t.broken
	}
	n, err := t.file.Write(append(text, '\n'))
	if err == nil {
		err = t.file.Sync()
	}
	if err == nil {
		t.length += int64(n)
		return nil
	}
	// Nothing is written behind a line that is cut.
	t.broken = fmt.Errorf("the transcripts cannot be written: %w", err)
	return errors.Join(t.broken, t.file.Truncate(t.length))
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

func (t *transcript) close() error {
	var err error
	if t.file != nil {
		err = t.file.Close()
	}
	if t.lock != nil {
		err = errors.Join(err, t.lock.Release())
	}
	return err
}

// Read gives the result of a finished comparison from its file.
func Read(path string) (*Result, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	t := &transcript{said: map[[2]string]exchange{}}
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	if err := json.Unmarshal(first, &t.header); err != nil || t.header.N < 1 {
		return nil, fmt.Errorf("judge: %s holds no transcripts", path)
	}
	for line := range bytes.Lines(rest) {
		var e exchange
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("judge: %s: a line is cut; the same command goes on with it", path)
		}
		t.keep(e)
	}
	if len(t.said) != t.header.Questions {
		return nil, fmt.Errorf("judge: %s holds %d of %d replies; the same command goes on with it", path, len(t.said), t.header.Questions)
	}
	return t.count(), nil
}

// count sums up the verdicts.
func (t *transcript) count() *Result {
	r := &Result{Judge: t.header.Judge, Against: t.header.Against, Label: t.header.Label, N: t.header.N, Tokens: t.spent,
		Same: t.header.N - t.header.Questions/2}
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
	if low, high := bootstrap(perCase); low < high { // else all cases are alike, which says nothing of others
		r.Preferred.Low, r.Preferred.High = low, high
	}
	r.Consistent = evaluate.NewShare(consistent, both)
	return r
}

// bootstrap is the 95 % interval of the share of verdicts for the oracle. The two verdicts on a case are not independent, so cases
// are what is drawn again.
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
