package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/recinterpreter/recinterpreter/core/internal/lines"
)

// FormatError says where a file is wrong, why, and what to do.
type FormatError struct {
	File    string
	Line    int    // from 1, of a Parquet file the row; 0 for the file as a whole
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

// LongestRecord and LongestField are the largest sizes, in bytes, of a line or record and of a
// field.
const (
	LongestRecord = 1 << 20
	LongestField  = 1 << 16
)

// row is one line of a file of a data set folder.
type row struct {
	file   string
	line   int
	names  []string // of the columns that are wanted
	fields [][]byte // in the order of names, then those of the other columns; valid for this line only
}

func (r row) errorf(remedy, problem string, args ...any) error {
	return &FormatError{r.file, r.line, fmt.Sprintf(problem, args...), remedy}
}

// readTSV calls each for every line of a file after the first, which names the columns. It returns
// the names of the other columns. An error from each ends the reading.
func readTSV(folder fs.FS, file string, names []string, each func(row) error) (others []string, err error) {
	opened, err := folder.Open(file)
	if err != nil {
		return nil, fmt.Errorf("dataset: cannot read: %w", err)
	}
	defer opened.Close()
	r := row{file: file, names: names, line: 1}
	var header []string
	var places, order []int // of a column among the fields; of a field among row.fields
	text := lines.NewReader(opened, LongestRecord)
	for {
		line, record, tooLong, err := text.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("dataset: cannot read %s: %w", file, err)
		}
		if err != nil {
			break
		}
		if r.line = line; tooLong {
			return nil, r.errorf("is this a text file?", "the line is longer than %d bytes", LongestRecord)
		}
		if len(record) == 0 {
			continue
		}
		if header == nil {
			for name := range bytes.SplitSeq(record, tab) {
				header = append(header, string(name))
			}
			for _, name := range names {
				at := slices.Index(header, name)
				if at < 0 {
					return nil, r.errorf("add the column or correct its name", "no column %q among %.300q", name, header)
				}
				places = append(places, at)
			}
			for at, name := range header {
				to := slices.Index(places, at)
				if to < 0 {
					to = len(names) + len(others)
					others = append(others, name)
				}
				order = append(order, to)
			}
			r.fields = make([][]byte, len(header))
			continue
		}
		fields := 0
		for field := range bytes.SplitSeq(record, tab) {
			if fields < len(header) {
				r.fields[order[fields]] = field
			}
			fields++
		}
		if fields != len(header) {
			return nil, r.errorf("fix the line; a field must not hold the separator", "%d fields separated by \"\\t\", expected %d", fields,
				len(header))
		}
		for at, to := range order {
			if field := r.fields[to]; !utf8.Valid(field) {
				return nil, r.errorf("save the file as UTF-8", "%s is not UTF-8: %.60q", header[at], field)
			} else if len(field) > LongestField {
				return nil, r.errorf("shorten it or remove the line", "%s is %d bytes long, expected at most %d", header[at], len(field),
					LongestField)
			}
		}
		if err := each(r); err != nil {
			return nil, err
		}
	}
	if header == nil {
		return nil, r.errorf("its first line must name the columns", "the file is empty")
	}
	return others, nil
}

var tab = []byte{'\t'}

// rating reads a field as a finite number, NaN where it is empty.
func (r row) rating(column int) (float32, error) {
	if len(r.fields[column]) == 0 {
		return float32(math.NaN()), nil
	}
	v, err := strconv.ParseFloat(string(r.fields[column]), 32)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, r.errorf("correct it or remove the line", "%s %.60q is not a finite number", r.names[column], r.fields[column])
	}
	return float32(v), nil
}
