package app

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset/datasettest"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
)

// asRecint is the environment variable under which the test binary is the command recint, for tests
// that kill it.
const asRecint = "RECINT_TEST_CHILD"

// shared is a folder for what many tests only read.
var shared string

// TestMain fails when a test has left a native object alive. Nothing is fetched and nothing written
// outside temporary folders.
func TestMain(m *testing.M) {
	if os.Getenv(asRecint) != "" {
		os.Exit(Main(os.Args, os.Stdout, os.Stderr))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	var err error
	if shared, err = os.MkdirTemp("", "recint-app-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(shared)
	useRuntime(nil) // from the user's own folder
	os.Setenv("RECINT_HOME", filepath.Join(shared, "home"))
	code := m.Run()
	if live := cgo.Settle(); live != (cgo.LiveCounts{}) {
		fmt.Fprintf(os.Stderr, "native objects left alive: %+v\n", live)
		code = 1
	}
	if _, err := os.Stat(filepath.Join(shared, "home")); err == nil {
		fmt.Fprintln(os.Stderr, "something was fetched")
		code = 1
	}
	return code
}

// recint runs the command on one CPU thread. Words of args that begin with @ are files of the
// folder dir.
func recint(dir string, args ...string) (code int, stdout, stderr string) {
	var out, errors bytes.Buffer
	code = Main(append([]string{"recint", "--backend", "cpu", "--threads", "1"}, in(dir, args)...), &out, &errors)
	return code, out.String(), errors.String()
}

func in(dir string, args []string) []string {
	var all []string
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "@"); ok {
			arg = filepath.Join(dir, name)
		}
		all = append(all, arg)
	}
	return all
}

// runs runs the command and wants exit code 0.
func runs(t *testing.T, dir string, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := recint(dir, args...)
	if code != 0 {
		t.Fatalf("recint %v: exit code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout, stderr
}

// fails runs the command and wants an exit code, nothing on stdout, and a message with certain
// words.
func fails(t *testing.T, want int, says []string, dir string, args ...string) {
	t.Helper()
	code, stdout, stderr := recint(dir, args...)
	if code != want || stdout != "" {
		t.Errorf("recint %v: exit code %d, want %d; stdout %q, want nothing", args, code, want, stdout)
	}
	contains(t, stderr, says...)
}

func contains(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

// The commands that make what the tests use; names that begin with @ are files of the test's
// folder.
var (
	trainTiny = []string{"recommender", "train", "--data", "@data", "--out", "@sasrec.safetensors", "--width", "16",
		"--heads", "2", "--batch", "16", "--learning-rate", "0.01", "--epochs", "4"}
	alignTiny = []string{"align", "--data", "@data", "--recommender", "@sasrec.safetensors", "--llm", "@tiny.gguf",
		"--out", "@run", "--precision", "f32", "--hidden", "16", "--tokens", "2", "--batch", "4", "--warm-steps", "10"}
)

// with gives a command with more arguments; of a flag that is given twice the last one counts.
func with(args []string, more ...string) []string { return slices.Concat(args, more) }

// tinyRun makes the folder that the functions below copy: data set, LLM, recommender and trained
// run.
var tinyRun = sync.OnceValue(func() error {
	dir := filepath.Join(shared, "tiny")
	if err := datasettest.Walks().Save(filepath.Join(dir, "data")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "tiny.gguf"), gguftest.LLM(1), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{trainTiny, with(alignTiny, "--samples", "40")} {
		if code, _, stderr := recint(dir, args...); code != 0 {
			return fmt.Errorf("recint %v: exit code %d: %s", args, code, stderr)
		}
	}
	return nil
})

// tiny is the folder of tinyRun, for reading.
func tiny(t *testing.T) string {
	t.Helper()
	if err := tinyRun(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(shared, "tiny")
}

// tinyCopy is a folder of one's own with some of the files of tinyRun.
func tinyCopy(t *testing.T, names ...string) string {
	t.Helper()
	from, dir := tiny(t), t.TempDir()
	for _, name := range names {
		var err error
		if info, _ := os.Stat(filepath.Join(from, name)); info != nil && info.IsDir() {
			err = os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(from, name)))
		} else {
			var content []byte
			if content, err = os.ReadFile(filepath.Join(from, name)); err == nil {
				err = os.WriteFile(filepath.Join(dir, name), content, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
