package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/lines"
)

// jsonReader reads objects: one a line, or the elements of an array. A key that an object lacks, or null, gives an empty
// field.
type jsonReader struct {
	file    file
	to      reading
	header  []string
	places  map[string]int
	told    int // names of the header that to.columns has seen
	record  record
	waiting []waiting // objects that were read before the columns are chosen
}

// waiting is an object whose fields are not cut out yet.
type waiting struct {
	line   int
	object map[string]json.RawMessage
	bad    error
}

// sampled is how many objects are read before the columns are chosen, so that a key which the first ones lack counts.
const sampled = 1000

func (f file) readJSON(o *opened, to reading) error {
	j := &jsonReader{file: f, to: to, places: map[string]int{}}
	if mark, _ := o.Peek(len(lines.Mark)); bytes.Equal(mark, lines.Mark) {
		o.Discard(len(mark))
	}
	start, _ := o.Peek(o.Size())
	read := j.lines
	if start = bytes.TrimLeft(start, " \t\r\n"); len(start) == 0 || start[0] == '[' || bytes.Equal(firstLine(start), []byte{'{'}) {
		read = j.values
	}
	if err := read(o); err != nil {
		return err
	}
	if err := j.flush(); err != nil {
		return err
	}
	if len(j.header) == 0 {
		return f.fail(1, "write a JSON object for each row, on a line of its own or in an array", "it has no JSON objects")
	}
	return nil
}

func firstLine(text []byte) []byte {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return bytes.TrimRight(line, " \t\r")
}

// lines reads an object a line.
func (j *jsonReader) lines(o *opened) error {
	text := lines.NewReader(o.Reader, dataset.LongestRecord)
	for {
		line, record, tooLong, err := text.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return j.file.fail(line+1, "it may be cut off or damaged: fetch or write it again", "it cannot be read: %v", err)
		}
		switch record = bytes.TrimSpace(record); {
		case tooLong:
			err = j.add(line, nil, j.file.fail(line, "shorten it or remove it", "the line is longer than %d bytes", dataset.LongestRecord))
		case len(record) > 0:
			object, bad := parseObject(record)
			if bad != nil {
				bad = j.file.fail(line, "every line must be a JSON object", "%v", bad)
			}
			err = j.add(line, object, bad)
		}
		if err != nil {
			return err
		}
	}
}

// values reads an array of objects, or objects that go on for several lines. Behind one that is broken nothing can be told
// apart, so that it ends the reading.
func (j *jsonReader) values(o *opened) error {
	at := &lineCounter{r: o.Reader, line: 1}
	decoder := json.NewDecoder(at)
	broken := func(err error) error {
		where := decoder.InputOffset()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			where = at.read
		}
		return j.file.fail(at.of(where), "it may be cut off: fetch or write it again", "it is not valid JSON: %v", err)
	}
	start, _ := o.Peek(o.Size())
	if start = bytes.TrimLeft(start, " \t\r\n"); len(start) > 0 && start[0] == '[' {
		if _, err := decoder.Token(); err != nil {
			return broken(err)
		}
	}
	for decoder.More() {
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return broken(err)
		}
		line := at.of(decoder.InputOffset())
		object, bad := parseObject(value)
		if bad != nil {
			bad = j.file.fail(line, "every element must be a JSON object", "%v", bad)
		} else if len(value) > dataset.LongestRecord {
			bad = j.file.fail(line, "shorten it or remove it", "the object is longer than %d bytes", dataset.LongestRecord)
		}
		if err := j.add(line, object, bad); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil && !errors.Is(err, io.EOF) {
		return broken(err)
	}
	return nil
}

// lineCounter tells in which line an offset lies. Offsets must not become smaller.
type lineCounter struct {
	r    io.Reader
	ends []int64 // of lines that were read but not asked for
	read int64
	line int
}

func (l *lineCounter) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	for i, c := range p[:n] {
		if c == '\n' {
			l.ends = append(l.ends, l.read+int64(i))
		}
	}
	l.read += int64(n)
	return n, err
}

func (l *lineCounter) of(offset int64) int {
	for len(l.ends) > 0 && l.ends[0] < offset {
		l.ends = l.ends[1:]
		l.line++
	}
	return l.line
}

// parseObject parses a JSON object, or a Python literal of one. What is not UTF-8 is Windows-1252.
func parseObject(text []byte) (map[string]json.RawMessage, error) {
	object := map[string]json.RawMessage{}
	text, _ = toUTF8(text)
	err := json.Unmarshal(text, &object)
	if err == nil && object == nil {
		err = errors.New("null is not an object")
	}
	if err != nil {
		if literal, ok := fromPython(text); ok && json.Unmarshal(literal, &object) == nil {
			return object, nil
		}
	}
	return object, err
}

