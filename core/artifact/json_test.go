package artifact

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"
)

type document struct {
	Name  string    `json:"name"`
	Count int       `json:"count"`
	Seed  uint64    `json:"seed"`
	List  []string  `json:"list"`
	Far   []float32 `json:"far"`
	Inner struct {
		On bool `json:"on"`
	} `json:"inner"`
}

// Byte-order marks of Windows editors change nothing.
func TestReadJSON_byteOrderMarks(t *testing.T) {
	const text = "{\"name\": \"né\", \"count\": 3}\r\n"
	wide := func(order func(unit uint16) []byte) (data []byte) {
		for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
			data = append(data, order(unit)...)
		}
		return data
	}
	for name, data := range map[string][]byte{
		"none": []byte(text), "UTF-8": []byte("\ufeff" + text),
		"UTF-16LE": wide(func(u uint16) []byte { return []byte{byte(u), byte(u >> 8)} }),
		"UTF-16BE": wide(func(u uint16) []byte { return []byte{byte(u >> 8), byte(u)} }),
	} {
		path := filepath.Join(t.TempDir(), "a.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var got document
		if err := ReadJSON(path, &got, KnownKeys); err != nil || !reflect.DeepEqual(got, document{Name: "né", Count: 3}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// Errors name the place, and speak of JSON.
func TestParseJSON_errors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "line 1, column 1: nothing is here",
		"  \n ":                            "nothing is here",
		`{"name": "a"`:                     "line 1, column 13: the text ends before its JSON value does",
		"{\n  \"name\": 'a'}":              "line 2, column 11: invalid character '\\''",
		`{"name": "a",}`:                   "line 1, column 14: invalid character '}'",
		`{"count": 3.5}`:                   "count is 3.5; it must be a whole number",
		`{"count": "3"}`:                   "count is a text; it must be a whole number",
		`{"seed": -1}`:                     "seed is -1; it must be a whole number of 0 or more",
		"{\"name\": \"é\",\n \"list\": 3}": "line 2, column 10: list is a number; it must be a list",
		`{"list": [1]}`:                    "list is a number; it must be a text in quotes",
		`{"far": [1e39]}`:                  "far is 1e39; it must be a number within its range",
		`{"inner": {"on": 1}}`:             "inner.on is a number; it must be true or false",
		`{"inner": []}`:                    "inner is a list; it must be an object",
		`[]`:                               "the value is a list; it must be an object",
		"{\"name\": \"a\",\n\"nome\": 1}":  `line 2, column 1: there is no key "nome" here`,
		"{}\n{}":                           "line 2, column 1: the JSON value ends before this",
		"{\"name\": \"\xff\"}":             "line 1, column 11: this is not UTF-8",
	} {
		var got document
		if err := ParseJSON([]byte(text), &got, KnownKeys); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "Go ") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	var got document
	if err := ParseJSON([]byte(`{"name": "a", "new": 1}`), &got, AnyKeys); err != nil || got.Name != "a" {
		t.Errorf("%+v, %v", got, err)
	}
}
