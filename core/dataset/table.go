package dataset

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// FormatError says where a text file is wrong, what is wrong and what to do.
type FormatError struct {
	File    string
	Line    int    // from 1; 0 when the file as a whole is meant
	Problem string // what was found and what was expected
	Remedy  string // what to do, may be empty
}

// Error has the form "dataset: FILE:LINE: problem; remedy".
func (e *FormatError) Error() string {
	where := e.File
	if e.Line > 0 {
		where += ":" + strconv.Itoa(e.Line)
	}
	if e.Remedy != "" {
		return fmt.Sprintf("dataset: %s: %s; %s", where, e.Problem, e.Remedy)
	}
	return fmt.Sprintf("dataset: %s: %s", where, e.Problem)
}

// table reads separated text line by line. Nothing is quoted: a quotation mark is a character like any other.
type table struct {
	file      string
	separator string
	latin1    bool // else UTF-8
	header    bool // the first line names the columns; else columns are taken from the left, and all must be there
	columns   []string
	fields    int // with no header: the number of fields a line must have
}

// row is one line of a table, its fields in the order of table.columns.
type row struct {
	*table
	line   int
	fields []string
}

// read calls each for every line but the header and empty lines. Errors from each are returned as they are.
func (t *table) read(r io.Reader, each func(row) error) error {
	const longest = 1 << 20
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, longest)
	current := row{table: t, fields: make([]string, len(t.columns))}
	places := make([]int, len(t.columns))
	for i := range places {
		places[i] = i
	}
	want := t.fields
	for scanner.Scan() {
		current.line++
		text, err := t.text(scanner.Bytes(), current)
		if err != nil {
			return err
		}
		if text == "" {
			continue
		}
		fields := strings.Split(text, t.separator)
		if t.header && want == 0 {
			want = len(fields)
			if err := t.locate(fields, places, current); err != nil {
				return err
			}
			continue
		}
		if len(fields) != want {
			return current.errorf("fix the line; a field must not hold the separator",
				"%d fields separated by %q, expected %d", len(fields), t.separator, want)
		}
		for i, place := range places {
			current.fields[i] = fields[place]
		}
		if err := each(current); err != nil {
			return err
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		current.line++
		return current.errorf("is this a text file?", "the line is longer than %d bytes", longest)
	}
	if scanner.Err() != nil {
		return fmt.Errorf("dataset: cannot read %s: %w", t.file, scanner.Err())
	}
	if t.header && want == 0 {
		return &FormatError{t.file, 1, "the file is empty", "its first line must name the columns " +
			strings.Join(t.columns, ", ")}
	}
	return nil
}

// text decodes a line and removes what editors add: a byte-order mark and carriage returns.
func (t *table) text(raw []byte, at row) (string, error) {
	if t.latin1 {
		runes := make([]rune, len(raw)) // the code points of Latin-1 are the first 256 of Unicode
		for i, b := range raw {
			runes[i] = rune(b)
		}
		return strings.TrimSuffix(string(runes), "\r"), nil
	}
	if !utf8.Valid(raw) {
		return "", at.errorf("save the file as UTF-8", "the line is not UTF-8")
	}
	text := strings.TrimSuffix(string(raw), "\r")
	if at.line == 1 {
		text = strings.TrimPrefix(text, "\ufeff")
	}
	return text, nil
}

// locate finds the columns in a header; RecBole's ":type" behind a name is ignored.
func (t *table) locate(header []string, places []int, at row) error {
	for i := range header {
		header[i], _, _ = strings.Cut(header[i], ":")
	}
	for i, column := range t.columns {
		places[i] = slices.Index(header, column)
		if places[i] < 0 {
			return at.errorf("add the column or correct its name", "no column %q among %q", column, header)
		}
	}
	return nil
}

func (r row) errorf(remedy, problem string, args ...any) error {
	return &FormatError{r.file, r.line, fmt.Sprintf(problem, args...), remedy}
}

// integer reads a field as a whole number.
func (r row) integer(column int) (int64, error) {
	v, err := strconv.ParseInt(r.fields[column], 10, 64)
	if err != nil {
		return 0, r.errorf("correct it or remove the line", "%s %q is not a whole number", r.columns[column], r.fields[column])
	}
	return v, nil
}

// rating reads a field as a finite number.
func (r row) rating(column int) (float32, error) {
	v, err := strconv.ParseFloat(r.fields[column], 32)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, r.errorf("correct it or remove the line", "%s %q is not a finite number", r.columns[column],
			r.fields[column])
	}
	return float32(v), nil
}
