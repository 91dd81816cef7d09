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
			contains(t, stdout, "in truth")
		})
	}
}

func TestModelsSynthesizeRefuses(t *testing.T) {
	dir := tinyCopy(t, "tiny.gguf")
	write(t, filepath.Join(dir, "mamba.gguf"), mamba())
	command := []string{"models", "synthesize", "--like", "@tiny.gguf", "--tokenizer", "@tiny.gguf", "--out", "@new.gguf"}
	fails(t, 1, []string{"no description of the architecture mamba; there are llama"}, dir, with(command, "--like", "@mamba.gguf")...)
	fails(t, 1, []string{"mamba.gguf has no tokenizer"}, dir, with(command, "--tokenizer", "@mamba.gguf")...)
	fails(t, 1, []string{"none.gguf: no such file"}, dir, with(command, "--tokenizer", "@none.gguf")...)
	fails(t, 1, []string{"tiny.gguf is there already"}, dir, with(command, "--out", "@tiny.gguf")...)
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}
