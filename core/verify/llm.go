package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// precision is one way of running an LLM case, with its tolerances.
type precision struct {
	name             string
	mode             cgo.Precision
	suffix           string
	loss             float64 // relative
	logProb          float64 // absolute, of each answer token
	cosine, gradNorm float64 // 1 − cosine, and relative, of each gradient
}

// The reference asks for the loss in F32 and for the gradients in both. The bounds on the
// log-probabilities, and on the loss in BF16, are ours: log-probabilities reach −14, so 1e-3 is the
// same relative size as the loss's 1e-4; bfloat16 keeps 8 bits, and 30 layers of it leave about a
// hundredth.
var precisions = []precision{
	{"F32", cgo.F32, ".computed", 1e-4, 1e-3, 1e-4, 0.005},
	{"BF16", cgo.BF16, ".computed-bf16", 1e-2, 0.25, 5e-3, 0.03},
}

// llmCase is one batch through a frozen LLM with a linear adapter.
type llmCase struct {
	adapter  *align.Adapter
	prompt   *prompt.Prompt
	batch    prompt.Batch
	answers  []int32 // [B, A], -1 after the end of an answer
	shape    []int   // of answers
	logProbs []float32
	loss     float64
	gradient [][]float32 // weight, bias
}

func verifyLLM(ctx context.Context, engine *cgo.Engine, path string, file *artifact.File, opts Options) (
	[]Figure, error) {
	c, err := readLLM(file)
	if err != nil {
		return nil, fmt.Errorf("verify: %s: %w", path, err)
	}
	if opts.Model == nil {
		return nil, fmt.Errorf("verify: %s runs through an LLM (%s); say where its GGUF is", path, file.Metadata["model"])
	}
	model, err := opts.Model()
	if err != nil {
		return nil, err
	}
	gguf, err := cgo.OpenGGUF(model)
	if err != nil {
		return nil, err
	}
	defer gguf.Close()
	info, err := gguf.Describe()
	if err != nil {
		return nil, err
	}
	if err := c.adapter.Fits(c.adapter.In, int(info.Embd)); err != nil {
		return nil, fmt.Errorf("verify: %s with %s: %w", path, model, err)
	}
	var figures []Figure
	for _, p := range precisions {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		more, err := c.run(engine, gguf, path, p, opts)
		if err != nil {
			return nil, fmt.Errorf("verify: %s in %s: %w", path, p.name, err)
		}
		figures = append(figures, more...)
	}
	return figures, nil
}

// readLLM parses a case.
func readLLM(file *artifact.File) (*llmCase, error) {
	perState, err := strconv.Atoi(file.Metadata["tokens_per_state"])
	if err != nil || perState < 1 {
		return nil, fmt.Errorf("its tokens_per_state is %q, not a number of at least 1", file.Metadata["tokens_per_state"])
	}
	var segments [][]int32
	if err := json.Unmarshal([]byte(file.Metadata["prompt_token_ids"]), &segments); err != nil {
		return nil, fmt.Errorf("its prompt_token_ids: %w", err)
	}
	c := &llmCase{}
	if c.prompt, err = prompt.FromSegments(segments, perState); err != nil {
		return nil, err
	}
	weight, err := file.Find("adapter.weight")
	if err != nil {
		return nil, err
	}
	if len(weight.Shape) != 2 || weight.Shape[0]%perState != 0 {
		return nil, fmt.Errorf("an adapter of shape %v does not make %d tokens", weight.Shape, perState)
	}
	rows, width := weight.Shape[0], weight.Shape[1]
	c.adapter = &align.Adapter{Shape: align.Shape{Kind: adapter.Projection, In: width, Tokens: perState, Embd: rows / perState}}
	for _, t := range []struct {
		dst   *[][]float32
		name  string
		shape []int
	}{
		{&c.adapter.Values, "adapter.weight", []int{rows, width}}, {&c.adapter.Values, "adapter.bias", []int{rows}},
		{&c.gradient, "grad.adapter.weight", []int{rows, width}}, {&c.gradient, "grad.adapter.bias", []int{rows}},
	} {
		values, err := file.Float32(t.name, t.shape...)
		if err != nil {
			return nil, err
		}
		*t.dst = append(*t.dst, values)
	}
	loss, err := file.Float32("loss", 1)
	if err != nil {
		return nil, err
	}
	c.loss = float64(loss[0])
	return c, c.readSamples(file)
}

