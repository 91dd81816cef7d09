package bulk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/states"
)

// Standard is the name of standard input and output, JSON lines.
const Standard = "-"

// Job is one file of rows to answer.
type Job struct {
	Run      *run.Run
	In, Out  string // paths, or Standard
	Input    io.Reader
	Output   io.Writer // these are Standard
	Shard    evaluate.Shard
	Progress func(Progress) // told after each group; may be nil
}

// Progress says how far a job is.
type Progress struct {
	Rows     int64  // read so far
	Total    int64  // about; 0: nobody knows
	Answered int64  // by this call
	Wrong    int64  // of these, rows with an error
	First    string // the first of these errors, with its row
}

// turns is how many times the slots are filled in a group: more of them waste less time at its end.
const turns = 16

// Answer is a line of the output.
type Answer struct {
	Row     int64           `json:"row"` // of the input, from 1
	ID      json.RawMessage `json:"id,omitempty"`
	Text    *string         `json:"text,omitempty"`
	LogProb *float64        `json:"log_prob,omitempty"` // of the whole text, in nats
	Cut     bool            `json:"cut,omitempty"`      // the text did not end
	Items   []Item          `json:"items,omitempty"`    // that lines of the text name
	Error   string          `json:"error,omitempty"`    // in place of an answer
}

// Item is one of the data set.
type Item struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// record is a row of the input.
type record struct {
	row     int64
	id      json.RawMessage
	user    string
	history []string
	states  [][]float32 // in the order of the prompt's slots
	problem error
}

// reader gives the rows of an input, in order. What is wrong with a row is its problem.
type reader interface {
	read(ctx context.Context, from int64, each func(record) error) error // of row `from` and those after it
	count() (int64, error)                                               // rows
	total(done int64) int64                                              // rows, about, once some are read
	close()
}

// Do answers all rows of a job, or those of its shard.
func (j Job) Do(ctx context.Context) (p Progress, err error) {
	w := j.worker()
	defer func() {
		if w.resumable {
			err = artifact.Resumable(err)
		}
	}()
	in, err := w.open()
	if err != nil {
		return p, err
	}
	defer in.close()
	out, done, finish, err := w.output()
	if err != nil {
		return p, err
	}
	defer func() { err = finish(err) }()
	var group []record
	answer := func() error {
		defer func() { group = group[:0] }()
		if len(group) == 0 {
			return nil
		}
		number := (group[0].row - 1) / w.size
		if j.Shard.N > 0 && number%int64(j.Shard.N) != int64(j.Shard.I-1) {
			return nil
		}
		if done > 0 {
			done--
			return nil
		}
		answers, err := w.answer(ctx, group)
		if err != nil {
			return err
		}
		lines, err := encode(answers)
		if err != nil {
			return err
		}
		if _, err := out.Write(lines); err != nil {
			return fmt.Errorf("bulk: the answers cannot be written: %w", err)
		}
		p.Answered, p.Wrong, p.First = p.Answered+int64(len(group)), w.wrong, w.first
		if j.Progress != nil {
			p.Total = in.total(p.Rows)
			j.Progress(p)
		}
		return nil
	}
	err = in.read(ctx, 1, func(r record) error {
		p.Rows = r.row
		if group = append(group, r); int64(len(group)) < w.size {
			return nil
		}
		return answer()
	})
	if err == nil {
		err = answer()
	}
	return p, err
}

// worker answers the groups of a job.
type worker struct {
	Job
	size      int64 // rows of a group
	resumable bool
	wrong     int64
	first     string // what is wrong with the first of these rows
	slots     []string
	parts     []string // of an input that is a folder
	shortest  int
	items     map[string]int32
	catalogue *dataset.Catalogue
	latest    func(user string) ([]int32, error)
}

// state is what is kept beside an output until the job is done.
type state struct {
	Run   string `json:"run"`   // what the answers are of
	Input string `json:"input"` // content hash
	Group int64  `json:"group"` // rows
	Shard string `json:"shard,omitempty"`
}

// state is that of a job, without the hash of its input.
func (w *worker) state() state {
	return state{Run: fmt.Sprintf("%s, %s", run.Label(w.Run.Hash(), w.Run.Hashes.Dataset), w.Run.Task.Name), Group: w.size, Shard: w.Shard.String()}
}

