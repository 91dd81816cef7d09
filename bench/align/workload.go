package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// The files of a workload; bench/peers/workload.py says what is in them.
const (
	headFile    = "workload.json"
	statesFile  = "states.safetensors"
	adapterFile = "adapter.safetensors"
)

type workload struct {
	Kind           string           `json:"kind"`
	TokensPerState int              `json:"tokens_per_state"`
	Batch          int              `json:"batch"`
	Prefix         []int32          `json:"prefix"`
	Samples        []workloadSample `json:"samples"`
}

type workloadSample struct {
	Tokens  []int32 `json:"tokens"`
	Targets []int32 `json:"targets"`
}

// maker says what a workload is made from.
type maker struct {
	recommender, data, llm, prompt string
	samples, batch, prefix         int
}

// make writes a workload: a prompt and a new adapter of the demonstration's shape, on samples drawn evenly from the training
// part.
func (m maker) make(folder string) (err error) {
	ctx := context.Background()
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu"})
	if err != nil {
		return err
	}
	defer engine.Close()
	d, err := dataset.Load(m.data)
	if err != nil {
		return err
	}
	split, err := dataset.SplitChronological(d, dataset.DefaultProtocol())
	if err != nil {
		return err
	}
	r, err := recommender.Load(engine, m.recommender)
	if err != nil {
		return err
	}
	defer r.Close()
	gguf, err := cgo.OpenGGUF(m.llm)
	if err != nil {
		return err
	}
	defer gguf.Close()
	info, err := gguf.Describe()
	if err != nil {
		return err
	}
	shape := align.Shape{Kind: align.MLP, In: r.StateWidth(), Hidden: 1024, Tokens: 6, Embd: info.Embd}
	template, err := prompt.Named(m.prompt)
	if err != nil {
		return err
	}
	prompts, err := prompt.Compile(gguf, template, shape.Tokens, false)
	if err != nil {
		return err
	}
	p := prompts[0]
	var histories [][]int32
	var texts []string
	for i := range m.samples {
		s := split.Train[i*len(split.Train)/m.samples]
		asked, history := []int32{s.Next}, append(slices.Clone(s.History), s.Next)
		if template.Asks == prompt.History {
			asked, history = s.History, s.History
		}
		var titles []string
		for _, item := range asked {
			titles = append(titles, d.Items[item].Title)
		}
		histories, texts = append(histories, history), append(texts, strings.Join(titles, "\n"))
	}
	answers, err := prompt.Answers(gguf, texts)
	if err != nil {
		return err
	}
	samples, err := shape.Kind.Samples(ctx, r, p.SlotNames(), histories, answers)
	if err != nil {
		return err
	}
	adapter, err := align.NewAdapter(shape, float64(info.EmbdRMS), 1)
	if err != nil {
		return err
	}

	beginning := p.Prefix()
	if m.prefix > 0 {
		beginning = beginning[max(0, len(beginning)-m.prefix):]
	}
	w := workload{Kind: string(shape.Kind), TokensPerState: shape.Tokens, Batch: m.batch, Prefix: beginning}
	states := artifact.Tensor{Name: "states", DType: "F32", Shape: []int{len(samples), p.Slots(), shape.In}}
	for _, s := range samples {
		laid, err := p.Batch([]prompt.Sample{s}, 1)
		if err != nil {
			return err
		}
		w.Samples = append(w.Samples, workloadSample{laid.Tokens, laid.Targets})
		states.F32 = append(states.F32, s.Values...)
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	tensors := &artifact.File{}
	for i, t := range adapterTensors(shape) {
		t.F32 = adapter.Values[i]
		tensors.Tensors = append(tensors.Tensors, t)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, headFile), text, 0o666),
		artifact.WriteSafetensors(filepath.Join(folder, statesFile), &artifact.File{Tensors: []artifact.Tensor{states}}),
		artifact.WriteSafetensors(filepath.Join(folder, adapterFile), tensors))
}

// adapterTensors gives names and shapes in the order of an adapter's values.
func adapterTensors(s align.Shape) []artifact.Tensor {
	out := s.Tokens * s.Embd
	return []artifact.Tensor{
		{Name: "w1", DType: "F32", Shape: []int{s.Hidden, s.In}}, {Name: "b1", DType: "F32", Shape: []int{s.Hidden}},
		{Name: "w2", DType: "F32", Shape: []int{out, s.Hidden}}, {Name: "b2", DType: "F32", Shape: []int{out}},
	}
}
