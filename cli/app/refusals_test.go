package app

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset/datasettest"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
)

// Bad input ends with exit code 1, nothing on stdout, and a message that says what is wrong, where,
// and what to do.
func TestRefusals(t *testing.T) {
	file := func(name string, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { write(t, filepath.Join(dir, name), []byte(content)) }
	}
	line := func(number int, from, to string) func(*testing.T, string) { // of events.tsv, counted from 1
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, "data", "events.tsv")
			lines := strings.SplitAfter(read(t, path), "\n")
			if !strings.Contains(lines[number-1], from) {
				t.Fatalf("line %d is %q", number, lines[number-1])
			}
			lines[number-1] = strings.Replace(lines[number-1], from, to, 1)
			write(t, path, []byte(strings.Join(lines, "")))
		}
	}
	nothing := func(*testing.T, string) {}
	half := gguftest.LLM(1)
	half = half[:len(half)/2]

	stats := []string{"data", "stats", "--data", "@data"}
	rank := []string{"recommender", "evaluate", "--data", "@data", "--recommender", "@sasrec.safetensors"}
	alignment := with(alignTiny, "--samples", "40")
	elsewhere := func(out string) []string { return with(alignment, "--out", out) } // the last --out counts
	answer := []string{"evaluate", "residual", "--run", "@run", "--samples", "2"}
	say := func(args ...string) []string { return with([]string{"interpret", "--run", "@run"}, args...) }
	events := filepath.Join("data", "events.tsv")

	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		args  []string
		says  []string
	}{
		"truncated GGUF": {file("tiny.gguf", string(half)), elsewhere("@new"), []string{"tiny.gguf is cut short", "fetch it again"}},
		"truncated GGUF described": {file("tiny.gguf", string(half)), []string{"models", "info", "@tiny.gguf"},
			[]string{"tiny.gguf is cut short", "fetch it again"}},
		"no GGUF":      {file("tiny.gguf", "this is a text"), elsewhere("@new"), []string{"tiny.gguf", "GGUF"}},
		"no such GGUF": {nothing, []string{"models", "info", "@none.gguf"}, []string{"none.gguf: No such file"}},
		"another architecture": {file("tiny.gguf", string(mamba())), elsewhere("@new"),
			[]string{"tiny.gguf", "architecture mamba", "adapters can be trained through dense models of llama, "}},

		"missing column": {line(1, "\trating", "\tstars"), stats,
			[]string{events + `:1: no column "rating"`, `"stars"`, "add the column or correct its name"}},
		"rating in words": {line(5, "\t4\n", "\t4 stars\n"), stats,
			[]string{events + `:5: rating "4 stars" is not a finite number`, "correct it or remove the line"}},
		"time in words": {line(6, "\t345600", "\tnoon"), stats,
			[]string{events + `:6: time "noon" is not a whole number`, "correct it or remove the line"}},
		"unknown item": {line(2, "\t0\t", "\t999\t"), stats,
			[]string{events + `:2: item_id "999" is not in items.tsv`, "add the item there or remove the line"}},
		"changed by hand": {line(2, "\t4\n", "\t5\n"), stats, []string{"dataset.json: its hash is not that of the files", "if the change was meant"}},
		"no data set":     {nothing, []string{"data", "stats", "--data", "@run"}, []string{"run is not a data set folder", "fetch or import"}},

		"NaN in a recommender": {nan, rank, []string{"sasrec.safetensors", "item_embeddings.weight", "number 7 is NaN"}},
		"NaN under an adapter": {nan, elsewhere("@new"), []string{"sasrec.safetensors", "item_embeddings.weight", "number 7 is NaN"}},
		"no recommender":       {file("sasrec.safetensors", ""), rank, []string{"sasrec.safetensors: is truncated"}},
		"another data set":     {otherData, rank, []string{"this recommender was made from another data set", "make a new recommender"}},
		"another recommender": {retrained, answer,
			[]string{"this adapter was made from another recommender", "give that recommender"}},
		"adapter of another width": {randomAdapter(8, 64), answer, []string{"states that are 8 wide, the recommender's are 16 wide",
			"give the recommender that it was made from"}},
		"adapter for another LLM": {randomAdapter(16, 32), say("--user", "100"),
			[]string{"embeddings that are 32 wide, the LLM's are 64 wide", "give the LLM it was trained through"}},
		"untrained run": {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "run", align.AdapterFile)) }, answer,
			[]string{"run has no adapter.safetensors", "the same recint align command continues"}},
		"no run": {nothing, []string{"interpret", "--run", "@data", "--user", "100"},
			[]string{"data is not a run: it has no run.json", "recint align makes one"}},
		"another run": {nothing, with(alignment, "--seed", "2"), []string{"run is another run: its config.seed was 1, is 2",
			"or another folder"}},

		"unknown title": {nothing, say("--history", "The Silent Harbour, The Sylent Leter"),
			[]string{`unknown title "The Sylent Leter"`, "did you mean", `"The Silent Letter"`}},
		"unknown user":  {nothing, say("--user", "99"), []string{`data set walks has no user "99"`, "its users are 100 to 111"}},
		"short history": {nothing, say("--history", "The Silent Harbour"), []string{"the history has one item", "name at least two"}},
		"empty history": {nothing, say("--history", " , "), []string{"the history is empty", "name at least one title"}},

		"unknown prompt": {nothing, with(alignment, "--prompt", "haiku"), []string{`no prompt is called "haiku"`, "known are residual"}},
		"prompt without slots": {file("p.json", `{"name": "p", "asks": "history", "texts": ["Say it."]}`), with(alignment, "--prompt", "@p.json"),
			[]string{"p.json", `template "p" has a text without a slot`, "{before}"}},
		"prompt of another version": {file("p.json", `{"name": "p", "text": "Say it.{after}"}`), with(alignment, "--prompt", "@p.json"),
			[]string{"p.json", `the key "text" is now "texts"`}},
		"prompt that is no JSON": {file("p.json", `Say it.`), with(alignment, "--prompt", "@p.json"), []string{"p.json", "template"}},
		"unknown backend":        {nothing, with([]string{"--backend", "abacus"}, rank...), []string{"abacus", "known are auto, cpu, cuda, metal"}},

		"no place for a run": {nothing, elsewhere("@tiny.gguf/new"), []string{"tiny.gguf: not a directory", "that you may write to"}},
		"no place for weights": {nothing, with(trainTiny, "--out", "@tiny.gguf/a.safetensors"),
			[]string{"tiny.gguf: not a directory", "that you may write to"}},
		"no place for answers": {func(t *testing.T, dir string) { mkdir(t, filepath.Join(dir, "run", "residual-2-1.jsonl")) }, answer,
			[]string{"residual-2-1.jsonl: is a directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf", "run")
			c.spoil(t, dir)
			fails(t, 1, c.says, dir, c.args...)
			if exists(filepath.Join(dir, "new")) {
				t.Error("the run's folder was made all the same")
			}
		})
	}
}

