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

// jsonReader reads objects: one per line, in arrays, or one after the other. A missing key and null
// give an empty field.
type jsonReader struct {
	file    file
	to      reading
	header  []string
	places  map[string]int
	told    int // names of the header that to.columns has seen
	record  record
	waiting []waiting // objects that were read before the columns are chosen
}

// waiting is an object whose fields have not been extracted yet.
type waiting struct {
	line   int
	object map[string]json.RawMessage
	bad    error
}

// sampled is the number of objects that are read before the columns are chosen, so that keys that
// the first ones lack are found.
const sampled = 1000

func (f file) readJSON(o *opened, to reading) error {
	j := &jsonReader{file: f, to: to, places: map[string]int{}}
	if mark, _ := o.Peek(len(lines.Mark)); bytes.Equal(mark, lines.Mark) {
		o.Discard(len(mark))
	}
	start, _ := o.Peek(o.Size())
	read := j.values
	if oneALine(bytes.TrimLeft(start, " \t\r\n")) {
		read = j.lines
	}
	if err := read(o); err != nil {
		return err
	}
	if err := j.flush(); err != nil {
		return err
	}
	if len(j.header) > 0 {
		return nil
	}
	if len(j.waiting) > 0 && j.waiting[0].bad != nil {
		return j.waiting[0].bad
	}
	return f.fail(1, "write a JSON object for each row, on a line of its own or in an array", "it has no JSON objects")
}

// oneALine reports, from the beginning of a text, whether each line is an object: the first object
// ends with its line, or the next line begins another one.
func oneALine(start []byte) bool {
	if len(start) == 0 || start[0] != '{' {
		return false
	}
	first, next, more := bytes.Cut(start, []byte{'\n'})
	if more && bytes.HasPrefix(bytes.TrimLeft(next, " \t\r\n"), []byte{'{'}) && len(bytes.TrimSpace(first)) > 1 {
		return !bytes.HasSuffix(bytes.TrimSpace(first), []byte{','})
	}
	e := enclosed{}
	for at, c := range first {
		if e.next(c); e.depth == 0 {
			behind := bytes.TrimSpace(first[at+1:])
			return len(behind) == 0 || behind[0] != '{' && behind[0] != ','
		}
	}
	return !more
}

// enclosed follows a text to the end of an object or array.
type enclosed struct {
	depth   int
	mark    byte // that closes the string; 0 outside of one
	escaped bool
}

func (e *enclosed) next(c byte) {
	switch {
	case c == '\n': // no string continues after it
		e.mark, e.escaped = 0, false
	case e.mark != 0:
		if c == e.mark && !e.escaped {
			e.mark = 0
		}
		e.escaped = c == '\\' && !e.escaped
	case c == '"' || c == '\'':
		e.mark = c
	case c == '{' || c == '[':
		e.depth++
	case c == '}' || c == ']':
		e.depth--
	}
}

// lines reads one object per line.
func (j *jsonReader) lines(o *opened) error {
	text := lines.NewReader(o.Reader, dataset.LongestRecord)
	for {
		line, record, tooLong, err := text.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return j.broken(line+1, err)
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

// values reads objects in arrays, over several lines, or one after the other.
func (j *jsonReader) values(o *opened) error {
	cut := func(line int) error {
		return j.file.fail(line, "it may be cut off: fetch or write it again", "it is not valid JSON: an object or array does not end")
	}
	line, arrays := 1, 0
	for {
		c, err := o.ReadByte()
		if errors.Is(err, io.EOF) && arrays > 0 {
			return cut(line)
		} else if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return j.broken(line, err)
		}
		switch c {
		case '\n':
			line++
		case ' ', '\t', '\r', ',':
		case '[':
			arrays++
		case ']':
			arrays--
		default:
			from := line
			value, err := j.value(o, c, &line)
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return cut(from)
			} else if err != nil {
				return j.broken(line, err)
			}
			var object map[string]json.RawMessage
			bad := j.file.fail(from, "shorten it or remove it", "the object is longer than %d bytes", dataset.LongestRecord)
			if len(value) <= dataset.LongestRecord {
				if object, bad = parseObject(value); bad != nil {
					bad = j.file.fail(from, "every element must be a JSON object", "%v", bad)
				}
			}
			if err := j.add(from, object, bad); err != nil {
				return err
			}
		}
	}
}

// value reads the object, or another value, that begins with c. If it is too long, value returns
// its beginning.
func (j *jsonReader) value(o *opened, c byte, line *int) (value []byte, err error) {
	e := enclosed{}
	for object := c == '{'; ; {
		if len(value) <= dataset.LongestRecord {
			value = append(value, c)
		}
		if e.next(c); object && e.depth == 0 {
			return value, nil
		}
		if !object {
			if next, _ := o.Peek(1); len(next) == 0 || bytes.Contains([]byte(" \t\r\n,[]{"), next) {
				return value, nil
			}
		}
		if c, err = o.ReadByte(); errors.Is(err, io.EOF) {
			return nil, io.ErrUnexpectedEOF
		} else if err != nil {
			return nil, err
		}
		if c == '\n' {
			*line++
		}
	}
}

// broken is the error of a file of which the rest cannot be read.
func (j *jsonReader) broken(line int, err error) error {
	return j.file.fail(line, "it may be cut off or damaged: fetch or write it again", "it cannot be read: %v", err)
}

// parseObject parses a JSON object, or a Python literal of one. Text that is not UTF-8 is read as
// Windows-1252.
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
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		err = fmt.Errorf("it is not an object but %s: %.60s", kind.Value, text)
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

// flush announces new columns and passes the waiting objects on.
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

// fieldOf writes a JSON value as a field. The scalars of a list are joined by "|". Mongo's
// {"$date": …}, {"$oid": …} and {"$numberLong": …} are scalars.
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
			if ms, err := strconv.ParseFloat(string(field), 64); err == nil {
				field = []byte(time.UnixMilli(int64(ms)).UTC().Format(time.RFC3339Nano))
			}
			return field, nested
		}
	}
	return nil, true
}

// fromPython turns Python's output into JSON: literals such as {u'title': u'A', 'new': True}, and
// NaN, which its JSON writer does not convert.
func fromPython(text []byte) (out []byte, ok bool) {
	signs := []string{"'", "True", "False", "None", "NaN", "Infinity"}
	if !slices.ContainsFunc(signs, func(sign string) bool { return bytes.Contains(text, []byte(sign)) }) {
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
			case word == "None" || word == "NaN":
				out = append(out, "null"...)
			case word == "Infinity":
				out = append(bytes.TrimSuffix(out, []byte{'-'}), `"Infinity"`...)
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

// pythonString turns the string at the beginning of text into JSON. end is 0 where it is not
// closed.
func pythonString(text []byte) (end int, out []byte) {
	var inner []byte
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == text[0]:
			out, _ = json.Marshal(string(inner)) // a string can always be written
			return i + 1, out
		case c == '\\' && i+1 < len(text):
			value, _, rest, err := strconv.UnquoteChar(string(text[i:]), text[0])
			if err != nil { // an escape that Python keeps
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
