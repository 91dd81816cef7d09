package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// workload is real training samples of SASRec's states, ready for the LLM, and a new adapter of the
// default shape. Peers read it in a folder, whose files bench/peers/workload.py describes.
type workload struct {
	prompt  *prompt.Prompt
	adapter *align.Adapter
	samples []prompt.Sample
}

// softTokens are those of a state.
const softTokens = 6

// workloadBatch is how many samples an update takes on a CPU.
const workloadBatch = 64

// The prompts that workloads are made of.
const (
	residual = "residual"
	recovery = "recovery"
)

// newWorkload takes samples evenly from the training part. The prompt's constant beginning
// is cut, or repeated, to so many tokens; 0: it stays as it is.
func (b *bed) newWorkload(ctx context.Context, name string, samples, beginning int) (w *workload, err error) {
	r, err := b.newRecommender(models.SASRec, recommenderPositions)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	w = &workload{}
	shape := align.Shape{Kind: "mlp", In: r.StateWidth(), Hidden: 1024, Tokens: softTokens, Embd: b.info.Embd}
	template, err := task.Prompt(name)
	if err != nil {
		return nil, err
	}
	prompts, err := task.Compile(b.gguf, template, prompt.Shown{Tokens: shape.Tokens, PerState: 1})
	if err != nil {
		return nil, err
	}
	w.prompt = prompts[0]
	asked, err := task.Of(template)
	if err != nil {
		return nil, err
	}
	facts := task.NewFacts(b.data, b.split)
	var histories [][]int32
	var texts []string
	for i := range samples {
		q := asked.Question(facts, b.split.Train[i*len(b.split.Train)/samples], r.Positions())
		histories, texts = append(histories, q.History), append(texts, q.Text())
	}
	answers, err := prompt.AllTokens(b.gguf, texts)
	if err != nil {
		return nil, err
	}
	if w.samples, err = adapter.OneState.Samples(ctx, r, w.prompt.SlotNames(), histories, answers); err != nil {
		return nil, err
	}
	if w.adapter, err = align.NewAdapter(shape, float64(b.info.EmbdRMS), 1); err != nil {
		return nil, err
	}
	if all := w.prompt.Prefix(); beginning > 0 {
		constant := make([]int32, beginning)
		for i := range constant {
			constant[beginning-1-i] = all[len(all)-1-i%len(all)]
		}
		counts := w.samples[0].Counts
		question := w.prompt.Suffix(counts)[len(counts)*shape.Tokens:]
		w.prompt, err = prompt.FromSegments([][]int32{constant, {}, question}, shape.Tokens)
	}
	return w, err
}

// write writes the folder that peers read, for updates of so many samples.
func (w *workload) write(folder string, batch int) error {
	type row struct {
		Tokens  []int32 `json:"tokens"`
		Targets []int32 `json:"targets"`
	}
	shape := w.adapter.Shape
	states := artifact.Tensor{Name: "states", DType: "F32", Shape: []int{len(w.samples), w.prompt.Slots(), shape.In}}
	var rows []row
	for _, s := range w.samples {
		laid, err := w.prompt.Batch([]prompt.Sample{s}, 1)
		if err != nil {
			return err
		}
		rows, states.F32 = append(rows, row{laid.Tokens, laid.Targets}), append(states.F32, s.Values...)
	}
	out, v := shape.Tokens*shape.Embd, w.adapter.Values
	adapter := []artifact.Tensor{
		{Name: "w1", DType: "F32", Shape: []int{shape.Hidden, shape.In}, F32: v[0]},
		{Name: "b1", DType: "F32", Shape: []int{shape.Hidden}, F32: v[1]},
		{Name: "w2", DType: "F32", Shape: []int{out, shape.Hidden}, F32: v[2]},
		{Name: "b2", DType: "F32", Shape: []int{out}, F32: v[3]},
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return errors.Join(
		artifact.WriteAtomic(filepath.Join(folder, "workload.json"), func(file io.Writer) error {
			return json.NewEncoder(file).Encode(map[string]any{"kind": shape.Kind, "tokens_per_state": shape.Tokens, "batch": batch,
				"prefix": w.prompt.Prefix(), "samples": rows})
		}),
		artifact.WriteSafetensors(filepath.Join(folder, "states.safetensors"), &artifact.File{Tensors: []artifact.Tensor{states}}),
		artifact.WriteSafetensors(filepath.Join(folder, "adapter.safetensors"), &artifact.File{Tensors: adapter}))
}
