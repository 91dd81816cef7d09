package importer

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/lines"
)

// record is one row of a source. It is valid until the next one.
type record struct {
	line   int      // from 1; of a Parquet file the row, from 1
	fields [][]byte // in the order of the header; nil for a field that is absent
	nested []bool   // fields that are lists, their values separated by "|", or objects, which are empty; nil: none are
	bad    error    // why the record cannot be used
}

// reading holds the callbacks of a format's reader: columns with the names of the fields, before
// the first record and whenever fields are added, and each for every record. Their errors end the
// reading.
type reading struct {
	columns func(header []string) error
	each    func(*record) error
	note    func(format string, args ...any) // reports what the file's types have lost
	// oneLine reports whether the field at an index must not hold a line break, and row whether the
	// fields of a line look like a record similar to an earlier line. They show how much an
	// unclosed quotation mark has swallowed.
	oneLine func(place int) bool
	row     func(fields, earlier [][]byte) bool
}

// textLine is a line that was read ahead.
type textLine struct {
	line    int
	text    []byte
	tooLong bool
}

// textReader cuts a text into records.
//
// It does not use DuckDB's CSV reader, which drops everything between two stray quotation marks,
// does not say from which line a record came, and refuses a file for one byte of Windows-1252.
type textReader struct {
	file      file
	lines     *lines.Reader
	ahead     []textLine
	separator []byte
	quoted    bool
	mark      byte // around quoted fields
	fields    [][]byte
	unquoted  []byte
}

func (f file) readText(o *opened, to reading) error {
	t := &textReader{file: f, lines: lines.NewReader(o.Reader, dataset.LongestRecord), quoted: o.format == CSV,
		separator: []byte(f.separator), mark: '"'}
	header := f.header
	if header == nil {
		first, err := t.next()
		for err == nil && blank(first.text) {
			first, err = t.next()
		}
		if errors.Is(err, io.EOF) {
			return f.fail(1, "its first line must name the columns", "the file is empty")
		} else if err != nil {
			return err
		}
		if named, ok := bytes.CutPrefix(first.text, []byte("sep=")); ok && len(named) == 1 { // as spreadsheets write it
			t.separator = bytes.Clone(named)
			if first, err = t.next(); err != nil {
				return f.fail(1, "the next line must name the columns", "the file ends after its first line")
			}
		}
		if len(t.separator) == 0 {
			t.separator = separatorOf(first.text, t.quoted)
		}
		if first.text[0] == '\'' && bytes.Contains(first.text, append([]byte{'\''}, t.separator...)) {
			t.mark = '\''
		}
		if name := first.text; len(name) > 1 && name[0] == '"' && name[len(name)-1] == '"' && f.separator == "" { // as R writes tabs
			t.quoted = true
		}
		fields, _ := t.split(first.text)
		for _, field := range fields {
			name, _ := toUTF8(bytes.TrimSpace(bytes.TrimPrefix(field, lines.Mark)))
			header = append(header, string(name))
		}
	}
	if err := to.columns(header); err != nil {
		return err
	}
	r := &record{}
	for {
		line, err := t.next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if blank(line.text) {
			continue
		}
		r.line, r.bad = line.line, nil
		if line.tooLong {
			r.fields, r.bad = nil, f.fail(line.line, "shorten it or remove it", "the line is longer than %d bytes", dataset.LongestRecord)
		} else {
			r.fields, r.bad = t.record(line, len(header), to)
		}
		if err := to.each(r); err != nil {
			return err
		}
	}
}

// blank reports whether a line holds nothing but spaces.
func blank(line []byte) bool { return len(bytes.Trim(line, " ")) == 0 }

// next returns the next line; the text of a line that was not read ahead is valid until the next
// call.
func (t *textReader) next() (textLine, error) {
	if len(t.ahead) > 0 {
		line := t.ahead[0]
		t.ahead = t.ahead[1:]
		return line, nil
	}
	line, text, tooLong, err := t.lines.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		return textLine{}, t.file.fail(line+1, "it may be cut off or damaged: fetch or write it again", "it cannot be read: %v", err)
	}
	return textLine{line, text, tooLong}, err
}

// separatorOf finds the separator in the line that names the columns: the most frequent of the
// usual ones.
func separatorOf(header []byte, quoted bool) []byte {
	if !quoted {
		return []byte{'\t'}
	}
	header = inQuotes.ReplaceAll(header, nil)
	usual := [][]byte{{','}, {';'}, {'\t'}, {'|'}, []byte("::"), {'^'}, {'~'}, {1}} // the last one is Hive's
	return slices.MaxFunc(usual, func(a, b []byte) int { return bytes.Count(header, a) - bytes.Count(header, b) })
}

var inQuotes = regexp.MustCompile(`"[^"]*"`)

