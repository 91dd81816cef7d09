package app

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/dataset/datasettest"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Figures: see walks.
func TestDataStats(t *testing.T) {
	stdout, stderr := runs(t, tiny(t), "data", "stats", "--data", "@data")
	contains(t, stdout, "walks (", "made by a test, free of terms", datasettest.Walks().Hash(), "12, 30, 300 (83.33 % of all pairs)",
		"1970-01-01 to 1970-01-25", "25 (median)", "211 to train, 26 to validate, 27 to test", "The Silent Harbour (10)")
	if stderr != "" {
		t.Errorf("stderr %q", stderr)
	}
	var s dataset.Stats
	parses(t, &s, tiny(t), "data", "stats", "--data", "@data", "--json")
	if s.Users != 12 || s.Items != 30 || s.Events != 300 || s.Train != 211 || s.Hash != datasettest.Walks().Hash() {
		t.Errorf("%+v", s)
	}
}

// Sizes: see gguftest.Shape.
func TestModelsInfo(t *testing.T) {
	stdout, _ := runs(t, tiny(t), "models", "info", "@tiny.gguf")
	contains(t, stdout, "tiny.gguf", "llama", "mostly F32", "2, 64 wide, feed-forward 128", "4 heads of 16, 2 for keys",
		"259 tokens, head tied to it, chat template present", "512 positions")
	var i cgo.GGUFInfo
	parses(t, &i, tiny(t), "models", "info", "--json", "@tiny.gguf")
	if i.Embd != 64 || i.Layers != 2 || i.Vocab != 259 || i.Architecture != "llama" {
		t.Errorf("%+v", i)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.gguf"), mamba())
	code, stdout, stderr := recint(dir, "models", "info", "@x.gguf")
	contains(t, stdout+stderr, "mamba", "adapters can be trained through dense models of llama, mistral3, qwen2")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// The rule of walks is learnt in four epochs, so that the next item is ranked first every time;
// training ends with the same table that evaluating gives.
func TestRecommender(t *testing.T) {
	dir := tinyCopy(t, "data")
	table, stderr := runs(t, dir, trainTiny...)
	contains(t, table, "HR@1 ", "HR@5 ", "HR@10 ", "HR@20 ", "NDCG@10", "MRR", "95 % interval", "ranked among all items")
	contains(t, stderr, "training SASRec: 56 of 56 steps, epoch 4 of at most 4", "weights of epoch ")
	for _, row := range []string{`validation +26( +1\.0000){3}`, `test +27( +1\.0000){3}`} {
		if !regexp.MustCompile(row).MatchString(table) {
			t.Errorf("no row like %q in\n%s", row, table)
		}
	}
	log := strings.Split(strings.TrimSpace(read(t, filepath.Join(dir, "sasrec.log.jsonl"))), "\n")
	var last recommender.Epoch
	if err := json.Unmarshal([]byte(log[len(log)-1]), &last); err != nil || len(log) != 4 || last.Epoch != 4 {
		t.Errorf("%d lines, the last %+v, %v; want 4 epochs", len(log), last, err)
	}
	if exists(filepath.Join(dir, "sasrec.checkpoint.safetensors")) {
		t.Error("the checkpoint was left behind")
	}
	same, _ := runs(t, dir, "recommender", "evaluate", "--data", "@data", "--recommender", "@sasrec.safetensors")
	of := func(table string) []string { return regexp.MustCompile(`(validation|test) .*`).FindAllString(table, 2) }
	if got, want := of(same), of(table); len(got) != 2 || !slices.Equal(got, want) {
		t.Errorf("evaluating gives\n%s\ntraining gave\n%s", same, table)
	}
	var m []ranking
	parses(t, &m, dir, "recommender", "evaluate", "--data", "@data", "--recommender", "@sasrec.safetensors", "--json")
	if len(m) != 2 || m[1].Part != "test" || m[1].N != 27 || m[0].HR[1] != 1 || m[1].HR[1] != 1 {
		t.Errorf("%+v", m)
	}
	var again []ranking
	fails(t, 1, []string{"sasrec.safetensors is there already", "or remove it"}, dir, trainTiny...) // finished work is kept
	parses(t, &again, dir, with(trainTiny, "--json", "--out", "@new/again.safetensors")...)
	if len(again) < 2 || again[1].N != 27 {
		t.Errorf("%+v", again)
	}
}

func TestAlignEvaluateInterpret(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf")
	stdout, stderr := runs(t, dir, with(alignTiny, "--samples", "40")...)
	contains(t, stdout, filepath.Join(dir, "run", align.AdapterFile), "40 samples", "validation loss ")
	contains(t, stderr, "opening data set", "loading the LLM's weights", "step 0: validation loss ", "step 10: validation loss ",
		"training: 10 of 10 steps")
	for _, name := range []string{run.SpecFile, align.LogFile, align.CheckpointFile, align.AdapterFile} {
		if !exists(filepath.Join(dir, "run", name)) {
			t.Errorf("the run's folder has no %s", name)
		}
	}
	var c align.Cursor
	parses(t, &c, dir, with(alignTiny, "--samples", "40", "--json")...) // finished: nothing is left to do
	if c.Step != 10 || c.Updates != 10 || len(c.Validations) != 2 {
		t.Errorf("%+v", c)
	}

	table, stderr := runs(t, dir, "evaluate", "residual", "--run", "@run", "--samples", "5", "--seed", "2")
	contains(t, table, "test split", "n = 5", "adapter memory (lookup) trained on 40 samples", "exact", "contains", "paper",
		"95 % interval", "own states", "restricted to allowed answers", "control: zero state", "control: shuffled states", "answers that are a title", "among the 5 likeliest titles")
	contains(t, stderr, "answering: 20 of 20 samples")
	answers := strings.Split(strings.TrimSpace(read(t, filepath.Join(dir, "run", "residual-5-2.jsonl"))), "\n")
	if len(answers) != 1+20 {
		t.Errorf("%d lines of answers, want 21", len(answers))
	}
	var r task.Residual
	parses(t, &r, dir, "evaluate", "residual", "--run", "@run", "--no-controls", "--json")
	if r.N != 27 || len(r.Conditions) != 2 || r.Conditions[0].Exact.N != 27 || r.Conditions[1].Valid.Hits != 27 {
		t.Errorf("%+v", r)
	}
	table, _ = runs(t, dir, "evaluate", "residual", "--run", "@run", "--no-controls", "--shard", "1/1")
	contains(t, table, "n = 27 (shard 1/1 alone")
	runs(t, dir, "evaluate", "merge", "--to", "@merged.jsonl", "@run/residual-27-1-no-controls-shard-1-of-1.jsonl")
	if read(t, filepath.Join(dir, "merged.jsonl")) != read(t, filepath.Join(dir, "run", "residual-27-1-no-controls.jsonl")) {
		t.Error("the only shard does not merge to the whole")
	}
	_, stderr = runs(t, dir, "evaluate", "residual", "--run", "@run", "--no-controls", "--minutes", "5") // all in far less
	contains(t, stderr, "5 minutes have time for 27 of 27 test sequences")
	cut := filepath.Join(dir, "run", "residual-5min-1-no-controls.jsonl")
	whole := read(t, cut)
	if err := os.WriteFile(cut, []byte(strings.Replace(whole, `"n":27`, `"n":3`, 1)[:strings.Index(whole, "\n")]), 0o644); err != nil {
		t.Fatal(err)
	}
	table, _ = runs(t, dir, "evaluate", "residual", "--run", "@run", "--no-controls", "--minutes", "5") // the number that it was begun with
	contains(t, table, "n = 3;")
	fails(t, 2, []string{"--minutes", "--samples"}, dir, "evaluate", "residual", "--run", "@run", "--minutes", "1", "--samples", "3")
	fails(t, 1, []string{"makes 1 shards at most"}, dir, "evaluate", "residual", "--run", "@run", "--shard", "2/2")
	fails(t, 2, []string{"--shard", "no shard"}, dir, "evaluate", "residual", "--run", "@run", "--shard", "3/2")
	fails(t, 2, []string{"--to"}, dir, "evaluate", "merge", "@merged.jsonl")

	var said struct {
		First    string
		Choices  []reading
		Sampling *interpret.Sampling
	}
	parses(t, &said, dir, "interpret", "--run", "@run", "--history",
		"the silent harbour, Golden Orchard, The (1967), The Broken Letter", "--json")
	if said.First != "The Silent Harbour" || len(said.Choices) != 2 || said.Choices[0].Chosen != "The Golden Orchard" ||
		said.Choices[1].Chosen != "The Broken Letter" || said.Sampling != nil {
		t.Errorf("%+v", said)
	}
	// The random LLM's answers are noise; what counts is that they depend on the states.
	if a, b := said.Choices[0], said.Choices[1]; !(a.Probability > 0 && b.Probability > 0) || a.Probability == b.Probability {
		t.Errorf("%+v", said.Choices)
	}
	drawn := []string{"interpret", "--run", "@run", "--history", "The Silent Harbour, The Golden Orchard", "--json", "--temperature", "1"}
	once, _ := runs(t, dir, drawn...)
	if again, _ := runs(t, dir, drawn...); again != once {
		t.Errorf("the same seed draws\n%s\n%s", once, again)
	}
	parses(t, &said, dir, drawn...)
	other := said
	other.Choices, other.Sampling = nil, nil // parsing would overwrite its contents
	parses(t, &other, dir, with(drawn, "--seed", "2", "--top-p", "0.9")...)
	if reflect.DeepEqual(other.Choices, said.Choices) || *said.Sampling != (interpret.Sampling{Temperature: 1, Seed: 1}) ||
		*other.Sampling != (interpret.Sampling{Temperature: 1, TopP: 0.9, Seed: 2}) {
		t.Errorf("with seed 1 %+v, with seed 2 %+v", said, other)
	}
	fails(t, 2, []string{"top-p", "nothing is drawn"}, dir, "interpret", "--run", "@run", "--user", "103", "--top-p", "0.9")
	fails(t, 2, []string{"temperature -1"}, dir, "interpret", "--run", "@run", "--user", "103", "--temperature", "-1")
	var weighed struct {
		Chosen    string
		Place, Of int
		Titles    []scoredTitle
	}
	parses(t, &weighed, dir, "interpret", "--run", "@run", "--user", "103", "--titles", "40", "--json")
	if weighed.Of != 30 || len(weighed.Titles) != 30 || weighed.Titles[weighed.Place-1].Title != weighed.Chosen ||
		weighed.Titles[0].LogProb < weighed.Titles[29].LogProb {
		t.Errorf("%+v", weighed)
	}
	few := weighed
	few.Titles = nil
	parses(t, &few, dir, "interpret", "--run", "@run", "--user", "103", "--titles", "40", "--among", "5", "--json")
	if few.Of != len(few.Titles) || few.Of < 5 || few.Of > 6 || few.Place < 1 || few.Titles[few.Place-1].Title != weighed.Chosen {
		t.Errorf("among 5: %+v", few)
	}
	fails(t, 2, []string{"--among is 0", "goes with --titles"}, dir, "interpret", "--run", "@run", "--user", "103", "--titles", "3", "--among", "0")
	fails(t, 2, []string{"--among is 5"}, dir, "interpret", "--run", "@run", "--user", "103", "--among", "5")
	stdout, _ = runs(t, dir, "interpret", "--run", "@run", "--user", "103", "--titles", "3")
	contains(t, stdout, `user 103, last choice "The Silent Winter": place `, " of 30 titles", weighed.Titles[2].Title)
	fails(t, 2, []string{"--titles", "draws nothing"}, dir, "interpret", "--run", "@run", "--user", "103", "--titles", "0")
	stdout, _ = runs(t, dir, "interpret", "--run", "@run", "--history", "The Silent Harbour, The Golden Orchard")
	contains(t, stdout, `this history, after "The Silent Harbour":`, "read from the states", "probability", "actual", "The Golden Orchard")

	// By hand: user 103's last ten films begin with film (15+7·15) mod 30 = 0 and end with
	// (15+7·24) mod 30 = 3.
	stdout, stderr = runs(t, dir, "interpret", "--run", "@run", "--user", "103")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) != 2+9 || lines[0] != `user 103, after "The Silent Harbour":` || !strings.Contains(lines[10], "The Silent Winter") ||
		stderr != "" {
		t.Errorf("stderr %q, stdout\n%s", stderr, stdout)
	}
	for _, line := range lines {
		if oneLine(line) != strings.Join(strings.Fields(line), " ") {
			t.Errorf("%q is not fit for a terminal", line)
		}
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"The  Film": "The Film", "a\tb\r\nc": "a b, c", "Action\n\n Sci-Fi \nWar\n": "Action, Sci-Fi, War", "\x1b[31mred\x07": "[31mred", "caf\xc3\xa9 \xff\xfe!": "café �!",
		"  …  ": "…", "\n": "",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// The numbers of the case are those of core/verify's test: every tensor is zero but ln_3.bias,
// which is therefore every state, and s_fc, so that the scores are 1, 2 and 1+2+0.5.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	verifyCase(t, filepath.Join(dir, "good.safetensors"), 3.5)
	verifyCase(t, filepath.Join(dir, "bad.safetensors"), 3.75)
	stdout, stderr := runs(t, dir, "verify", "--out", "@out", "@good.safetensors")
	contains(t, stdout, "good.safetensors", "ok", "hidden", "scores", "largest absolute difference", "2.0e-05")
	if strings.Contains(stdout, "FAILED") || stderr != "" {
		t.Errorf("stderr %q, stdout\n%s", stderr, stdout)
	}
	computed, err := artifact.ReadSafetensors(filepath.Join(dir, "out", "good.computed.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if scores, err := computed.Float32("scores", 1, 3); err != nil || scores[2] != 3.5 {
		t.Errorf("computed scores %v, %v", scores, err)
	}

	code, stdout, stderr := recint(dir, "verify", "@good.safetensors", "@bad.safetensors", "@none.safetensors")
	if code != 1 || strings.Count(stdout, "FAILED") != 2 || stderr != "" {
		t.Errorf("exit code %d, stderr %q, stdout\n%s", code, stderr, stdout)
	}
	if !regexp.MustCompile(`FAILED +scores +3\.5 +3\.75 +2\.50e-01 +2\.0e-04`).MatchString(stdout) {
		t.Errorf("no failed scores in\n%s", stdout)
	}
	contains(t, stdout, "none.safetensors: no such file")

	code, stdout, _ = recint(dir, "verify", "--json", "@good.safetensors", "@bad.safetensors", "@none.safetensors")
	var all []verified
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != 1 || len(all) != 3 {
		t.Fatalf("exit code %d, %v, %s", code, err, stdout)
	}
	if !all[0].OK || all[1].OK || all[1].Error != "" || all[1].Figures[1].OK || all[2].OK || all[2].Error == "" {
		t.Errorf("%+v", all)
	}
	parses(t, &all, dir, "verify", "--json", "@good.safetensors")
}

// verifyCase writes a SASRec of three items with one history; its last expected score is given.
func verifyCase(t *testing.T, path string, score float32) {
	t.Helper()
	f32 := func(name string, values []float32, shape ...int) artifact.Tensor {
		if values == nil {
			values = make([]float32, append(shape, 1)[0]*append(shape, 1, 1)[1]) // the third dimension of w_1 and w_2 is 1
		}
		return artifact.Tensor{Name: name, DType: "F32", Shape: shape, F32: values}
	}
	i32 := func(name string, values []int32, shape ...int) artifact.Tensor {
		return artifact.Tensor{Name: name, DType: "I32", Shape: shape, I32: values}
	}
	weights := &artifact.File{Tensors: []artifact.Tensor{
		f32("item_embeddings.weight", nil, 4, 2), f32("positional_embeddings.weight", nil, 3, 2),
		f32("feed_forward.w_1.weight", nil, 2, 2, 1), f32("feed_forward.w_2.weight", nil, 2, 2, 1),
		f32("ln_3.bias", []float32{1, 2}, 2),
		f32("s_fc.weight", []float32{1, 0, 0, 1, 1, 1}, 3, 2), f32("s_fc.bias", []float32{0, 0, 0.5}, 3),
	}}
	for _, name := range []string{"ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias", "ln_3.weight",
		"feed_forward.layer_norm.weight", "feed_forward.layer_norm.bias", "feed_forward.w_1.bias", "feed_forward.w_2.bias",
		"mh_attn.linear_q.bias", "mh_attn.linear_k.bias", "mh_attn.linear_v.bias"} {
		weights.Tensors = append(weights.Tensors, f32(name, nil, 2))
	}
	for _, name := range []string{"mh_attn.linear_q.weight", "mh_attn.linear_k.weight", "mh_attn.linear_v.weight"} {
		weights.Tensors = append(weights.Tensors, f32(name, nil, 2, 2))
	}
	expected := &artifact.File{Tensors: []artifact.Tensor{
		i32("seq", []int32{0, 1, 3}, 1, 3), i32("len", []int32{2}, 1),
		f32("hidden", []float32{1, 2}, 1, 2), f32("scores", []float32{1, 2, score}, 1, 3),
	}}
	for to, file := range map[string]*artifact.File{
		path: weights, strings.TrimSuffix(path, ".safetensors") + ".expected.safetensors": expected,
	} {
		if err := artifact.WriteSafetensors(to, file); err != nil {
			t.Fatal(err)
		}
	}
}

// Results that cannot be written are a failure.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	defer full.Close()
	verifyCase(t, filepath.Join(tiny(t), "good.safetensors"), 3.5)
	for _, args := range [][]string{
		{"version"}, {"version", "--json"}, {"data", "stats", "--data", "@data"}, {"models", "info", "@tiny.gguf"},
		{"recommender", "evaluate", "--data", "@data", "--recommender", "@sasrec.safetensors"},
		{"evaluate", "residual", "--run", "@run", "--samples", "1", "--no-controls"},
		{"interpret", "--run", "@run", "--user", "100"}, {"verify", "@good.safetensors"},
		with(alignTiny, "--samples", "40"),
	} {
		var stderr bytes.Buffer
		if code := Main(append([]string{"recint", "--threads", "1"}, in(tiny(t), args)...), full, &stderr); code != 1 {
			t.Errorf("recint %v: exit code %d", args, code)
		}
		contains(t, stderr.String(), "no space left on device")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