func nan(t *testing.T, dir string) {
	path := filepath.Join(dir, "sasrec.safetensors")
	file, err := artifact.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	tensor, err := file.Find("item_embeddings.weight")
	if err != nil {
		t.Fatal(err)
	}
	tensor.F32[7] = float32(math.NaN())
	if err := artifact.WriteSafetensors(path, file); err != nil {
		t.Fatal(err)
	}
}

func otherData(t *testing.T, dir string) {
	d := datasettest.Walks()
	d.Events[0].Rating = 1
	if err := d.Save(filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
}

func retrained(t *testing.T, dir string) {
	os.Remove(filepath.Join(dir, "sasrec.safetensors"))
	runs(t, dir, with(trainTiny, "--seed", "2")...)
}

// randomAdapter replaces the run's adapter by a random one, with the same provenance.
func randomAdapter(in, embd int) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		path := filepath.Join(dir, "run", align.AdapterFile)
		_, provenance, err := align.LoadAdapter(path)
		if err != nil {
			t.Fatal(err)
		}
		a, err := align.NewAdapter(align.Shape{Kind: "linear", In: in, Tokens: 2, Embd: embd}, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Save(path, provenance); err != nil {
			t.Fatal(err)
		}
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// A folder of verify's results that cannot be made is a failure of every case, and shown as that.
func TestVerifyNowhere(t *testing.T) {
	dir := t.TempDir()
	verifyCase(t, filepath.Join(dir, "good.safetensors"), 3.5)
	code, stdout, _ := recint(dir, "verify", "--out", "@good.safetensors/out", "@good.safetensors")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	contains(t, stdout, "FAILED", "the output folder cannot be made", "not a directory")
}

// A call that cannot be trained leaves what an earlier training wrote.
func TestRefusedTrainingKeepsTheLog(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors", "sasrec.log.jsonl")
	before := read(t, filepath.Join(dir, "sasrec.log.jsonl"))
	fails(t, 2, []string{"--width is 0; it must be 1 to 65536"}, dir, with(trainTiny, "--width", "0")...)
	if after := read(t, filepath.Join(dir, "sasrec.log.jsonl")); after != before || before == "" {
		t.Errorf("the log was %q and is %q", before, after)
	}
}
