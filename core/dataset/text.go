package dataset

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// byteOrderMark is what some editors put in front of a text.
const byteOrderMark = "\ufeff"

// lines calls each for every line that is not empty, without its end. Memory is bounded by longestRecord.
func (t *table) lines(file fs.File, each func(line int, text string) error) error {
	scanner := bufio.NewScanner(counted{file, &t.done})
	scanner.Buffer(make([]byte, 1<<16), longestRecord)
	line := 0
	for scanner.Scan() {
		line++
		text := strings.TrimSuffix(scanner.Text(), "\r")
		if line == 1 {
			text = strings.TrimPrefix(text, byteOrderMark)
		}
		if text == "" {
			continue
		}
		if err := each(line, text); err != nil {
			return err
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return t.errorAt(line+1, "is this a text file?", "the line is longer than %d bytes", longestRecord)
	}
	return scanner.Err()
}

// separated reads lines whose fields stand between separators. Nothing is quoted: a quotation mark is a character like any
// other.
func separated(separator string) scanner {
	return func(t *table, file fs.File, emit emit) error {
		want := len(t.header)
		var fields []string
		return t.lines(file, func(line int, text string) error {
			fields = fields[:0]
			for rest, more := text, true; more; {
				var field string
				field, rest, more = strings.Cut(rest, separator)
				fields = append(fields, field)
			}
			if want == 0 {
				want = len(fields)
			}
			if len(fields) != want {
				return emit(line, nil, t.errorAt(line, "fix the line; a field must not hold the separator",
					"%d fields separated by %q, expected %d", len(fields), separator, want))
			}
			return emit(line, fields, nil)
		})
	}
}

// scanCSV reads comma-separated values as RFC 4180 has them: a quoted field may hold commas, quotes and line breaks.
func scanCSV(t *table, file fs.File, emit emit) error {
	limit := &limited{r: counted{file, &t.done}, left: longestRecord}
	buffered := bufio.NewReaderSize(limit, 1<<16)
	if mark, _ := buffered.Peek(len(byteOrderMark)); string(mark) == byteOrderMark {
		buffered.Discard(len(mark))
	}
	records := csv.NewReader(buffered)
	records.ReuseRecord = true
	for line := 0; ; {
		limit.left = longestRecord
		fields, err := records.Read()
		problem := (*csv.ParseError)(nil)
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &problem):
			line = problem.Line
			err = emit(problem.StartLine, nil, t.errorAt(problem.StartLine, "fix the line", "%v", problem.Err))
		case errors.Is(err, errTooLong):
			return t.errorAt(line+1, "is a quotation mark not closed?", "the record is longer than %d bytes", longestRecord)
		case err == nil:
			line, _ = records.FieldPos(0)
			err = emit(line, fields, nil)
		}
		if err != nil {
			return err
		}
	}
}

// limited ends a record that is too long: encoding/csv has no limit of its own.
type limited struct {
	r    io.Reader
	left int // bytes that may still be read for this record
}

var errTooLong = errors.New("the record is too long")

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}

// scanJSONL reads a JSON object on every line. The keys of the first one are the header. A key that a later object lacks,
// or null, gives an empty field; one that the first lacks is ignored.
func scanJSONL(t *table, file fs.File, emit emit) error {
	var header, fields []string
	return t.lines(file, func(line int, text string) error {
		if !utf8.ValidString(text) { // the library would put U+FFFD in place of what it cannot read
			if !t.latin1 {
				return emit(line, nil, t.errorAt(line, "save the file as UTF-8", "the line is not UTF-8"))
			}
			text = fromLatin1(text)
			t.repaired++
		}
		object := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			return emit(line, nil, t.errorAt(line, "every line must be a JSON object", "%v", err))
		}
		if header == nil {
			header = slices.Sorted(maps.Keys(object))
			fields = make([]string, len(header))
			if err := emit(line, header, nil); err != nil {
				return err
			}
		}
		for i, key := range header {
			fields[i] = string(object[key])
			if strings.HasPrefix(fields[i], `"`) {
				_ = json.Unmarshal(object[key], &fields[i]) // cannot fail: it was parsed above
			} else if fields[i] == "null" {
				fields[i] = ""
			}
		}
		return emit(line, fields, nil)
	})
}