// record cuts a line into its fields. A quoted field may span several lines. If a quotation mark is
// not closed, or is misplaced, the record is bad and only its first line is lost.
func (t *textReader) record(line textLine, want int, to reading) ([][]byte, error) {
	fields, closed := t.split(line.text)
	if closed && len(fields) == want+1 && len(fields[want]) == 0 { // a separator at the end of the line
		fields = fields[:want]
	}
	if closed && len(fields) == want {
		return fields, nil
	}
	if closed {
		return nil, t.file.fail(line.line, "fix the line; quote a field that holds the separator", "%d fields separated by %q, expected %d",
			len(fields), t.separator, want)
	}
	text := bytes.Clone(line.text)
	var taken []textLine
	for len(text) <= dataset.LongestField {
		more, err := t.next()
		if err != nil {
			break
		}
		more.text = bytes.Clone(more.text)
		taken = append(taken, more)
		if more.tooLong || t.looksWhole(more.text, line.text, want, to) {
			break
		}
		text = append(append(text, '\n'), more.text...)
		if bytes.IndexByte(more.text, t.mark) < 0 {
			continue
		}
		if fields, closed = t.split(text); closed {
			break
		}
	}
	whole := closed && len(fields) == want
	for at, field := range fields {
		whole = whole && !(to.oneLine(at) && bytes.IndexByte(field, '\n') >= 0)
	}
	if whole {
		return fields, nil
	}
	t.ahead = append(taken, t.ahead...)
	if plain := bytes.Split(line.text, t.separator); t.separator[0] == '\t' && len(plain) == want {
		return plain, nil // fields between tabs are seldom quoted, so the mark is part of the field: "A" Film
	}
	return nil, t.file.fail(line.line, `remove the mark, or close it; inside a quoted field it is written ""`,
		"a quotation mark is not closed, or something follows the one that closes a field")
}

// looksWhole reports whether a line inside quotation marks that an earlier line opened is itself a
// record.
func (t *textReader) looksWhole(text, earlier []byte, want int, to reading) bool {
	if want == 1 || bytes.Count(text, t.separator) != want-1 {
		return false
	}
	return to.row(bytes.Split(text, t.separator), bytes.Split(earlier, t.separator))
}

// doubled is a field in quotation marks with others, doubled, inside.
var doubled = regexp.MustCompile(`(?s)^"(?:[^"]|"")*""(?:[^"]|"")*"$`)

// split cuts text at the separators. closed is false where a quotation mark is not closed, or is
// not followed by a separator. A quotation mark inside a quoted field is doubled or, in other
// dialects, escaped by a backslash.
func (t *textReader) split(text []byte) (fields [][]byte, closed bool) {
	t.fields = t.fields[:0]
	if !t.quoted || bytes.IndexByte(text, t.mark) < 0 {
		for rest, more := text, true; more; {
			var field []byte
			field, rest, more = bytes.Cut(rest, t.separator)
			// Some programs quote only fields with a quotation mark in them.
			if !t.quoted && t.file.separator == "" && len(field) > 3 && field[0] == '"' && doubled.Match(field) {
				field = bytes.ReplaceAll(field[1:len(field)-1], []byte(`""`), []byte{'"'})
			}
			t.fields = append(t.fields, field)
		}
		return t.fields, true
	}
	if t.splitQuoted(text, t.mark) || t.splitQuoted(text, '\\') {
		return t.fields, true
	}
	return t.fields, false
}

// splitQuoted is split where escape precedes a quotation mark that is a character.
func (t *textReader) splitQuoted(text []byte, escape byte) bool {
	t.fields, t.unquoted = t.fields[:0], t.unquoted[:0]
	marks := string([]byte{t.mark, escape})
	for {
		start := bytes.TrimLeft(text, " ")
		if len(start) == 0 || start[0] != t.mark {
			field, rest, more := bytes.Cut(text, t.separator)
			t.fields = append(t.fields, field)
			if text = rest; !more {
				return true
			}
			continue
		}
		text = start[1:]
		from := len(t.unquoted)
		for {
			at := bytes.IndexAny(text, marks)
			if at < 0 {
				return false
			}
			t.unquoted = append(t.unquoted, text[:at]...)
			escaped := text[at] == escape && at+1 < len(text) && text[at+1] == t.mark
			if !escaped && text[at] == t.mark {
				text = text[at+1:]
				break
			}
			if escaped {
				at++
			}
			t.unquoted = append(t.unquoted, text[at])
			text = text[at+1:]
		}
		t.fields = append(t.fields, t.unquoted[from:len(t.unquoted):len(t.unquoted)])
		text = bytes.TrimLeft(text, " ")
		if len(text) == 0 {
			return true
		}
		var more bool
		if text, more = bytes.CutPrefix(text, t.separator); !more {
			return false
		}
	}
}

// recBoleName cuts RecBole's type from the name of a column: "item_id:token".
func recBoleName(name string) (short, kind string) {
	short, kind, _ = strings.Cut(name, ":")
	switch kind {
	case "token", "token_seq", "float", "float_seq":
		return short, kind
	}
	return name, ""
}
