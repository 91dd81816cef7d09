package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// ReadText reads a whole text file. A byte-order mark, as Windows editors write it, says whether
// the file is UTF-8 or UTF-16, and is removed; without one the file is UTF-8.
func ReadText(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decodeText(data)
}

func decodeText(data []byte) ([]byte, error) {
	text, _, err := transform.Bytes(unicode.BOMOverride(transform.Nop), data)
	return text, err
}

// Keys says how to treat keys of a JSON object that have no field in the struct.
type Keys bool

// KnownKeys refuses unknown keys, because their author expects an effect that they would not have.
// AnyKeys skips them, for files of other versions of the program.
const (
	KnownKeys Keys = false
	AnyKeys   Keys = true
)

// ReadJSON reads a file that holds one JSON value. Its errors name the file, the line and the
// column.
func ReadJSON(path string, v any, keys Keys) error {
	text, err := ReadText(path)
	if err != nil {
		return err
	}
	if err := ParseJSON(text, v, keys); err != nil {
		return fmt.Errorf("%s, %w", path, err)
	}
	return nil
}

// ParseJSON reads one JSON value, with or without a byte-order mark. Errors are sentences about
// JSON, not about Go's types, and begin with the place: "line 3, column 7: …".
func ParseJSON(text []byte, v any, keys Keys) error {
	text, err := decodeText(text)
	if err != nil {
		return err
	}
	if !utf8.Valid(text) {
		return fmt.Errorf("%s: this is not UTF-8; save the text as UTF-8", place(text, int64(bytes.IndexRune(text, utf8.RuneError))))
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if keys == KnownKeys {
		decoder.DisallowUnknownFields()
	}
	if err := decoder.Decode(v); err != nil {
		return explainJSON(text, err)
	}
	end := decoder.InputOffset()
	if rest := bytes.TrimSpace(text[end:]); len(rest) > 0 {
		return fmt.Errorf("%s: the JSON value ends before this; one value is expected", place(text, int64(bytes.Index(text[end:], rest))+end))
	}
	return nil
}

// explainJSON rewrites the decoder's error as a sentence with its place.
func explainJSON(text []byte, err error) error {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	const unknown = "json: unknown field "
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return fmt.Errorf("%s: nothing is here; a JSON value is expected", place(text, 0))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the text ends before its JSON value does", place(text, int64(len(text))))
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: %s", place(text, syntax.Offset-1), syntax.Error())
	case errors.As(err, &wrong):
		field := wrong.Field
		if field == "" {
			field = "the value"
		}
		return fmt.Errorf("%s: %s is %s; it must be %s", place(text, wrong.Offset-1), field, given(wrong.Value), expected(wrong.Type))
	case strings.HasPrefix(err.Error(), unknown):
		key := strings.TrimPrefix(err.Error(), unknown)
		return fmt.Errorf("%s: there is no key %s here; remove it, or correct its name", place(text, int64(bytes.Index(text, []byte(key)))), key)
	}
	return err
}

// place is the line and the column of an offset, counted from 1 in characters.
func place(text []byte, offset int64) string {
	before := text[:max(0, min(offset, int64(len(text))))]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return fmt.Sprintf("line %d, column %d", 1+bytes.Count(before, []byte("\n")), 1+utf8.RuneCount(line))
}

// given names the JSON value in the text, from the decoder's word for it.
func given(value string) string {
	word, literal, _ := strings.Cut(value, " ")
	switch word {
	case "array":
		return "a list"
	case "object":
		return "an object"
	case "bool":
		return "true or false"
	case "string":
		return "a text"
	}
	if literal != "" {
		return literal
	}
	return "a " + word
}

// expected names the JSON that a Go type is read from.
func expected(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text in quotes"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number within its range"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number of 0 or more"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Slice, reflect.Array:
		return "a list"
	}
	return "an object"
}
