package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// timer trains on a workload.
type timer struct {
	check, f32                  bool
	repetitions, threads, micro int
}

// job is a workload that is ready to be trained on.
type job struct {
	workload
	states  []float32 // [samples, N·In]
	each    int       // N·In
	n       int       // N
	adapter *align.Adapter
	model   *cgo.Model
	llama   *cgo.LLaMA
	prefix  *cgo.Prefix
}

func (t timer) time(model, folder string) (err error) {
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: t.threads})
	if err != nil {
		return err
	}
	defer engine.Close()
	j, err := open(engine, model, folder, t.f32)
	if err != nil {
		return err
	}
	defer j.close()
	order := make([]int, len(j.Samples))
	for i := range order {
		order[i] = i
	}
	if t.check {
		loss, err := j.backward(order[:j.Batch], t.micro)
		if err != nil {
			return err
		}
		gradient, err := j.adapter.Gradient(j.model)
		if err != nil {
			return err
		}
		sum := 0.0
		for _, values := range gradient {
			for _, x := range values {
				sum += float64(x) * float64(x)
			}
		}
		return json.NewEncoder(os.Stdout).Encode(map[string]float64{"loss": loss, "gradient_norm": math.Sqrt(sum)})
	}
	// Batches of like length, as the tuned peer takes them; a last short one is left out.
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(len(j.Samples[a].Tokens), len(j.Samples[b].Tokens))
	})
	batches := slices.Collect(slices.Chunk(order, j.Batch))
	batches = batches[:len(order)/j.Batch]
	if len(batches) == 0 {
		return fmt.Errorf("%s: fewer samples than a batch has", folder)
	}
	step := int64(0)
	update := func(batch []int) error {
		step++
		if _, err := j.backward(batch, t.micro); err != nil {
			return err
		}
		_, err := j.model.Update(cgo.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.01,
			MaxNorm: 1, Step: step})
		return err
	}
	if err := update(batches[0]); err != nil { // the warm-up
		return err
	}
	for range t.repetitions {
		start := time.Now()
		for _, batch := range batches {
			if err := update(batch); err != nil {
				return err
			}
		}
		seconds := time.Since(start).Seconds()
		err := json.NewEncoder(os.Stdout).Encode(map[string]float64{
			"samples_per_s": float64(j.Batch*len(batches)) / seconds, "seconds": seconds})
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads a workload and its adapter.
func read(folder string) (*job, error) {
	j := &job{}
	text, err := os.ReadFile(filepath.Join(folder, headFile))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &j.workload); err != nil {
		return nil, fmt.Errorf("%s: %w", headFile, err)
	}
	states, err := artifact.ReadSafetensors(filepath.Join(folder, statesFile))
	if err != nil {
		return nil, err
	}
	tensor, err := states.Find("states")
	if err != nil || len(tensor.Shape) != 3 || tensor.Shape[0] != len(j.Samples) {
		return nil, fmt.Errorf("%s: no states of %d samples: %w", statesFile, len(j.Samples), err)
	}
	j.states, j.n, j.each = tensor.F32, tensor.Shape[1], tensor.Shape[1]*tensor.Shape[2]
	file, err := artifact.ReadSafetensors(filepath.Join(folder, adapterFile))
	if err != nil {
		return nil, err
	}
	second, err := file.Find("w2") // [K·E, hidden]
	if err != nil || len(second.Shape) != 2 || j.TokensPerState < 1 {
		return nil, fmt.Errorf("%s: no second layer of an adapter: %w", adapterFile, err)
	}
	shape := align.Shape{Kind: align.MLP, In: tensor.Shape[2], Hidden: second.Shape[1], Tokens: j.TokensPerState,
		Embd: second.Shape[0] / j.TokensPerState}
	j.adapter = &align.Adapter{Shape: shape}
	for _, t := range adapterTensors(shape) {
		values, err := file.Float32(t.Name, t.Shape...)
		if err != nil {
			return nil, err
		}
		j.adapter.Values = append(j.adapter.Values, values)
	}
	return j, nil
}

// open reads a workload and loads its model for training.
func open(engine *cgo.Engine, model, folder string, f32 bool) (*job, error) {
	j, err := read(folder)
	if err != nil {
		return nil, err
	}
	gguf, err := cgo.OpenGGUF(model)
	if err != nil {
		return nil, err
	}
	defer gguf.Close()
	precision := cgo.BF16
	if f32 {
		precision = cgo.F32
	}
	if j.model, err = j.adapter.Model(engine); err == nil {
		if j.llama, err = cgo.NewLLaMA(engine, gguf, precision); err == nil {
			j.prefix, err = j.llama.NewPrefix(j.Prefix)
		}
	}
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	return j, nil
}

func (j *job) close() error {
	var all []error
	if j.prefix != nil {
		all = append(all, j.prefix.Close())
	}
	if j.llama != nil {
		all = append(all, j.llama.Close())
	}
	if j.model != nil {
		all = append(all, j.model.Close())
	}
	return errors.Join(all...)
}

// backward adds the gradient of a batch's mean loss, pass by pass, and gives that loss.
func (j *job) backward(batch []int, micro int) (float64, error) {
	targets := 0
	for _, at := range batch {
		for _, t := range j.Samples[at].Targets {
			if t >= 0 {
				targets++
			}
		}
	}
	total := 0.0
	for rows := range slices.Chunk(batch, micro) {
		loss, err := j.llama.Backward(j.prefix, j.model, j.laid(rows, 1/float64(targets)))
		if err != nil {
			return 0, err
		}
		total += loss
	}
	return total, nil
}

// laid pads samples to the longest.
func (j *job) laid(rows []int, weight float64) cgo.AlignBatch {
	longest := 0
	for _, at := range rows {
		longest = max(longest, len(j.Samples[at].Tokens))
	}
	b := cgo.AlignBatch{Samples: len(rows), Positions: longest, Weight: weight}
	for _, at := range rows {
		s := j.Samples[at]
		b.Tokens, b.Targets = append(b.Tokens, s.Tokens...), append(b.Targets, s.Targets...)
		for range longest - len(s.Tokens) {
			b.Tokens, b.Targets = append(b.Tokens, 0), append(b.Targets, -1)
		}
		b.States = append(b.States, int32(j.n))
		b.StateValues = append(b.StateValues, j.states[at*j.each:(at+1)*j.each]...)
	}
	return b
}
