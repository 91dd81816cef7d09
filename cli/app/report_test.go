package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/report"
	"github.com/recinterpreter/recinterpreter/core/task"
)

func TestReport(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf", "run")
	runs(t, dir, "evaluate", "residual", "--run", "@run", "--samples", "9")
	runs(t, dir, "evaluate", "residual", "--run", "@run", "--samples", "4", "--no-controls")
	cut := filepath.Join(dir, "run", "residual-4-1-no-controls.jsonl")
	text := read(t, cut)
	write(t, cut, []byte(text[:len(text)-20]))

	stdout, _ := runs(t, dir, "report", "@run", "--out", "@page.html")
	contains(t, stdout, "page.html")
	page := read(t, filepath.Join(dir, "page.html"))
	contains(t, page, "<h2>run</h2>", "sasrec.safetensors", "tiny.gguf, frozen", "memory (lookup), 2 soft tokens", "<polyline", "own states",
		"restricted to allowed answers", "among the 5 likeliest titles", "control: zero state", "residual-9-1.jsonl", "The ",
		"residual-4-1-no-controls.jsonl", "continues it")
	if outside := regexp.MustCompile(`(?i)(src|href)\s*=|https?://|@import|url\(`).FindString(page); outside != "" {
		t.Errorf("the page asks for something outside it: %q", outside)
	}

	var r struct {
		Runs []struct {
			Training, Validation []report.Point
			Residual             []task.ResidualSection
			Unfinished           []string
		}
	}
	decode(t, filepath.Join(dir, "page.json"), &r)
	if len(r.Runs) != 1 || len(r.Runs[0].Residual) == 0 || len(r.Runs[0].Unfinished) != 1 || len(r.Runs[0].Training) == 0 ||
		len(r.Runs[0].Validation) == 0 {
		t.Fatalf("%+v", r)
	}
	at := slices.IndexFunc(r.Runs[0].Residual, func(one task.ResidualSection) bool { return one.File == "residual-9-1.jsonl" })
	if at < 0 {
		t.Fatalf("%+v", r.Runs[0].Residual)
	}
	residual := r.Runs[0].Residual[at]
	if residual.Result.N != 9 || len(residual.Answers) != 9 || len(residual.Answers[0].Restricted.Others) != 4 {
		t.Errorf("%+v", residual)
	}
	for name, groups := range map[string][]task.Group{"popularity": residual.ByPopularity, "history": residual.ByHistory} {
		n, hits, restricted := 0, 0, 0
		for _, g := range groups {
			n, hits, restricted = n+g.Free.N, hits+g.Free.Hits, restricted+g.Restricted.Hits
		}
		if n != 9 || hits != residual.Result.Conditions[0].Exact.Hits || restricted != residual.Result.Conditions[1].Exact.Hits {
			t.Errorf("by %s: %d samples, %d and %d right: %+v", name, n, hits, restricted, groups)
		}
	}
	for _, a := range residual.Answers {
		named := a.Restricted.Text == a.Titles[0] || slices.Contains(a.Restricted.Others, a.Titles[0])
		if (a.Kind == task.Near) != (named && a.Kind != task.Right) {
			t.Errorf("%+v", a)
		}
		if len(a.Free.LogProbs) < len(a.Free.Tokens) || len(a.Restricted.LogProbs) != len(a.Restricted.Tokens)+1 {
			t.Errorf("%+v", a)
		}
	}

	fails(t, 2, []string{"end in .html"}, dir, "report", "@run", "--out", "@page")
	fails(t, 2, []string{"--out is missing", "report.html"}, dir, "report", "@run")
	fails(t, 2, []string{"one or more runs"}, dir, "report", "--out", "@page.html")
	fails(t, 1, []string{"run.json"}, dir, "report", "@data", "--out", "@page.html")
	if err := os.Remove(filepath.Join(dir, "run", "adapter.safetensors")); err != nil {
		t.Fatal(err)
	}
	runs(t, dir, "report", "@run", "--out", "@early.html")
	if page := read(t, filepath.Join(dir, "early.html")); !strings.Contains(page, "training has not ended") {
		t.Error("a run without an adapter is not told as what it is")
	}
}

func decode(t *testing.T, path string, value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, path)), value); err != nil {
		t.Fatal(err)
	}
}

func TestReproduce_plan(t *testing.T) {
	dir := tinyCopy(t, "data", "tiny.gguf")
	plan := []string{"reproduce", "--plan", "--data", "@data", "--llm", "@tiny.gguf", "--out", "@all"}
	_, stderr := runs(t, dir, with(plan, "--budget", "4h")...)
	contains(t, stderr, "GRU4Rec", "epochs of", "measured", "residual-dreamrec", "item-dreamrec", "recovery-positions",
		"up to 1000 test sequences for each run, 300 oracles", "the judge", "tiny.gguf, the same LLM", "in all")
	if exists(filepath.Join(dir, "all")) {
		t.Error("a plan makes a folder")
	}
	fails(t, 2, []string{"--budget", "at least 15m"}, dir, with(plan, "--budget", "5m")...)
	fails(t, 2, []string{"--budget", "soon"}, dir, with(plan, "--budget", "soon")...)
	fails(t, 2, []string{"--endpoint and --model"}, dir, with(plan, "--model", "m")...)
}
