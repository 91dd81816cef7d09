package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Lines is a file of JSON values, one a line, that grows.
type Lines struct {
	file   *os.File
	length int64 // of the whole lines
	broken error // the error after which nothing can be written
}

// OpenLines opens or creates a file to append after the given length. It cuts off the rest, such as
// a line that a kill interrupted.
func OpenLines(path string, length int64) (*Lines, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, fmt.Errorf("artifact: cannot be written: %w; choose a folder that exists and that you may write to", err)
	}
	if err := file.Truncate(length); err != nil {
		return nil, errors.Join(fmt.Errorf("artifact: cannot be written: %w", err), file.Close())
	}
	if _, err := file.Seek(length, io.SeekStart); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Lines{file: file, length: length}, nil
}

// Append adds lines, all or none.
func (l *Lines) Append(values ...any) error {
	var text bytes.Buffer
	for _, value := range values {
		line, err := json.Marshal(value)
		if err != nil {
			return err
		}
		text.Write(append(line, '\n'))
	}
	if l.broken != nil {
		return l.broken
	}
	n, err := l.file.Write(text.Bytes())
	if err != nil { // nothing is appended to an incomplete line
		l.broken = fmt.Errorf("artifact: cannot be written: %w", err)
		return errors.Join(l.broken, l.file.Truncate(l.length))
	}
	l.length += int64(n)
	return nil
}

// Length is how many bytes the lines take.
func (l *Lines) Length() int64 { return l.length }

// Close closes the file.
func (l *Lines) Close() error { return l.file.Close() }

// Journal is a file of JSON lines that is written in one or several sessions. The first line, the
// header, says what the records belong to.
type Journal[H, R any] struct {
	Header  H
	Records []R
	lines   *Lines // nil: in memory only
	lock    *Lock
}

// ErrNoHeader is the error of reading a journal whose first line is not whole: it has only begun.
var ErrNoHeader = errors.New("line 1: no whole line is here; a header is expected")

// ReadJournal reads a journal without the incomplete line that a kill may have left at its end.
func ReadJournal[H, R any](path string) (*Journal[H, R], error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("artifact: %w", err)
	}
	j := &Journal[H, R]{}
	if _, err := j.read(data, AnyKeys); err != nil {
		return nil, fmt.Errorf("artifact: %s, %w", path, err)
	}
	return j, nil
}

// OpenJournal creates a journal or continues the one in the file, and locks it against other
// processes. It refuses a file with another header. check returns how many of the records to keep,
// or an error if they do not belong here. Without a path, the journal is in memory only.
func OpenJournal[H, R any](path string, header H, check func([]R) (int, error)) (_ *Journal[H, R], err error) {
	j := &Journal[H, R]{Header: header}
	if path == "" {
		return j, nil
	}
	if j.lock, err = Claim(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.Close())
		}
	}()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("artifact: %w", err)
	}
	own, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	length := int64(0)
	if !bytes.HasPrefix(own, data) { // else it is empty, or ends within the header
		ends, err := j.read(data, KnownKeys)
		if differs := Difference(j.Header, header); err == nil && differs != "" {
			err = fmt.Errorf("line 1: it was made from something else: %s", differs)
		}
		keep := 0
		if err == nil {
			keep, err = check(j.Records)
		}
		if err != nil {
			return nil, fmt.Errorf("artifact: %s, %w; move the file away to start again", path, err)
		}
		j.Records, length = j.Records[:keep], ends[keep]
	}
	if j.lines, err = OpenLines(path, length); err != nil || length > 0 {
		return j, err
	}
	return j, j.lines.Append(header)
}

// read parses the complete lines of data and returns where the header and each record end.
func (j *Journal[H, R]) read(data []byte, keys Keys) (ends []int64, err error) {
	at := int64(0)
	for line := range bytes.Lines(data) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		at += int64(len(line))
		if ends = append(ends, at); len(ends) == 1 {
			var header H
			if err := ParseJSON(line, &header, keys); err != nil {
				return nil, fmt.Errorf("%w; a header is expected", err)
			}
			j.Header = header
			continue
		}
		var record R
		if err := json.Unmarshal(line, &record); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(ends), err)
		}
		j.Records = append(j.Records, record)
	}
	if len(ends) == 0 {
		return nil, ErrNoHeader
	}
	return ends, nil
}

// Append adds records, all or none. They are synced to disk when it returns.
func (j *Journal[H, R]) Append(records ...R) error {
	if j.lines != nil {
		values := make([]any, len(records))
		for i, r := range records {
			values[i] = r
		}
		if err := errors.Join(j.lines.Append(values...), j.lines.file.Sync()); err != nil {
			return err
		}
	}
	j.Records = append(j.Records, records...)
	return nil
}

// Close releases the file's lock.
func (j *Journal[H, R]) Close() (err error) {
	if j.lines != nil {
		err = j.lines.Close()
	}
	if j.lock != nil {
		err = errors.Join(err, j.lock.Release())
	}
	return err
}
