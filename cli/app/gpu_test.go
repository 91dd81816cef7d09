package app

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/bench"
)

// gpu runs bench/gpu.sh on the CPU, with tiny sizes.
func gpu(t *testing.T, dir string, args ...string) (steps string) {
	t.Helper()
	command := exec.Command("bash", in(dir, with([]string{filepath.Join("..", "..", "bench", "gpu.sh"), "run", "--dry", "--work", "@work"}, args...))...)
	command.Env = append(os.Environ(), asRecint+"=1", "RECINT="+os.Args[0], "DATA="+filepath.Join(dir, "data"),
		"TOKENIZER="+filepath.Join(dir, "tiny.gguf"), "PYTHON=none")
	said, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return string(said)
}

// The script for a GPU does everything on the CPU, keeps what is finished, and sums it up.
func TestGPUScript(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	dir := tinyCopy(t, "data", "tiny.gguf")
	steps := gpu(t, dir, "@out")
	for _, name := range []string{"device", "check", "wrong", "train-tiny", "generate-tiny", "train-larger", "evaluate", "converged-sasrec",
		"converged-dreamrec", "encoder", "generate-larger", "sweep"} {
		if !regexp.MustCompile(`(?m)^` + name + `: done in \d+ s$`).MatchString(steps) {
			log, _ := os.ReadFile(filepath.Join(dir, "out", name+".log"))
			t.Errorf("%s is not done:\n%s\n%s", name, steps, log)
		}
	}
	results, err := filepath.Glob(filepath.Join(dir, "out", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range results {
		if strings.Contains(path, "converged-") {
			continue
		}
		if r, err := bench.Read(path); err != nil || r.Machine.Backend != "portable" {
			t.Errorf("%s: %v", path, err)
		}
		n++
	}
	summary, err := os.ReadFile(filepath.Join(dir, "out", "summary.md"))
	if err != nil || n != 7 {
		t.Fatalf("%d results, want 7; %v", n, err)
	}
	contains(t, string(summary), "GGML_CUDA_PDL=0: 0 of 2 runs were wrong", "## train-tiny", "## generate-larger", "all of it: ")
	if _, err := os.Stat(filepath.Join(dir, "out", "results.tar.gz")); err != nil {
		t.Error(err)
	}

	if again := gpu(t, dir, "@out2"); strings.Count(again, "done before") != 13 {
		t.Errorf("steps that were done are done again:\n%s", again)
	}
	cut := gpu(t, dir, "--minutes", "0.1", "--work", "@work3", "@out3")
	contains(t, cut, "no time left")
}

// On a GPU an update is one pass through the LLM unless passes are bounded, and a run that is
// continued keeps its passes. A GPU that computes nothing stands for one and counts.
func TestAlign_wholeUpdatesOnAGPU(t *testing.T) {
	counting, err := filepath.Abs(filepath.Join("..", "..", "build", "native", "lib", "libcounting_gpu.so"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(counting); err != nil {
		t.Skip(err)
	}
	dir := tinyCopy(t, "data", "tiny.gguf", "sasrec.safetensors")
	graphs := func(more ...string) string { // of an update
		args := slices.Concat([]string{"--backend", "made-up"}, alignTiny, []string{"--samples", "32", "--validate-every", "0", "--warm-steps", "0"}, more)
		command := exec.Command(os.Args[0], in(dir, args)...)
		command.Env = append(os.Environ(), asRecint+"=1", "GGML_BACKEND_PATH="+counting)
		said, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		found := regexp.MustCompile(`(?m)^updates\t\d+\t(graphs [\d.]+)`).FindSubmatch(said)
		if found == nil {
			return "none"
		}
		return string(found[1])
	}
	if got := graphs(); got != "graphs 1.00" {
		t.Errorf("an update takes %s", got)
	}
	if got := graphs(); got != "none" {
		t.Errorf("a run that is done takes %s", got)
	}
	if got := graphs("--out", "@short", "--pass-positions", "40"); got == "graphs 1.00" {
		t.Errorf("an update of short passes takes %s", got)
	}
	graphs("--out", "@short") // is no other run
}
