package app

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// A prompt of one's own is shown token by token, with where the soft tokens stand.
func TestPromptShow(t *testing.T) {
	dir := tinyCopy(t, "tiny.gguf")
	write(t, filepath.Join(dir, "mine.json"),
		[]byte(`{"name":"mine","asks":"last item","texts":["Name it.","Which?"],"reply":"<{before}|{after}>"}`))
	stdout, _ := runs(t, dir, "prompt", "show", "--llm", "@tiny.gguf", "--prompt", "@mine.json", "--tokens", "2", "--answer", "So")
	contains(t, stdout, "wording 1 of 2:", "wording 2 of 2:", `prefix`, `"<|im_start|>"`, "soft token 2 of 2, {before}",
		"soft token 1 of 2, {after}", `answer`, `"<|im_end|>"`)
	if soft := strings.Count(stdout, "soft token"); soft != 8 {
		t.Errorf("%d soft tokens in\n%s", soft, stdout)
	}
	stdout, _ = runs(t, dir, "prompt", "show", "--llm", "@tiny.gguf", "--prompt", "recovery", "--tokens", "1", "--states", "3")
	contains(t, stdout, "{state}, state 3 of 3")
	fails(t, 1, []string{"known are residual"}, dir, "prompt", "show", "--llm", "@tiny.gguf", "--prompt", "none")
	fails(t, 2, []string{"1 or more"}, dir, "prompt", "show", "--llm", "@tiny.gguf", "--states", "0")
	write(t, filepath.Join(dir, "mine.json"), []byte(`{"name":"mine","asks":"the weather","texts":["{state}"]}`))
	fails(t, 1, []string{"mine.json", "the weather", "last item"}, dir, "prompt", "show", "--llm", "@tiny.gguf", "--prompt", "@mine.json")
}

// Recovery through the kinds of adapters that read all states, from the plan to the answers.
func TestRecovery(t *testing.T) {
	for _, kind := range []adapter.Kind{"mixture", "positions", "retrieval"} {
		t.Run(string(kind), func(t *testing.T) {
			dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf")
			flags := []string{"--prompt", "recovery", "--adapter", string(kind), "--samples", "16", "--pass-positions", "40"}
			if kind == "mixture" {
				fails(t, 2, []string{"a mixture has no warm start"}, dir, append(without(alignTiny, "--out"), flags...)...)
				flags = append(flags, "--warm-steps", "0", "--hidden", "0")
			}
			var plan align.Estimate
			parses(t, &plan, dir, append(without(alignTiny, "--out"), append(flags, "--json")...)...)
			if plan.Weights == 0 || plan.Pass == 0 || plan.Positions < 10 || !(plan.Rate > 0 && plan.Minutes > 0) || plan.Samples != 16 || !plan.Fits {
				t.Errorf("%+v", plan)
			}
			stdout, _ := runs(t, dir, append(without(alignTiny, "--out"), flags...)...)
			contains(t, stdout, "matrices and their transposes", "in all", "MiB", "samples/s", "16 samples in", "for the warm start")

			stdout, stderr := runs(t, dir, with(alignTiny, flags...)...)
			contains(t, stdout, "validation loss", "peak memory")
			contains(t, stderr, "expecting ")
			stdout, stderr = runs(t, dir, "evaluate", "recovery", "--run", "@run", "--samples", "3")
			contains(t, stdout, "items recovered on the test split", "n = 3", "adapter "+string(kind), "mean, exact", "more than 5",
				"own states", "control: zero state", "samples by the number of items recovered")
			contains(t, stderr, "answering: 12 of 12 samples")
			var r task.Recovery
			parses(t, &r, dir, "evaluate", "recovery", "--run", "@run", "--samples", "3", "--json")
			if r.N != 3 || len(r.Conditions) != 4 || len(r.Conditions[0].Exact.Histogram) < 4 {
				t.Errorf("%+v", r)
			}
			runs(t, dir, "report", "@run", "--out", "@page.html")
			contains(t, read(t, filepath.Join(dir, "page.html")), "Recovery: the history back", "class=\"bar\"", "more than 5")
			fails(t, 1, []string{"asks for the history, not for the last item", "recint evaluate --run "}, dir, "evaluate", "residual", "--run", "@run")
			var said struct {
				History     []string
				Said        []evaluate.Line
				Probability float64
				Sampling    *interpret.Sampling
				Unlike      bool
			}
			parses(t, &said, dir, "interpret", "--run", "@run", "--user", "100", "--json")
			if len(said.History) != 10 || !(said.Probability >= 0) || said.Sampling != nil {
				t.Errorf("%+v", said)
			}
			stdout, _ = runs(t, dir, "interpret", "--run", "@run", "--user", "100")
			contains(t, stdout, "user 100:", "read from the state", "actual")
			fails(t, 1, []string{"asks for the last item", "asks for the history"}, dir, "interpret", "--run", "@run", "--user", "100",
				"--titles", "5")

			stdout, _ = runs(t, dir, "adapter", "info", "--adapter", "@run/adapter.safetensors")
			writes := map[adapter.Kind]string{"retrieval": "of which it looks up 10", "mixture": "of 10 states", "positions": "2 soft tokens"}[kind]
			contains(t, stdout, string(kind), "states 16 wide", writes, "on 16 samples", "recovery, which asks for the history")
			stdout, _ = runs(t, dir, "adapter", "export", "--adapter", "@run/adapter.safetensors", "--out", "@new/plain.safetensors")
			contains(t, stdout, "plain.safetensors")
			if _, err := artifact.ReadSafetensors(filepath.Join(dir, "new", "plain.safetensors")); err != nil {
				t.Error(err)
			}
			fails(t, 1, []string{"is there already"}, dir, "adapter", "export", "--adapter", "@run/adapter.safetensors",
				"--out", "@new/plain.safetensors")
		})
	}
}