// output opens the output behind the groups that are done. finish closes it.
func (w *worker) output() (out io.Writer, done int64, finish func(error) error, err error) {
	if w.Out == Standard {
		return w.Output, 0, func(err error) error { return err }, nil
	}
	lock, err := artifact.Claim(w.Out)
	if err != nil {
		return nil, 0, nil, err
	}
	defer func() {
		if err != nil {
			lock.Release()
		}
	}()
	mark := w.Out + ".unfinished"
	now := w.state()
	_, exists := os.Stat(w.Out)
	var was state
	unfinished := artifact.ReadJSON(mark, &was, artifact.KnownKeys)
	if w.In != Standard {
		w.resumable = true
		if now.Input, err = w.hash(); err != nil {
			return nil, 0, nil, err
		}
	}
	switch {
	case unfinished == nil && w.resumable:
		if differs := artifact.Difference(was, now); differs != "" {
			return nil, 0, nil, fmt.Errorf("bulk: %s was begun with something else: its %s; remove it to start again", w.Out, differs)
		}
	case exists == nil:
		return nil, 0, nil, fmt.Errorf("bulk: %s is there already; choose another file, or remove it to start again", w.Out)
	case w.resumable:
		err := artifact.WriteAtomic(mark, func(w io.Writer) error { return json.NewEncoder(w).Encode(now) })
		if err != nil {
			return nil, 0, nil, err
		}
	}
	file, err := os.OpenFile(w.Out, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("bulk: %w", err)
	}
	finish = func(err error) error {
		defer lock.Release()
		if err == nil {
			err = file.Sync()
		}
		if closed := file.Close(); err == nil {
			err = closed
		}
		if err == nil && w.resumable {
			err = os.Remove(mark)
		}
		return err
	}
	done, end, err := whole(file, w.size)
	if err == nil {
		err = file.Truncate(end)
	}
	if err == nil {
		_, err = file.Seek(end, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, 0, nil, fmt.Errorf("bulk: %s cannot be taken up: %w", w.Out, err)
	}
	return file, done, finish, nil
}

// hash is that of the input.
func (w *worker) hash() (string, error) {
	if w.parts != nil {
		return states.HashParts(w.parts)
	}
	return artifact.HashFile(w.In)
}

// whole counts the whole groups of lines in a file, and where they end.
func whole(file io.Reader, size int64) (groups, end int64, err error) {
	in := bufio.NewReaderSize(file, 1<<20)
	var lines, at int64
	for {
		line, err := in.ReadSlice('\n')
		at += int64(len(line))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return groups, end, nil
		case err != nil:
			return 0, 0, err
		}
		if lines++; lines%size == 0 {
			groups, end = groups+1, at
		}
	}
}

// worker prepares what rows are looked up in.
func (j Job) worker() *worker {
	d, slots := j.Run.Data, j.Run.Prompts[0].SlotNames()
	w := &worker{Job: j, size: int64(turns * j.Run.Interpreter.Slots()), slots: slots, shortest: prompt.Shortest(slots),
		items: make(map[string]int32, len(d.Items)), catalogue: d.Catalogue(), latest: j.Run.LatestOfAll()}
	for i, item := range d.Items {
		w.items[item.ID] = int32(i)
	}
	return w
}

// answer gives the answers of a group.
func (w *worker) answer(ctx context.Context, group []record) ([]Answer, error) {
	shown := make([]prompt.States, len(group))
	var pasts [][]int32
	var of []int // the rows of these
	for i := range group {
		r := &group[i]
		if r.problem == nil && r.states == nil {
			var past []int32
			if past, r.problem = w.past(*r); r.problem == nil {
				pasts, of = append(pasts, past), append(of, i)
			}
		}
	}
	all, err := w.Run.States(ctx, w.Run.Source, pasts)
	if err != nil {
		return nil, err
	}
	for k, i := range of {
		shown[i] = all[k]
	}
	keeps, err := w.Run.Keeps()
	if err != nil {
		return nil, err
	}
	var asked []*interpret.Question
	of = nil
	for i := range group {
		r := &group[i]
		if r.problem == nil && r.states != nil {
			shown[i], r.problem = w.Run.Given(r.states)
		}
		if r.problem == nil {
			r.problem = w.Run.Interpreter.Check(shown[i])
		}
		if r.problem == nil {
			asked, of = append(asked, &interpret.Question{States: shown[i], Grammar: keeps, Width: 1, Number: uint64(r.row)}), append(of, i)
		}
	}
	if err := w.Run.Interpreter.AskAll(ctx, asked); err != nil {
		return nil, err
	}
	answers := make([]Answer, len(group))
	for k, i := range of {
		q := asked[k]
		if group[i].problem = q.Err; q.Err == nil {
			a := q.Answers[0]
			answers[i] = Answer{Text: &a.Text, LogProb: &a.LogProb, Cut: !a.Ended, Items: w.named(a.Text)}
		}
	}
	for i, r := range group {
		if r.problem != nil {
			answers[i].Error = strings.TrimPrefix(r.problem.Error(), "run: ")
			if w.wrong++; w.wrong == 1 {
				w.first = fmt.Sprintf("row %d: %s", r.row, answers[i].Error)
			}
		}
		answers[i].Row, answers[i].ID = r.row, r.id
	}
	return answers, nil
}

