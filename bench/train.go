package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// batchOnGPU is how many samples docs/gpu.md recommends for an update on a GPU: enough to keep it
// busy.
const batchOnGPU = 256

// batch is how many samples an update takes.
func (b *bed) batch() int {
	switch {
	case b.Batch > 0:
		return b.Batch
	case b.onGPU():
		return batchOnGPU
	}
	return workloadBatch
}

// micro is how many samples go through the LLM together: on a CPU what stays in its caches, on a
// GPU those of an update, or as many as its memory has room for.
func (b *bed) micro(w *workload) (int, error) {
	switch {
	case b.Micro > 0:
		return min(b.batch(), b.Micro), nil
	case !b.onGPU():
		return min(b.batch(), 16), nil
	}
	job := align.Job{Prompts: [][]*prompt.Prompt{{w.prompt}}, Shape: w.adapter.Shape, Config: align.Config{BatchSize: b.batch(), PassPositions: 1}}
	var lengths []align.Length
	for _, s := range w.samples {
		lengths = append(lengths, align.Length{Counts: s.Counts, Answer: len(s.Answer)})
	}
	positions, err := align.LongestPass(b.engine, b.gguf, cgo.BF16, job, lengths)
	return max(1, positions/slices.Max(w.lengths(w.samples))), err
}

// trainingSizes are updates of a repetition: of the answers to the recovery prompt, which are ten
// times as long, fewer.
var trainingSizes = map[string]int{residual: 4, recovery: 1}

func (b *bed) trainings(ctx context.Context) (works []work, err error) {
	for _, name := range []string{residual, recovery} {
		w, err := b.newWorkload(ctx, name, trainingSizes[name]*b.batch(), 0)
		if err != nil {
			return nil, err
		}
		if b.Sweep == ByBatch {
			for _, pass := range doubled(1, b.batch()) {
				one := b.training(name, w, pass)
				one.Batch, one.Asked, one.peers = pass, "", one.peers[:1] // what the authors' way takes at a time is its own
				works = append(works, one)
			}
			continue
		}
		micro, err := b.micro(w)
		if err != nil {
			return nil, err
		}
		works = append(works, b.training(name, w, micro))
	}
	return works, nil
}

// training trains an adapter through the LLM, with so many samples in a pass and samples of like
// length together, as the tuned peer takes them. The peer in the authors' way takes so long that
// two of its steps stand for the whole.
func (b *bed) training(name string, w *workload, pass int) work {
	folder := b.path("workload-" + name)
	positions := 0
	for _, length := range w.lengths(w.samples) {
		positions += length
	}
	n := float64(len(w.samples))
	padding, err := w.padding(b.engine, b.batch(), pass)
	// bfloat16 has 8 significant bits. Where the gradient is small, as that of whole histories read
	// from one random state, its noise shows: 4.31 in float32, 4.73 in our bfloat16 and 5.50 in
	// PyTorch's.
	norms := map[string]float64{residual: 0.05, recovery: 0.35}
	agree := closeTo(map[string]float64{"loss": 0.01, "gradient_norm": norms[name]})
	command := func(script string, more ...string) []string {
		return append([]string{script, b.LLM, folder}, more...)
	}
	tuned, asked := "align_tuned.py", "2 × tuned PyTorch, 10 × the authors' way; 60 % of the peak"
	switch {
	case b.onGPU():
		tuned, asked = "align_gpu.py", "1.5 × PyTorch tuned for GPUs"
	case name == recovery:
		asked = "2 × tuned PyTorch, 6 × the authors' way; 60 % of the peak"
	}
	return work{
		Figure: Figure{Name: name + " prompt", Unit: "samples", Asked: asked, Padding: padding,
			FLOP:    2 * b.needs.ForwardFLOP(float64(positions)/n, float64(prompt.Targets(w.samples))/n),
			Formula: "4 × numbers in the LLM's matrices × positions behind the prefix; head and last layer at the answer alone"},
		peers: []peer{
			{kind: PyTorch, command: command(tuned, "--steps", "0", "--micro", strconv.Itoa(pass)), agrees: agree, gpu: true},
			{kind: PyTorch, command: command("align_authors.py", "--batch", strconv.Itoa(b.authorsBatch()), "--steps", "2"), agrees: agree, gpu: true},
		},
		open: func(ctx context.Context) (*ready, error) {
			if err := errors.Join(err, w.write(folder, b.batch())); err != nil {
				return nil, err
			}
			t := &trainer{workload: w, batch: b.batch(), pass: pass}
			if err := t.open(b); err != nil {
				return nil, errors.Join(err, t.close())
			}
			loss, err := t.backward(w.samples[:min(t.batch, len(w.samples))], nil)
			if err != nil {
				return nil, errors.Join(err, t.close())
			}
			gradient, err := w.adapter.Gradient(t.model)
			if err != nil {
				return nil, errors.Join(err, t.close())
			}
			return &ready{check: check{"loss": loss, "gradient_norm": norm(gradient)}, close: t.close, once: t.once}, nil
		},
	}
}

