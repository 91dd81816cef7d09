package app

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// server is recint serve in a process of its own.
type server struct {
	*exec.Cmd
	url  string
	logs chan string // lines, closed at the end
}

// serves starts the command and waits until it answers.
func serves(t *testing.T, dir string, args ...string) *server {
	t.Helper()
	s := starts(t, dir, args...)
	s.url = "http://" + s.logged(t, "serving").Address
	return s
}

// starts starts the command.
func starts(t *testing.T, dir string, args ...string) *server {
	t.Helper()
	args = with([]string{"--backend", "cpu", "--threads", "1", "serve", "--listen", "127.0.0.1:0"}, args...)
	s := &server{Cmd: exec.Command(os.Args[0], in(dir, args)...), logs: make(chan string, 1<<16)}
	s.Env = append(os.Environ(), asRecint+"=1")
	stderr, err := s.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill() })
	go func() {
		defer close(s.logs)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			s.logs <- lines.Text()
		}
	}()
	return s
}

// logLine is what the tests read of the log.
type logLine struct{ Msg, Address string }

// logged waits for a line of the log.
func (s *server) logged(t *testing.T, message string) (line logLine) {
	t.Helper()
	for text := range s.logs {
		if json.Unmarshal([]byte(text), &line) != nil {
			t.Fatalf("the log says %q", text)
		}
		if line.Msg == message {
			return line
		}
	}
	t.Fatalf("the log ends without %q", message)
	return line
}

// post makes a request and leaves no connection open.
func (s *server) post(path, body string) (int, string, error) {
	r, err := http.NewRequest("POST", s.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Close = true
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// Runs are served, loaded again at SIGHUP, and SIGTERM under load ends the command well, with all
// that was accepted answered.
func TestServe(t *testing.T) {
	dir := tiny(t)
	s := serves(t, dir, "@run", "again="+filepath.Join(dir, "run"))
	var answered, stopping atomic.Int64
	var all sync.WaitGroup
	for _, name := range []string{"run", "again", "", "run"} {
		all.Go(func() {
			for {
				status, text, err := s.post("/v1/interpret", `{"run":"`+name+`","history":["1","2","3"]}`)
				if err != nil && stopping.Load() == 1 {
					return
				}
				if err != nil || status != http.StatusOK || !strings.Contains(text, `"tokens"`) {
					t.Errorf("%q: %d %s %v", name, status, text, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	more := func() {
		for before, end := answered.Load(), time.Now().Add(time.Minute); answered.Load() < before+8; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("no answers")
			}
		}
	}
	more()
	if err := s.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.logged(t, "runs were loaded again")
	more()
	stopping.Store(1)
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	for range s.logs {
	}
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}

// A SIGHUP that comes while runs are loaded does not end the command: they are loaded again when it
// has begun to serve.
func TestServe_hangupWhileLoading(t *testing.T) {
	dir := tinyCopy(t, "data", "tiny.gguf", "sasrec.safetensors", "run")
	spec, kept := filepath.Join(dir, "run", "run.json"), filepath.Join(dir, "kept.json")
	content, err := os.ReadFile(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(spec, kept), syscall.Mkfifo(spec, 0o600)); err != nil {
		t.Fatal(err)
	}
	s := starts(t, dir, "@run")
	var pipe *os.File // whose other end the command holds, waiting
	for end := time.Now().Add(time.Minute); pipe == nil; time.Sleep(time.Millisecond) {
		if pipe, err = os.OpenFile(spec, os.O_WRONLY|syscall.O_NONBLOCK, 0); time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if err := s.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	_, err = pipe.Write(content)
	if err := errors.Join(err, os.Rename(kept, spec), pipe.Close()); err != nil {
		t.Fatal(err)
	}
	s.logged(t, "serving")
	s.logged(t, "runs were loaded again")
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range s.logs {
	}
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}

func TestServe_refusals(t *testing.T) {
	dir := tinyCopy(t, "data", "tiny.gguf", "sasrec.safetensors", "run")
	for name, text := range map[string]string{"short": "abc\n", "empty": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fails(t, 2, []string{"name the runs"}, dir, "serve")
	fails(t, 2, []string{"belong together"}, dir, "serve", "@run", "--tls-cert", "@short")
	fails(t, 1, []string{"--tls-cert"}, dir, "serve", "@run", "--tls-cert", "@short", "--tls-key", "@short")
	fails(t, 1, []string{"at least 16"}, dir, "serve", "@run", "--api-keys", "@short")
	fails(t, 1, []string{"holds no key"}, dir, "serve", "@run", "--api-keys", "@empty")
	fails(t, 1, []string{"--listen"}, dir, "serve", "@run", "--listen", "127.0.0.1:99999")
	fails(t, 1, []string{"no keys"}, dir, "serve", "@no-run", "--listen", "0.0.0.0:0") // before a run is looked at
	fails(t, 1, []string{"slots are 5 to 1020"}, dir, "serve", "@run", "--listen", "127.0.0.1:0", "--slots", "3")
	fails(t, 1, []string{"is empty or taken"}, dir, "serve", "@run", "@run", "--listen", "127.0.0.1:0")
	fails(t, 1, []string{"no-run"}, dir, "serve", "@no-run", "--listen", "127.0.0.1:0")
}

// A byte-order mark is no part of the first key.
func TestServeKeys_mark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.txt")
	write(t, path, []byte("\ufeff0123456789abcdef\r\n"))
	if got, err := keys(path); err != nil || !slices.Equal(got, []string{"0123456789abcdef"}) {
		t.Errorf("%q, %v", got, err)
	}
}