// without gives a command line of recint align as one of recint plan, without a flag and its value.
func without(align []string, flag string) []string {
	plan := []string{"plan"}
	for i := 1; i < len(align); i++ {
		if align[i] == flag {
			i++
			continue
		}
		plan = append(plan, align[i])
	}
	return plan
}

// One adapter is trained on several questions without some of the items; each is evaluated apart,
// and with controls.
func TestTasks(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf")
	train := with(alignTiny, "--samples", "40", "--hold-out-items", "0.3", "--task", "popularity, residual")
	runs(t, dir, train...)
	stdout, _ := runs(t, dir, "evaluate", "--run", "@run", "--samples", "20")
	contains(t, stdout, "popularity named on the test split", "held-out items: own states", "restricted", "always ")
	stdout, _ = runs(t, dir, "evaluate", "residual", "--task", "residual", "--run", "@run", "--samples", "20", "--wording", "1")
	contains(t, stdout, "residual accuracy", "held-out items: own states", "ECE")
	stdout, _ = runs(t, dir, "evaluate", "controls", "--run", "@run", "--samples", "20", "--wording", "6", "--beside", "itself="+filepath.Join(dir, "run"))
	contains(t, stdout, "all: control: zero state", "held-out items: itself", "NOT SHOWN", "Holm", "seen items: linear probe", "MLP probe", "untrained",
		"permuted item table", "history as plain text", "another last item", "as shown")
	contains(t, stdout, "micro-F1, of all lines together")
	stdout, _ = runs(t, dir, "evaluate", "controls", "--run", "@run", "--samples", "20", "--wording", "6", "--also", filepath.Join(dir, "run"))
	contains(t, stdout, "2 runs taken together", "held-out items: linear probe")
	runs(t, dir, "report", "@run", "--out", "@report.html")
	contains(t, read(t, filepath.Join(dir, "report.html")), "Who does the work: popularity", "seen items: another last item", "NOT SHOWN")
	stdout, _ = runs(t, dir, "evaluate", "abstention", "--run", "@run")
	contains(t, stdout, "unlike those of training", "an untrained recommender", "Gaussian noise")
	stdout, _ = runs(t, dir, "evaluate", "edits", "--run", "@run", "--samples", "3", "--items", "4")
	contains(t, stdout, "most popular quarter", "of 4 values rise with the dose")
	stdout, _ = runs(t, dir, "evaluate", "edits", "--run", "@run", "--also", filepath.Join(dir, "run"), "--samples", "3", "--items", "4", "--minutes", "1e-9")
	contains(t, stdout, "histories of 2 runs (in words: 2 of them)")
	fails(t, 2, []string{"--minutes is 1", "--asked"}, dir, "evaluate", "edits", "--run", "@run", "--minutes", "1", "--asked", "2")
	timed := []string{"evaluate", "--run", "@run", "--minutes", "10"}
	stdout, _ = runs(t, dir, timed...)
	if again, _ := runs(t, dir, timed...); again != stdout {
		t.Errorf("again:\n%s\nbefore:\n%s", again, stdout)
	}
	edit := []string{"edit", "--run", "@run", "--history", "The Golden Letter, The Golden Orchard"}
	stdout, _ = runs(t, dir, with(edit, "--toward", "popularity=second quarter", "--dose", "3")...)
	contains(t, stdout, "3 times towards popularity second quarter", "the LLM says")
	fails(t, 1, []string{"known are", "third quarter"}, dir, with(edit, "--toward", "popularity=none")...)
	fails(t, 2, []string{"ATTRIBUTE=VALUE"}, dir, with(edit, "--toward", "popularity")...)
	stdout, _ = runs(t, dir, "interpret", "--run", "@run", "--history", "The Golden Letter, The Golden Letter")
	contains(t, stdout, "actual", "quarter")
	fails(t, 1, []string{"titles are scored", "popularity"}, dir, "interpret", "--run", "@run", "--history", "The Golden Letter, The Golden Letter", "--titles", "2")
	fails(t, 1, []string{"does not ask for the decade", "popularity, last item"}, dir, "evaluate", "--run", "@run", "--task", "decade")
	fails(t, 2, []string{"--beside", "NAME=FOLDER"}, dir, "evaluate", "controls", "--run", "@run", "--beside", "x")
	fails(t, 2, []string{`names 1 runs "x" beside 2`}, dir, "evaluate", "controls", "--run", "@run", "--also", "another", "--beside", "x=y")
	stdout, _ = runs(t, dir, "evaluate", "ranks", "--run", "@run", "--task", "residual")
	contains(t, stdout, "median percentile", "states of another sample", "titles of held-out items")
	fails(t, 2, []string{"--prompt or --task"}, dir, with(train, "--prompt", "residual")...)
	stdout, _ = runs(t, dir, "adapter", "info", "--adapter", "@run/adapter.safetensors")
	contains(t, stdout, "states 16 wide", "a first layer of its own: popularity, last item")
	export := []string{"adapter", "export", "--adapter", "@run/adapter.safetensors", "--out"}
	fails(t, 2, []string{`--question is ""`, "popularity, last item"}, dir, with(export, "@none.safetensors")...)
	var first, second []float32
	for question, values := range map[string]*[]float32{"popularity": &first, "last item": &second} {
		file := strings.ReplaceAll(question, " ", "-") + ".safetensors"
		runs(t, dir, with(export, "@"+file, "--question", question)...)
		exported, err := artifact.ReadSafetensors(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if *values, err = exported.Float32("0.weight", 16, 16); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(exported.Metadata["provenance"], fmt.Sprintf("%q:%q", "asks", question)) {
			t.Errorf("%s: %s", file, exported.Metadata["provenance"])
		}
	}
	if slices.Equal(first, second) {
		t.Error("both questions have the same first layer")
	}
}