// authorsBatch is what the peer in the authors' way takes at a time: what a GPU has memory for
// although the whole prompt goes through it with every sample.
func (b *bed) authorsBatch() int {
	if b.onGPU() {
		return 64
	}
	return 16
}

// lengths are the positions of samples behind the prompt's beginning.
func (w *workload) lengths(samples []prompt.Sample) []int {
	all := make([]int, len(samples))
	for i, s := range samples {
		all[i] = w.prompt.Positions(s.Counts, len(s.Answer)) - len(w.prompt.Prefix())
	}
	return all
}

// byLength are the samples in the order in which both sides take them.
func (w *workload) byLength() []prompt.Sample {
	order := slices.Clone(w.samples)
	slices.SortStableFunc(order, func(a, b prompt.Sample) int { return cmp.Compare(len(a.Answer), len(b.Answer)) })
	return order
}

// padding is the share of the rows of our passes that only fill up.
func (w *workload) padding(engine *cgo.Engine, batch, pass int) (float64, error) {
	used, rows := 0, 0
	for update := range slices.Chunk(w.byLength(), batch) {
		for together := range slices.Chunk(w.lengths(update), pass) {
			own := 0
			for _, length := range together {
				own += length
			}
			n, err := engine.PassRows(len(together), slices.Max(together), own)
			if err != nil {
				return 0, err
			}
			used, rows = used+own, rows+max(n, own)
		}
	}
	return 1 - float64(used)/float64(rows), nil
}

// trainer trains a workload's adapter.
type trainer struct {
	*workload
	batch  int // samples of an update
	pass   int // of them in a pass
	model  *cgo.Adapter
	llama  *cgo.LLM
	prefix *cgo.Prefix
	step   int64
}

func (t *trainer) open(b *bed) (err error) {
	if t.model, err = t.adapter.Model(b.engine); err != nil {
		return err
	}
	if t.llama, err = cgo.NewLLM(b.engine, b.gguf, cgo.BF16); err != nil {
		return err
	}
	t.prefix, err = t.llama.NewPrefix(t.prompt.Prefix())
	return err
}

func (t *trainer) close() error {
	var all []error
	if t.prefix != nil {
		all = append(all, t.prefix.Close())
	}
	if t.llama != nil {
		all = append(all, t.llama.Close())
	}
	if t.model != nil {
		all = append(all, t.model.Close())
	}
	return errors.Join(all...)
}

// backward adds the gradient of a batch's mean loss, pass by pass, and gives that loss. After the
// last pass it makes an update, if one is given.
func (t *trainer) backward(batch []prompt.Sample, update *cgo.AdamW) (float64, error) {
	total, left := 0.0, len(batch)
	for rows := range slices.Chunk(batch, t.pass) {
		left -= len(rows)
		laid, err := t.prompt.Batch(rows, 1/float64(prompt.Targets(batch)))
		if err != nil {
			return 0, err
		}
		loss := 0.0
		if update != nil && left == 0 {
			loss, _, err = t.llama.Step(t.prefix, t.model, cgo.AlignBatch(laid), *update)
		} else {
			loss, err = t.llama.Backward(t.prefix, t.model, cgo.AlignBatch(laid))
		}
		if err != nil {
			return 0, err
		}
		total += loss
	}
	return total, nil
}

// once takes every sample once.
func (t *trainer) once(ctx context.Context) (measured, error) {
	order := t.byLength()
	m, err := timed(len(order), func() error {
		for batch := range slices.Chunk(order, t.batch) {
			if err := ctx.Err(); err != nil {
				return err
			}
			t.step++
			loss, err := t.backward(batch, &cgo.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.01,
				MaxNorm: 1, Step: t.step})
			if err != nil {
				return err
			}
			if loss != loss {
				return fmt.Errorf("the loss is not a number")
			}
		}
		return nil
	})
	m.Tokens = m.Rate * float64(prompt.Targets(order)) / float64(len(order))
	return m, err
}
