package artifact

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

type header struct {
	Label string   `json:"label"`
	N     int      `json:"n"`
	Parts []string `json:"parts"`
}

type record struct {
	Text string `json:"text"`
}

func all(records []record) (int, error) { return len(records), nil }

// A journal that a kill cut at any byte continues to the bytes of an uninterrupted one.
func TestJournal_goesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	h := header{"a", 3, []string{"x"}}
	records := []record{{"one"}, {"<two>\n"}, {"drei, ü"}}
	write := func(check func([]record) (int, error)) {
		t.Helper()
		j, err := OpenJournal(path, h, check)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(j.Append(records[len(j.Records):]...), j.Close()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(j.Records, records) {
			t.Errorf("%q, want %q", j.Records, records)
		}
	}
	write(all)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		if err := os.WriteFile(path, whole[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		write(func(records []record) (int, error) { return len(records) / 2 * 2, nil }) // in pairs
		if got, err := os.ReadFile(path); err != nil || string(got) != string(whole) {
			t.Fatalf("cut at byte %d: %v, %q, want %q", cut, err, got, whole)
		}
	}
	if err := os.WriteFile(path, whole[:len(whole)-1], 0o644); err != nil {
		t.Fatal(err)
	}
	j, err := ReadJournal[header, record](path)
	if err != nil || !reflect.DeepEqual(j.Header, h) || !reflect.DeepEqual(j.Records, records[:2]) {
		t.Errorf("%+v, %v", j, err)
	}
}

func TestJournal_refuses(t *testing.T) {
	const first, second = `{"label":"a","n":1,"parts":null}` + "\n", `{"text":"b"}` + "\n"
	none := func([]record) (int, error) { return 0, errors.New("line 2: it does not belong") }
	for content, c := range map[string]struct {
		check func([]record) (int, error)
		says  string
	}{
		"my notes":                        {all, "line 1: no whole line is here"},
		"my notes\n":                      {all, "line 1, column 1: invalid character"},
		"{\"colour\": 1}\n":               {all, `there is no key "colour"`},
		`{"label":"b","n":1}` + "\n":      {all, `line 1: it was made from something else: label was "b", is "a"`},
		first + "nothing\n" + second:      {all, "line 2: invalid character"},
		first + second + "{\"text\":1}\n": {all, "line 3: json: cannot unmarshal number"},
		first + second:                    {none, "line 2: it does not belong"},
	} {
		path := filepath.Join(t.TempDir(), "a.jsonl")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := OpenJournal(path, header{"a", 1, nil}, c.check)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.says) ||
			!strings.Contains(err.Error(), "move the file away") {
			t.Errorf("%q: %v, want %q", content, err, c.says)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("%q was changed: %q, %v", content, got, err)
		}
		lock, err := Claim(path)
		if err != nil {
			t.Fatalf("a refused file stays locked: %v", err)
		}
		lock.Release()
	}
	if _, err := ReadJournal[header, record](filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// While one writes, another is kept out; without a path nothing is written.
func TestJournal_holds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	j, err := OpenJournal(path, header{}, all)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(path, header{}, all); err == nil || !strings.Contains(err.Error(), "is being written by process") {
		t.Errorf("twice: %v", err)
	}
	if err := j.Append(record{"a"}); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	memory, err := OpenJournal("", header{}, all)
	if err != nil || memory.Append(record{"a"}) != nil || len(memory.Records) != 1 || memory.Close() != nil {
		t.Errorf("%+v, %v", memory, err)
	}
}

// A line that cannot be written leaves the lines before it whole, and nothing is written after it.
func TestLines_broken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	lines, err := OpenLines(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := lines.Append("a"); err != nil || lines.Length() != 4 {
		t.Fatalf("%v, %d bytes", err, lines.Length())
	}
	if err := lines.Append("b", make(chan int)); err == nil || lines.Length() != 4 {
		t.Errorf("a channel is no JSON: %v, %d bytes", err, lines.Length())
	}
	if err := lines.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := lines.Append("b"); err == nil || !strings.Contains(err.Error(), "cannot be written") {
			t.Errorf("a closed file: %v", err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "\"a\"\n" {
		t.Errorf("%q, %v", got, err)
	}
	if lines, err = OpenLines(path, 2); err != nil || lines.Append(1) != nil || lines.Close() != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "\"a1\n" {
		t.Errorf("%q, %v", got, err)
	}
}
