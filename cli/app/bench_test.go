package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A bench without peers prints its figures, and leaves a result that can be compared with another
// and put on a page.
func TestBench(t *testing.T) {
	dir := tinyCopy(t, "data", "tiny.gguf")
	for _, name := range []string{"before", "after"} {
		stdout, _ := runs(t, dir, "bench", "adapter", "--data", "@data", "--llm", "@tiny.gguf", "--rounds", "1", "--format", "markdown",
			"--out", "@"+name+".json")
		contains(t, stdout, "**adapter**", "| soft tokens of one state | recint |", "p99", "Multiply-adds in registers", "1 threads",
			"median of 1 rounds")
	}
	stdout, stderr := runs(t, dir, "bench", "compare", "@before.json", "@after.json")
	contains(t, stdout, "soft tokens of 256 states", "too few rounds to tell")
	if strings.Contains(stderr, "different machines") {
		t.Errorf("the same machine is taken for another: %s", stderr)
	}
	runs(t, dir, "bench", "page", "--out", "@page.md", "@before.json")
	page, err := os.ReadFile(filepath.Join(dir, "page.md"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(page), "## before", "**adapter**", "not to be edited")
}

func TestBench_refusals(t *testing.T) {
	dir := tinyCopy(t, "data", "tiny.gguf")
	if err := os.WriteFile(filepath.Join(dir, "other.json"), []byte(`{"machine": {}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"known are table":                     {"bench", "adapter", "--format", "yaml"},
		"what it can vary: batch, threads":    {"bench", "train", "--sweep", "length", "--data", "@data", "--llm", "@tiny.gguf"},
		"cannot be written":                   {"bench", "adapter", "--rounds", "1", "--out", "/none/x.json", "--data", "@data", "--llm", "@tiny.gguf"},
		"name the folder of one":              {"bench", "latency", "--data", "@data", "--llm", "@tiny.gguf"},
		"bulk is measured on a trained run":   {"bench", "bulk", "--data", "@data", "--llm", "@tiny.gguf"},
		"known are pytorch":                   {"bench", "adapter", "--peer", "jax", "--data", "@data", "--llm", "@tiny.gguf"},
		"needs @none, which is not there":     {"bench", "adapter", "--peer", "pytorch", "--python", "@none", "--data", "@data", "--llm", "@tiny.gguf"},
		"name two results":                    {"bench", "compare", "@other.json"},
		"holds no figures":                    {"bench", "compare", "@other.json", "@other.json"},
		"is no result of recint bench":        {"bench", "compare", "@tiny.gguf", "@other.json"},
		"name the results":                    {"bench", "page", "--out", "x.md"},
		"name the page that is to be written": {"bench", "page", "@other.json"},
		"plots end in .png or .svg":           {"bench", "adapter", "--rounds", "1", "--sweep", "threads", "--plot", "x.pdf", "--data", "@data", "--llm", "@tiny.gguf"},
		"add --sweep":                         {"bench", "adapter", "--rounds", "1", "--plot", "x.svg", "--data", "@data", "--llm", "@tiny.gguf"},
	} {
		code, _, stderr := recint(dir, args...)
		if want = strings.Replace(want, "@", dir+"/", 1); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, %q; want %q", args, code, stderr, want)
		}
	}
}
