// Package lines reads text line by line, as editors and other programs leave it.
package lines

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Mark is the byte-order mark of UTF-8, which some editors write at the beginning of a text.
var Mark = []byte("\ufeff")

// Reader reads lines that end with LF, CR LF, or, in a text without any LF near its beginning, CR.
// It skips a byte-order mark at the beginning of a line: joined files have them inside, too. Memory
// is bounded by the longest line allowed.
type Reader struct {
	r       *bufio.Reader
	longest int
	end     byte // of a line: LF or CR
	long    []byte
	line    int
}

// NewReader reads lines of up to longest bytes.
func NewReader(r io.Reader, longest int) *Reader {
	const window = 1 << 16
	l := &Reader{r: bufio.NewReaderSize(r, window), longest: longest, end: '\n'}
	if start, _ := l.r.Peek(window); !bytes.Contains(start, []byte{'\n'}) && bytes.Contains(start, []byte{'\r'}) {
		l.end = '\r'
	}
	return l
}

// Next returns the next line without its end and its number, from 1. The text is valid until the
// next call. tooLong says that only the beginning of the line is returned. The error is io.EOF
// after the last line.
func (l *Reader) Next() (line int, text []byte, tooLong bool, err error) {
	text, err = l.r.ReadSlice(l.end)
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = append(l.long[:0], text...)
		for errors.Is(err, bufio.ErrBufferFull) {
			text, err = l.r.ReadSlice(l.end)
			if room := l.longest + 1 - len(l.long); room > 0 {
				l.long = append(l.long, text[:min(room, len(text))]...)
			}
		}
		text = l.long
	}
	if err == io.EOF && len(text) > 0 {
		err = nil
	}
	if err != nil {
		return l.line, nil, false, err
	}
	l.line++
	text = bytes.TrimPrefix(text, Mark)
	text = bytes.TrimSuffix(text, []byte{l.end})
	if n := len(text); n > 0 && l.end == '\n' && text[n-1] == '\r' {
		text = text[:n-1]
	}
	if len(text) > l.longest {
		return l.line, text[:l.longest], true, nil
	}
	return l.line, text, false, nil
}
