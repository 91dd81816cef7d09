package bulk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
)

// Parts answers the input of a job in parts, in any order, for engines that hand their numbers out
// to workers. Each part becomes a Parquet file of its own in a folder, the job's Out, beside one of
// its bad rows. A part is there as a whole or not at all, with the same bytes whoever answers it: a
// worker may be killed at any time, and two may answer the same part.
type Parts struct {
	w    *worker
	rows int64 // of a part
}

// Part says what was answered of a part.
type Part struct {
	Number int64 `json:"part"` // from 0
	Rows   int64 `json:"rows"` // answered by this call, bad ones included; 0: the part was there
	Wrong  int64 `json:"wrong"`
}

// groups is how many of them a part has.
const groups = 4

// jobFile binds the parts of a folder to a run and an input.
const jobFile = "job.json"

// Parts makes the folder, or checks that it was begun with the same run, input and settings.
func (j Job) Parts() (*Parts, error) {
	p := &Parts{w: j.worker()}
	p.rows = groups * p.w.size
	if err := os.MkdirAll(j.Out, 0o777); err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	in, err := p.w.open()
	if err != nil {
		return nil, err
	}
	in.close()
	now, path := p.w.state(), filepath.Join(j.Out, jobFile)
	if now.Input, err = p.w.hash(); err != nil {
		return nil, err
	}
	var was state
	switch err := artifact.ReadJSON(path, &was, artifact.KnownKeys); {
	case errors.Is(err, fs.ErrNotExist): // other workers may write the same at the same time
		return p, artifact.WriteAtomic(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(now) })
	case err != nil:
		return nil, err
	}
	if differs := artifact.Difference(was, now); differs != "" {
		return nil, fmt.Errorf("bulk: %s was begun with something else: its %s; choose another folder, or remove it to start again", j.Out, differs)
	}
	return p, nil
}

// Count is how many parts the input has.
func (p *Parts) Count() (int64, error) {
	in, err := p.w.open()
	if err != nil {
		return 0, err
	}
	defer in.close()
	rows, err := in.count()
	return (rows + p.rows - 1) / p.rows, err
}

// Answer answers a part unless it is there.
func (p *Parts) Answer(ctx context.Context, number int64) (Part, error) {
	answers := filepath.Join(p.w.Out, fmt.Sprintf("answers-%06d.parquet", number))
	if _, err := os.Stat(answers); err == nil {
		return Part{Number: number}, nil
	}
	good, bad, err := p.compute(ctx, number)
	if err != nil {
		return Part{}, err
	}
	if len(bad) > 0 {
		lines, err := encode(bad)
		if err != nil {
			return Part{}, err
		}
		letters := filepath.Join(p.w.Out, fmt.Sprintf("dead-letters-%06d.jsonl", number))
		err = artifact.WriteAtomic(letters, func(w io.Writer) error { _, err := w.Write(lines); return err })
		if err != nil {
			return Part{}, err
		}
	}
	if err := writeAnswers(ctx, answers, good); err != nil {
		return Part{}, fmt.Errorf("bulk: part %d cannot be written: %w", number, err)
	}
	return Part{Number: number, Rows: int64(len(good) + len(bad)), Wrong: int64(len(bad))}, nil
}

// compute gives the answers of a part's rows, those of the bad ones by themselves.
func (p *Parts) compute(ctx context.Context, number int64) (good, bad []Answer, err error) {
	in, err := p.w.open()
	if err != nil {
		return nil, nil, err
	}
	defer in.close()
	var group []record
	answer := func() error {
		answers, err := p.w.answer(ctx, group)
		for _, a := range answers {
			if a.Error == "" {
				good = append(good, a)
			} else {
				bad = append(bad, a)
			}
		}
		group = group[:0]
		return err
	}
	enough := errors.New("the part is read")
	err = in.read(ctx, number*p.rows+1, func(r record) error {
		if group = append(group, r); int64(len(group)) == p.w.size {
			if err := answer(); err != nil {
				return err
			}
		}
		if r.row == (number+1)*p.rows {
			return enough
		}
		return nil
	})
	if err == nil && len(group) > 0 {
		err = answer()
	}
	if errors.Is(err, enough) {
		err = nil
	}
	return good, bad, err
}

// writeAnswers writes answers to a Parquet file, which appears as a whole.
func writeAnswers(ctx context.Context, path string, answers []Answer) error {
	temp, err := os.MkdirTemp(filepath.Dir(path), ".part-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	lines, err := encode(answers)
	if err != nil {
		return err
	}
	from, to := filepath.Join(temp, "answers.jsonl"), filepath.Join(temp, "answers.parquet")
	if err := os.WriteFile(from, lines, 0o666); err != nil {
		return err
	}
	db, err := duckdb.Open()
	if err != nil {
		return err
	}
	defer db.Close()
	const columns = "row: 'BIGINT', id: 'VARCHAR', text: 'VARCHAR', log_prob: 'DOUBLE', cut: 'BOOLEAN', items: 'STRUCT(id VARCHAR, title VARCHAR)[]'"
	err = db.Run(ctx, "COPY (SELECT * REPLACE (coalesce(cut, false) AS cut) FROM read_json("+duckdb.Path(from)+", format = 'newline_delimited', columns = {"+
		columns+"})) TO "+duckdb.Quote(to)+" (FORMAT parquet)")
	if err != nil {
		return err
	}
	return os.Rename(to, path)
}
