package app

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/gguf"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
)

// mamba is a GGUF of another architecture.
func mamba() []byte {
	return gguftest.Bytes(&gguf.File{Keys: []gguf.Key{{Name: "general.architecture", Value: "mamba"}}})
}

// A synthesized model is described, planned with, trained through and asked, in every type. Its
// answers are noise: before training all of its 259 tokens are about equally likely.
func TestModelsSynthesize(t *testing.T) {
	for _, kind := range []string{"f32", "f16", "bf16"} {
		t.Run(kind, func(t *testing.T) {
			dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf")
			write := []string{"models", "synthesize", "--like", "@tiny.gguf", "--tokenizer", "@tiny.gguf", "--type", kind}
			stdout, stderr := runs(t, dir, with(write, "--out", "@new/random.gguf")...)
			contains(t, stdout, filepath.Join(dir, "new", "random.gguf"))
			// 259×64 + 2·(2·64×64 + 2·32×64 + 3·128×64 + 2·64) + 64 weights
			contains(t, stderr, "tiny: 0.1 million random weights in "+strings.ToUpper(kind)+", 0.00 GB", "writing: 0 of 0 MB")
			var i, like cgo.GGUFInfo
			parses(t, &like, dir, "models", "info", "--json", "@tiny.gguf")
			parses(t, &i, dir, "models", "info", "--json", "@new/random.gguf")
			if like.FileType = strings.ToUpper(kind); i.EmbdRMS < 0.019 || i.EmbdRMS > 0.021 {
				t.Errorf("the embeddings' root mean square is %g", i.EmbdRMS)
			}
			if like.Bytes, like.EmbdRMS = i.Bytes, i.EmbdRMS; i != like {
				t.Errorf("%+v, want %+v", i, like)
			}
			runs(t, dir, with(write, "--out", "@again.gguf")...)
			if read(t, filepath.Join(dir, "new", "random.gguf")) != read(t, filepath.Join(dir, "again.gguf")) {
				t.Error("the same command writes another file")
			}
			runs(t, dir, with(write, "--empty", "--out", "@empty.gguf")...) // as long, and enough to plan with
			if empty := read(t, filepath.Join(dir, "empty.gguf")); int64(len(empty)) != i.Bytes {
				t.Errorf("the empty file has %d bytes, want %d", len(empty), i.Bytes)
			}
			stdout, _ = runs(t, dir, "plan", "--data", "@data", "--recommender", "@sasrec.safetensors", "--llm", "@empty.gguf", "--samples", "8")
			contains(t, stdout, "the LLM's matrices and their transposes")

			through := with(alignTiny, "--llm", "@again.gguf", "--samples", "8", "--validate-every", "1")
			var plan align.Estimate
			parses(t, &plan, dir, append(without(through, "--out"), "--json")...)
			if plan.Weights == 0 || !(plan.FLOP > 0) || !plan.Fits {
				t.Errorf("%+v", plan)
			}
			_, stderr = runs(t, dir, through...)
			var loss float64
			_, first, _ := strings.Cut(stderr, "step 0: validation loss ")
			if _, err := fmt.Sscan(first, &loss); err != nil || !(math.Abs(loss-math.Log(259)) < 0.1) {
				t.Errorf("a validation loss of %g for a token, %v; want about ln 259 = 5.557", loss, err)
			}
			stdout, _ = runs(t, dir, "interpret", "--run", "@run", "--user", "100")
			contains(t, stdout, "actual")
		})
	}
}

// Models of every architecture, with the keys of the known ones: they are described, planned with,
// trained through, and asked for free answers, titles of the catalogue, and the probabilities of
// all titles.
func TestArchitectures(t *testing.T) {
	of := map[string]gguf.LLM{}
	for _, shape := range gguf.Known {
		of[shape.Architecture] = shape
	}
	for name, shape := range of {
		t.Run(name, func(t *testing.T) {
			dir := tinyCopy(t, "data", "sasrec.safetensors")
			shape.Layers, shape.Embd, shape.Heads, shape.HeadsKV, shape.HeadDim, shape.FF = 6, 64, 4, 2, 16, 96
			shape.Vocab, shape.Context = 259, 512
			file, err := shape.Random(gguf.BF16, 1, gguftest.Tokenizer())
			if err == nil {
				err = file.Save(t.Context(), filepath.Join(dir, "tiny.gguf"), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			var info cgo.GGUFInfo
			parses(t, &info, dir, "models", "info", "--json", "@tiny.gguf")
			if info.Architecture != name || info.Context != 512 {
				t.Errorf("%+v", info)
			}
			through := with(alignTiny, "--samples", "8", "--precision", "bf16")
			var plan align.Estimate
			parses(t, &plan, dir, append(without(through, "--out"), "--json")...)
			if plan.Weights == 0 || plan.Pass == 0 || !plan.Fits {
				t.Errorf("%+v", plan)
			}
			runs(t, dir, through...)
			stdout, _ := runs(t, dir, "evaluate", "residual", "--run", "@run", "--samples", "2")
			contains(t, stdout, "n = 2", "exact", "restricted", "control: zero state")
			stdout, _ = runs(t, dir, "interpret", "--run", "@run", "--user", "100", "--titles", "3")
			contains(t, stdout, "user 100", "of 30 titles", "probability")
		})
	}
}

// Keys that would change results are named by models info and by plan, before anything is computed.
func TestRefusedModels(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors")
	for _, one := range []struct {
		key   string
		value any
		says  string
	}{
		{"attn_logit_softcapping", float32(50), "attn_logit_softcapping"},
		{"rope.scaling.type", "longrope", "scaling of type longrope"},
		{"expert_count", uint32(8), "a mixture of experts"},
		{"ssm.state_size", uint32(16), "a state-space model or a hybrid"},
	} {
		shape := gguftest.Shape
		shape.More = []gguf.Key{{Name: one.key, Value: one.value}}
		file, err := shape.Random(gguf.F32, 1, gguftest.Tokenizer())
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "odd.gguf"), gguftest.Bytes(file))
		code, _, stderr := recint(dir, "models", "info", "@odd.gguf")
		if contains(t, stderr, "align refuses this model", one.says); code != 1 {
			t.Errorf("%s: exit code %d", one.key, code)
		}
		plan := with(without(alignTiny, "--out"), "--llm", "@odd.gguf", "--samples", "8")
		fails(t, 1, []string{one.says}, dir, plan...)
	}
}

func TestModelsSynthesizeRefuses(t *testing.T) {
	dir := tinyCopy(t, "tiny.gguf")
	write(t, filepath.Join(dir, "mamba.gguf"), mamba())
	command := []string{"models", "synthesize", "--like", "@tiny.gguf", "--tokenizer", "@tiny.gguf", "--out", "@new.gguf"}
	fails(t, 1, []string{"no description of the architecture mamba; there are llama"}, dir, with(command, "--like", "@mamba.gguf")...)
	fails(t, 1, []string{"mamba.gguf has no tokenizer"}, dir, with(command, "--tokenizer", "@mamba.gguf")...)
	fails(t, 1, []string{"none.gguf: No such file"}, dir, with(command, "--tokenizer", "@none.gguf")...)
	fails(t, 1, []string{"tiny.gguf is there already"}, dir, with(command, "--out", "@tiny.gguf")...)
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}
