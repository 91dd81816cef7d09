package verify

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/internal/reference"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

func save(t *testing.T, path string, file *artifact.File) {
	t.Helper()
	if err := artifact.WriteSafetensors(path, file); err != nil {
		t.Fatal(err)
	}
}

func f32(name string, values []float32, shape ...int) artifact.Tensor {
	return artifact.Tensor{Name: name, DType: "F32", Shape: shape, F32: values}
}

func i32(name string, values []int32, shape ...int) artifact.Tensor {
	return artifact.Tensor{Name: name, DType: "I32", Shape: shape, I32: values}
}

// at gives a model's path when it is asked for; nothing for "".
func at(model string) func() (string, error) {
	if model == "" {
		return nil
	}
	return func() (string, error) { return model, nil }
}

// Numbers and tolerances: the reference folder's README.
func TestVerify_RecommenderReference(t *testing.T) {
	dir, engine := reference.Folder(t, "reference"), testllm.Engine(t)
	dream := []string{"betas", "guidance", "x0_conditional", "x0_unconditional", "loss_mse", "oracle", "scores"}
	for name, want := range map[string][]string{
		"GRU_movielens": {"scores"}, "Caser_movielens": {"scores"}, "SASRec_movielens": {"hidden", "scores"},
		"DreamRec_linear_mlp1": dream, "DreamRec_exp_mlp2": dream,
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			var got []string
			for _, f := range passes(t, engine, filepath.Join(dir, name+".safetensors"), Options{OutDir: out}) {
				got = append(got, f.Name)
			}
			if !slices.Equal(got, want) {
				t.Errorf("figures %v, want %v", got, want)
			}
			computed, err := artifact.ReadSafetensors(filepath.Join(out, name+".computed.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range want {
				if _, err := computed.Float32(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Numbers and tolerances: the reference folder's README. The model is
// SmolLM2-135M-Instruct.Q4_1.gguf.
func TestVerify_LLMReference(t *testing.T) {
	dir := reference.Folder(t, "reference")
	model := os.Getenv("RECINT_MODEL")
	if model == "" {
		t.Skip("set RECINT_MODEL to the path of SmolLM2-135M-Instruct.Q4_1.gguf to run the LLM's reference cases")
	}
	for _, name := range []string{"llm_residual", "llm_recovery"} {
		t.Run(name, func(t *testing.T) {
			passes(t, testllm.Engine(t), filepath.Join(dir, name+".safetensors"), Options{Model: at(model)})
		})
	}
}

func passes(t *testing.T, engine *cgo.Engine, path string, opts Options) []Figure {
	t.Helper()
	figures, err := Verify(context.Background(), engine, path, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		t.Logf("%-32s %-28s computed %-12.6g expected %-12.6g difference %.3g of %.3g", f.Name, f.Measure, f.Computed,
			f.Expected, f.Difference, f.Tolerance)
		if !f.OK {
			t.Errorf("%s: %s %g > %g", f.Name, f.Measure, f.Difference, f.Tolerance)
		}
	}
	return figures
}

// sasrecCase writes a SASRec of zeros but for its last layer, so that its outputs are known by
// hand: with the last norm's weight 0 the state is that norm's bias (1, 2), and score i is w_i·(1,
// 2) + b_i.
func sasrecCase(t *testing.T, path string, scores []float32) {
	t.Helper()
	zeros := func(name string, shape ...int) artifact.Tensor {
		n := 1
		for _, size := range shape {
			n *= size
		}
		return f32(name, make([]float32, n), shape...)
	}
	weights := &artifact.File{Tensors: []artifact.Tensor{
		zeros("item_embeddings.weight", 4, 2), zeros("positional_embeddings.weight", 3, 2),
		zeros("ln_1.weight", 2), zeros("ln_1.bias", 2), zeros("ln_2.weight", 2), zeros("ln_2.bias", 2),
		zeros("ln_3.weight", 2), f32("ln_3.bias", []float32{1, 2}, 2),
		zeros("feed_forward.layer_norm.weight", 2), zeros("feed_forward.layer_norm.bias", 2),
		zeros("feed_forward.w_1.weight", 2, 2, 1), zeros("feed_forward.w_1.bias", 2),
		zeros("feed_forward.w_2.weight", 2, 2, 1), zeros("feed_forward.w_2.bias", 2),
		zeros("mh_attn.linear_q.weight", 2, 2), zeros("mh_attn.linear_q.bias", 2),
		zeros("mh_attn.linear_k.weight", 2, 2), zeros("mh_attn.linear_k.bias", 2),
		zeros("mh_attn.linear_v.weight", 2, 2), zeros("mh_attn.linear_v.bias", 2),
		f32("s_fc.weight", []float32{1, 0, 0, 1, 1, 1}, 3, 2), f32("s_fc.bias", []float32{0, 0, 0.5}, 3),
	}}
	save(t, path, weights)
	save(t, stem(path)+".expected.safetensors", &artifact.File{Tensors: []artifact.Tensor{
		i32("seq", []int32{0, 1, 3, 2, 3, 3}, 2, 3), i32("len", []int32{2, 1}, 2),
		f32("hidden", []float32{1, 2, 1, 2}, 2, 2), f32("scores", scores, 2, 3),
	}})
}

func TestVerify_SASRecByHand(t *testing.T) {
	engine, path := testllm.Engine(t), filepath.Join(t.TempDir(), "any name.safetensors")
	sasrecCase(t, path, []float32{1, 2, 3.5, 1, 2, 3.5})
	passes(t, engine, path, Options{})

	sasrecCase(t, path, []float32{1, 2, 3.5, 1, 2.25, 3.5})
	figures, err := Verify(context.Background(), engine, path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f := figures[1]; f.OK || f.Computed != 2 || f.Expected != 2.25 || f.Difference != 0.25 {
		t.Errorf("a wrong score was not found: %+v", f)
	}
}

// llmFile is a case on the tiny LLM. Its expected numbers are placeholders, which the tests replace
// by computed ones.
func llmFile(embd int) *artifact.File {
	adapter, err := align.NewAdapter(align.Shape{Kind: "linear", In: 3, Tokens: 1, Embd: embd}, 0.5, 1)
	if err != nil {
		panic(err)
	}
	return &artifact.File{
		Metadata: map[string]string{"tokens_per_state": "1", "prompt_token_ids": "[[3,4],[5],[6,7]]"},
		Tensors: []artifact.Tensor{
			f32("states", []float32{1, -1, 0.5, 0, 2, 1, -1, 1, 1, 0.25, 0, -2}, 2, 2, 3),
			f32("adapter.weight", adapter.Values[0], embd, 3), f32("adapter.bias", adapter.Values[1], embd),
			i32("answer_tokens", []int32{8, 9, 2, 10, 2, -1}, 2, 3),
			f32("answer_logprobs", make([]float32, 6), 2, 3), f32("loss", []float32{1}, 1),
			f32("grad.adapter.weight", make([]float32, embd*3), embd, 3), f32("grad.adapter.bias", make([]float32, embd), embd),
		},
	}
}

// A case whose expected numbers are this build's own passes; each of them spoilt makes just its own
// figures fail. That the numbers themselves are right is what the reference cases show.
func TestVerify_LLMFindsEachWrongNumber(t *testing.T) {
	engine, model, embd := testllm.Engine(t), testllm.Path(t), testllm.Width(t)
	dir := t.TempDir()
	path, out := filepath.Join(dir, "case.safetensors"), filepath.Join(dir, "out")
	file := llmFile(embd)
	save(t, path, file)
	opts := Options{Model: at(model), OutDir: out}
	if _, err := Verify(context.Background(), engine, path, opts); err != nil {
		t.Fatal(err)
	}
	computed, err := artifact.ReadSafetensors(filepath.Join(out, "case.computed.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tensor := range computed.Tensors {
		into, err := file.Find(tensor.Name)
		if err != nil {
			t.Fatal(err)
		}
		copy(into.F32, tensor.F32)
	}
	if probs, err := file.Float32("answer_logprobs"); err != nil || probs[5] != 0 || !(probs[4] < 0) {
		t.Errorf("log-probabilities %v, %v: the last is padding, the others are not", probs, err)
	}
	save(t, path, file)
	passes(t, engine, path, opts)

	for name, factor := range map[string]float32{
		"loss": 1.001, "answer_logprobs": 1.01, "grad.adapter.weight": 1.01, "grad.adapter.bias": -1,
	} {
		tensor, err := file.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		original := slices.Clone(tensor.F32)
		for i := range tensor.F32 {
			tensor.F32[i] *= factor
		}
		save(t, path, file)
		copy(tensor.F32, original)
		figures, err := Verify(context.Background(), engine, path, Options{Model: at(model)})
		if err != nil {
			t.Fatal(err)
		}
		failed := false
		for _, f := range figures {
			if !strings.HasSuffix(f.Name, " F32") {
				continue
			}
			failed = failed || !f.OK
			if !f.OK && !strings.HasPrefix(f.Name, name) {
				t.Errorf("%s was spoilt, %s fails", name, f.Name)
			}
		}
		if !failed {
			t.Errorf("%s was spoilt, and nothing fails", name)
		}
	}
}

func TestVerify_refusals(t *testing.T) {
	engine, dir := testllm.Engine(t), t.TempDir()
	path := filepath.Join(dir, "case.safetensors")
	file := func(tensors ...artifact.Tensor) func() {
		return func() { save(t, path, &artifact.File{Tensors: tensors}) }
	}
	llm := func(spoil func(*artifact.File)) func() {
		return func() {
			f := llmFile(testllm.Width(t))
			spoil(f)
			save(t, path, f)
		}
	}
	for name, c := range map[string]struct {
		make  func()
		model string
		want  string
	}{
		"no file":        {func() { os.Remove(path) }, "", "no such file"},
		"no kind":        {file(f32("apples", []float32{1}, 1)), "", "apples"},
		"expected file":  {file(i32("seq", []int32{1}, 1, 1), i32("len", []int32{1}, 1)), "", "file of weights"},
		"no expected":    {file(f32("mh_attn.linear_q.weight", []float32{1}, 1, 1), f32("item_embeddings.weight", []float32{1, 1}, 2, 1)), "", "expected.safetensors"},
		"no model":       {llm(func(*artifact.File) {}), "", "GGUF"},
		"no such model":  {llm(func(*artifact.File) {}), filepath.Join(dir, "none.gguf"), "none.gguf"},
		"no tokens":      {llm(func(f *artifact.File) { delete(f.Metadata, "tokens_per_state") }), "x", "tokens_per_state"},
		"broken prompt":  {llm(func(f *artifact.File) { f.Metadata["prompt_token_ids"] = "[[1]" }), "x", "prompt_token_ids"},
		"missing tensor": {llm(func(f *artifact.File) { f.Tensors = f.Tensors[:5] }), "x", "grad.adapter.weight"},
		"empty answer":   {llm(func(f *artifact.File) { f.Tensors[3].I32 = []int32{-1, -1, -1, 8, 2, 2} }), "x", "empty answer"},
		"other model":    {func() { save(t, path, llmFile(testllm.Width(t)+1)) }, testllm.Path(t), "wide"},
	} {
		c.make()
		_, err := Verify(context.Background(), engine, path, Options{Model: at(c.model)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestFigure_encodes(t *testing.T) {
	zero := angle("x", []float32{0, 0}, []float32{1, 0}, 1)
	if zero.OK {
		t.Error("a zero array has a direction")
	}
	if _, err := json.Marshal(zero); err != nil {
		t.Error(err)
	}
}

// On NVIDIA GPUs a figure is judged by what their products can give, and elsewhere as it was.
func TestBoundsOn(t *testing.T) {
	for backend, ok := range map[string][]bool{"cpu": {false, false, true}, "cuda": {true, false, true}} {
		figures := boundsOn(cgo.EngineInfo{Backend: backend}, []Figure{
			relative("loss F32", 3.375, 3.374, 1e-4), // off as by TF32
			relative("loss F32", 3.5, 3.374, 1e-4),   // wrong
			relative("loss BF16", 3.34, 3.374, 3e-2),
		})
		for i, f := range figures {
			if f.OK != ok[i] {
				t.Errorf("%s: %s: %+v", backend, f.Name, f)
			}
		}
	}
}
