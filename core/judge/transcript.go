package judge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// transcriptHeader is the first line of a file of transcripts.
type transcriptHeader struct {
	Judge string `json:"judge"`
	Label string `json:"label"`
	N     int    `json:"n"`
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
	mu     sync.Mutex
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
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("judge: %w", err)
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	if err := t.read(path, data[:whole], cases); err != nil {
		return nil, err
	}
	if t.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		return nil, fmt.Errorf("judge: the transcripts cannot be written: %w", err)
	}
	if err = t.file.Truncate(int64(whole)); err == nil {
		_, err = t.file.Seek(int64(whole), 0)
	}
	if err == nil && whole == 0 {
		err = t.write(h)
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
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
	if _, err := t.file.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("the transcripts cannot be written: %w", err)
	}
	return t.file.Sync()
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
	if t.file == nil {
		return nil
	}
	return t.file.Close()
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
	asked := map[string]bool{}
	for line := range bytes.Lines(rest) {
		var e exchange
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("judge: %s: a line is cut; the same command goes on with it", path)
		}
		t.keep(e)
		asked[e.Case] = true
	}
	if len(t.said) != 2*len(asked) {
		return nil, fmt.Errorf("judge: %s: %d of %d replies; the same command goes on with it", path, len(t.said), 2*len(asked))
	}
	return t.count(), nil
}

// count sums up the verdicts. Cases that are not in the transcripts are those in which both are the same.
func (t *transcript) count() *Result {
	r := &Result{Judge: t.header.Judge, Label: t.header.Label, N: t.header.N, Tokens: t.spent}
	cases := map[string]bool{}
	for key := range t.said {
		cases[key[0]] = true
	}
	r.Same = r.N - len(cases)
	var wins, losses, verdicts, oracle, first, both, consistent int
	for id := range cases {
		var preferred [2]int // 1: the oracle, 2: the item, 0: unclear
		for i, order := range []string{OracleFirst, ItemFirst} {
			v := t.said[[2]string{id, order}].Verdict
			if v == 0 {
				r.Unclear++
				continue
			}
			verdicts++
			if v == 1 {
				first++
			}
			preferred[i] = v
			if order == ItemFirst {
				preferred[i] = 3 - v
			}
			if preferred[i] == 1 {
				oracle++
			}
		}
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
	r.Consistent = evaluate.NewShare(consistent, both)
	return r
}