// encode makes lines of answers.
func encode(answers []Answer) ([]byte, error) {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	encoder.SetEscapeHTML(false)
	for _, a := range answers {
		if err := encoder.Encode(a); err != nil {
			return nil, err
		}
	}
	return lines.Bytes(), nil
}

// past gives the history of a row that names one, or a user.
func (w *worker) past(r record) (past []int32, err error) {
	switch {
	case r.user != "" && r.history != nil:
		return nil, errors.New("it has a user and a history; give one of them")
	case r.user != "":
		if past, err = w.latest(r.user); err != nil {
			return nil, err
		}
	case r.history == nil:
		return nil, fmt.Errorf("it has no history, no user and no states; give one of them, states as %q or under the names of the prompt's slots, %q",
			"states", w.slots)
	case w.Run.Live == nil:
		return nil, errors.New("the run's states come from a file, which holds those of its own sequences; name a user, or give states")
	}
	for _, id := range r.history {
		item, ok := w.items[id]
		if !ok {
			return nil, fmt.Errorf("the data set has no item with the id %q", id)
		}
		past = append(past, item)
	}
	if len(past) < w.shortest {
		return nil, fmt.Errorf("the history has %d items; the prompt needs %d", len(past), w.shortest)
	}
	return past, nil
}

// named gives the items that the lines of a text name.
func (w *worker) named(text string) (items []Item) {
	for line := range strings.Lines(text) {
		if item, ok := w.catalogue.Lookup(strings.TrimSpace(line)); ok {
			items = append(items, Item{w.Run.Data.Items[item].ID, w.Run.Data.Items[item].Title})
		}
	}
	return items
}

// Merge joins the answers of all shards of a job to the file that it would have written without
// shards, byte for byte.
func Merge(to string, shards []string) error {
	type input struct {
		path string
		in   *bufio.Reader
		line []byte
		row  int64
	}
	next := func(i *input) error {
		line, err := i.in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			i.line = nil
			return nil
		}
		var head struct{ Row int64 }
		if err != nil || json.Unmarshal(line, &head) != nil || head.Row == 0 {
			return fmt.Errorf("bulk: %s ends in the middle of an answer, or holds none; finish its shard first", i.path)
		}
		i.line, i.row = line, head.Row
		return nil
	}
	var all []*input
	for _, path := range shards {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("bulk: %w", err)
		}
		defer file.Close()
		if _, err := os.Stat(path + ".unfinished"); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("bulk: %s is not finished; its command continues it", path)
		}
		i := &input{path: path, in: bufio.NewReaderSize(file, 1<<20)}
		if err := next(i); err != nil {
			return err
		}
		all = append(all, i)
	}
	return artifact.WriteAtomic(to, func(w io.Writer) error {
		for row := int64(1); ; row++ {
			var from *input
			left := false
			for _, i := range all {
				left = left || i.line != nil
				if i.line != nil && i.row == row {
					if from != nil {
						return fmt.Errorf("bulk: %s and %s both answer row %d; give each shard once", from.path, i.path, row)
					}
					from = i
				}
			}
			if !left {
				return nil
			}
			if from == nil {
				return fmt.Errorf("bulk: no file answers row %d; give all shards", row)
			}
			if _, err := w.Write(from.line); err != nil {
				return err
			}
			if err := next(from); err != nil {
				return err
			}
		}
	})
}