// add takes an object, or the reason why there is none.
func (j *jsonReader) add(line int, object map[string]json.RawMessage, bad error) error {
	for key := range object {
		if _, known := j.places[key]; !known {
			j.places[key] = -1
		}
	}
	j.waiting = append(j.waiting, waiting{line, object, bad})
	if len(j.waiting) < sampled && j.told == 0 {
		return nil
	}
	return j.flush()
}

// flush names the columns that are new, and gives the objects on.
func (j *jsonReader) flush() error {
	for key, place := range j.places {
		if place < 0 {
			j.header = append(j.header, key)
		}
	}
	if len(j.header) == 0 {
		return nil
	}
	if len(j.header) > j.told {
		slices.Sort(j.header[j.told:])
		for at, key := range j.header {
			j.places[key] = at
		}
		j.told = len(j.header)
		j.record.fields, j.record.nested = make([][]byte, j.told), make([]bool, j.told)
		if err := j.to.columns(j.header); err != nil {
			return err
		}
	}
	for _, w := range j.waiting {
		j.record.line, j.record.bad = w.line, w.bad
		clear(j.record.fields)
		clear(j.record.nested)
		for key, value := range w.object {
			at := j.places[key]
			j.record.fields[at], j.record.nested[at] = fieldOf(value)
		}
		if err := j.to.each(&j.record); err != nil {
			return err
		}
	}
	j.waiting = j.waiting[:0]
	return nil
}

// fieldOf writes a JSON value as a field. The scalars of a list stand between "|". Mongo's {"$date": …}, {"$oid": …} and
// {"$numberLong": …} are scalars.
func fieldOf(value json.RawMessage) (field []byte, nested bool) {
	switch value = bytes.TrimSpace(value); {
	case len(value) == 0 || bytes.Equal(value, []byte("null")):
		return nil, false
	case value[0] == '"':
		var text string
		_ = json.Unmarshal(value, &text) // cannot fail: it was parsed before
		return []byte(text), false
	case value[0] == '[':
		var elements []json.RawMessage
		_ = json.Unmarshal(value, &elements)
		var scalars [][]byte
		for _, e := range elements {
			if text, nested := fieldOf(e); !nested && len(text) > 0 {
				scalars = append(scalars, text)
			}
		}
		return bytes.Join(scalars, []byte{'|'}), true
	case value[0] == '{':
		return extended(value)
	}
	return value, false
}

// extended reads Mongo's extended JSON.
func extended(value json.RawMessage) (field []byte, nested bool) {
	object := map[string]json.RawMessage{}
	_ = json.Unmarshal(value, &object)
	if len(object) != 1 {
		return nil, true
	}
	for kind, inner := range object {
		switch kind {
		case "$oid", "$numberLong", "$numberInt", "$numberDouble", "$numberDecimal", "$uuid":
			return fieldOf(inner)
		case "$date":
			field, nested = fieldOf(inner)
			if ms, err := strconv.ParseInt(string(field), 10, 64); err == nil {
				field = []byte(time.UnixMilli(ms).UTC().Format(time.RFC3339Nano))
			}
			return field, nested
		}
	}
	return nil, true
}

// fromPython turns a Python literal, as repr writes it, into JSON: {u'title': u'A', 'new': True}.
func fromPython(text []byte) (out []byte, ok bool) {
	if bytes.IndexByte(text, '\'') < 0 && !bytes.Contains(text, []byte("True")) && !bytes.Contains(text, []byte("False")) &&
		!bytes.Contains(text, []byte("None")) {
		return nil, false
	}
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '\'' || c == '"':
			end, inner := pythonString(text[i:])
			if end == 0 {
				return nil, false
			}
			out = append(out, inner...)
			i += end
		case c == '(':
			out, i = append(out, '['), i+1
		case c == ')':
			out, i = append(out, ']'), i+1
		case isLetter(c):
			from := i
			for i < len(text) && isLetter(text[i]) {
				i++
			}
			switch word := string(text[from:i]); {
			case word == "True" || word == "False":
				out = append(out, bytes.ToLower([]byte(word))...)
			case word == "None":
				out = append(out, "null"...)
			case i < len(text) && (text[i] == '\'' || text[i] == '"'): // u'…'
			case word == "L": // of a long number
			case word == "e" || word == "E":
				out = append(out, word...)
			default:
				return nil, false
			}
		default:
			out, i = append(out, c), i+1
		}
	}
	return out, true
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// pythonString turns the string at the beginning of text into JSON. end is 0 where it is not closed.
func pythonString(text []byte) (end int, out []byte) {
	var inner []byte
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == text[0]:
			out, _ = json.Marshal(string(inner)) // a string can always be written
			return i + 1, out
		case c == '\\' && i+1 < len(text):
			value, _, rest, err := strconv.UnquoteChar(string(text[i:]), text[0])
			if err != nil { // an escape that Python leaves as it is
				inner = append(inner, c)
				continue
			}
			inner = fmt.Appendf(inner, "%c", value)
			i += len(text[i:]) - len(rest) - 1
		default:
			inner = append(inner, c)
		}
	}
	return 0, nil
}