// readSamples lays out the batch.
func (c *llmCase) readSamples(file *artifact.File) error {
	answers, err := file.Find("answer_tokens")
	if err != nil {
		return err
	}
	if len(answers.Shape) != 2 {
		return fmt.Errorf("its answer_tokens have shape %v, not [samples, tokens]", answers.Shape)
	}
	c.shape = answers.Shape
	if c.answers, err = file.Int32("answer_tokens"); err != nil {
		return err
	}
	if c.logProbs, err = file.Float32("answer_logprobs", c.shape...); err != nil {
		return err
	}
	n, length, width := c.shape[0], c.shape[1], c.prompt.Slots()*c.adapter.In
	states, err := file.Float32("states", n, c.prompt.Slots(), c.adapter.In)
	if err != nil {
		return err
	}
	counts := make([]int, c.prompt.Slots())
	for slot := range counts {
		counts[slot] = 1
	}
	samples := make([]prompt.Sample, n)
	for b := range samples {
		samples[b].States = prompt.States{Counts: counts, Values: states[b*width : (b+1)*width]}
		for _, token := range c.answers[b*length : (b+1)*length] {
			if token >= 0 {
				samples[b].Answer = append(samples[b].Answer, token)
			}
		}
	}
	c.batch, err = c.prompt.Batch(samples, 1/float64(prompt.Targets(samples)))
	return err
}

// run computes the case in one precision.
func (c *llmCase) run(engine *cgo.Engine, gguf *cgo.GGUF, path string, p precision, opts Options) (
	figures []Figure, err error) {
	adapter, err := c.adapter.Model(engine)
	if err != nil {
		return nil, err
	}
	defer adapter.Close()
	llm, err := cgo.NewLLM(engine, gguf, p.mode)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, llm.Close()) }()
	prefix, err := llm.NewPrefix(c.prompt.Prefix())
	if err != nil {
		return nil, err
	}
	defer prefix.Close()
	loss, err := llm.Backward(prefix, adapter, cgo.AlignBatch(c.batch))
	if err != nil {
		return nil, err
	}
	gradient, err := c.adapter.Gradient(adapter)
	if err != nil {
		return nil, err
	}
	logProbs, err := c.spread(llm, prefix, adapter)
	if err != nil {
		return nil, err
	}
	figures = []Figure{
		relative("loss "+p.name, loss, c.loss, p.loss),
		maxAbs("answer_logprobs "+p.name, logProbs, c.logProbs, p.logProb),
	}
	tensors := []artifact.Tensor{
		{Name: "loss", DType: "F32", Shape: []int{1}, F32: []float32{float32(loss)}},
		{Name: "answer_logprobs", DType: "F32", Shape: c.shape, F32: logProbs},
	}
	rows := len(c.gradient[1])
	for i, name := range []string{"grad.adapter.weight", "grad.adapter.bias"} {
		figures = append(figures,
			angle(name+" "+p.name, gradient[i], c.gradient[i], p.cosine),
			relative(name+" norm "+p.name, norm(gradient[i]), norm(c.gradient[i]), p.gradNorm))
		shape := []int{rows, c.adapter.In}[:2-i]
		tensors = append(tensors, artifact.Tensor{Name: name, DType: "F32", Shape: shape, F32: gradient[i]})
	}
	return figures, write(opts, path, p.suffix, tensors)
}

// spread computes the log-probability of each answer token, [B, A], 0 after the end of an answer.
func (c *llmCase) spread(llm *cgo.LLM, prefix *cgo.Prefix, adapter *cgo.Adapter) ([]float32, error) {
	targets := 0
	for _, token := range c.answers {
		if token >= 0 {
			targets++
		}
	}
	dense := make([]float32, targets)
	if err := llm.LogProbs(dense, prefix, adapter, cgo.AlignBatch(c.batch)); err != nil {
		return nil, err
	}
	all := make([]float32, len(c.answers))
	for i, token := range c.answers {
		if token >= 0 {
			all[i], dense = dense[0], dense[1:]
		}
	}
	return all, nil
}
