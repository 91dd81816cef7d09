package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// The shape of generation: the residual prompt's beginning cut to 30 tokens, the soft tokens of its
// two states, answers of 10 tokens, so many side by side.
const (
	answerSamples   = 128
	answerTokens    = 10
	answerSlots     = 32
	answerBeginning = 30
	answerSoft      = 2 * softTokens
)

// batchedBenchMost is how many sequences llama.cpp's benchmark runs side by side.
const batchedBenchMost = 256

// llamaPeers run llama.cpp's own benchmark in the shape of a workload: of the same file, and of a
// copy of it in BF16, since on a processor with AVX512-BF16 our generator makes such a copy when it
// loads the file.
func (b *bed) llamaPeers(folder string, more ...string) []peer {
	command := func(llm string) []string {
		return append([]string{"generate_llama_cpp.py", filepath.Join(b.Peers.Tools, batchedBench), llm, folder}, more...)
	}
	// It shows nothing of what it computes, but how much.
	shape := closeTo(map[string]float64{"samples": 0, "question": 0, "generated": 0})
	return []peer{
		{kind: LlamaCpp, name: "the same file", command: command(b.LLM), agrees: shape, gpu: true},
		{kind: LlamaCpp, name: "a copy in BF16", command: command(b.path(bf16File)), agrees: shape, gpu: true},
	}
}

// bf16File is the LLM with its matrices in BF16.
const bf16File = "bf16.gguf"

// copyBF16 makes that copy, once.
func (b *bed) copyBF16(ctx context.Context) error {
	if _, err := os.Stat(b.path(bf16File)); err == nil || !b.beside(LlamaCpp) {
		return nil
	}
	said, err := exec.CommandContext(ctx, filepath.Join(b.Peers.Tools, "llama-quantize"), "--allow-requantize", "--pure", b.LLM,
		b.path(bf16File), "BF16").CombinedOutput()
	if err != nil {
		return fmt.Errorf("llama-quantize: %w\n%s", err, said[max(0, len(said)-500):])
	}
	return nil
}

func (b *bed) generations(ctx context.Context) (works []work, err error) {
	switch b.Sweep {
	case ByBatch:
		for _, slots := range doubled(1, sweptTo) {
			w := b.generation(slots, answerBeginning)
			w.Batch = slots
			works = append(works, w)
		}
	case ByLength:
		for _, beginning := range doubled(16, min(1024, b.info.Context-answerSoft-answerTokens)) {
			w := b.generation(b.slots(), beginning)
			w.Length = beginning
			works = append(works, w)
		}
	default:
		works = append(works, b.generation(b.slots(), answerBeginning))
	}
	for i := range works {
		if b.Sweep != "" {
			works[i].Name, works[i].Asked = fmt.Sprintf("%d tokens in each sequence", answerTokens), ""
		}
	}
	return works, b.copyBF16(ctx)
}

// slots are how many sequences are generated side by side.
func (b *bed) slots() int {
	switch {
	case b.Batch > 0:
		return b.Batch
	case b.onGPU():
		return batchOnGPU
	}
	return answerSlots
}

// generation generates tokens alone: after a beginning and the soft tokens of a sample, which are
// not timed, every slot takes one token at a time, all slots together. The next token and its
// log-probability are chosen each time, which llama-batched-bench does not do.
func (b *bed) generation(slots, beginning int) work {
	folder := b.path("workload-generate")
	w := work{
		Figure: Figure{Name: fmt.Sprintf("%d tokens in each of %d sequences", answerTokens, slots), Unit: "sequences",
			Asked: "1 × PyTorch, 1 × llama-batched-bench", FLOP: answerTokens * b.needs.ForwardFLOP(1, 1),
			Formula: "2 × numbers in the LLM's matrices × tokens"},
		// PyTorch comes first: the others do not run every number of sequences.
		peers: append([]peer{{kind: PyTorch, agrees: answersAgree, gpu: true,
			command: []string{"generate_tuned.py", b.LLM, folder, "--slots", strconv.Itoa(slots)}}},
			b.llamaPeers(folder, "--alone", "--slots", strconv.Itoa(slots))...),
		open: func(ctx context.Context) (_ *ready, err error) {
			w, err := b.newWorkload(ctx, residual, answerSamples, beginning)
			if err != nil {
				return nil, err
			}
			if err := w.write(folder, workloadBatch); err != nil {
				return nil, err
			}
			soft, err := w.softTokens(b.engine, slots)
			if err != nil {
				return nil, err
			}
			g, err := cgo.NewGenerator(b.engine, b.gguf, cgo.GeneratorParams{Slots: slots, Context: beginning + answerSoft + answerTokens})
			if err != nil {
				return nil, err
			}
			if err := g.Prefix(w.prompt.Prefix()); err != nil {
				return nil, errors.Join(err, g.Close())
			}
			tokens, _, err := generate(g, slots, soft)
			if err != nil {
				return nil, errors.Join(err, g.Close())
			}
			figures := check{"samples": float64(slots), "question": float64(beginning + answerSoft), "generated": float64(answerTokens),
				"tokens": tokens}
			return &ready{check: figures, close: g.Close, once: func(context.Context) (m measured, err error) {
				rounds := max(1, answerSamples/slots)
				for range rounds {
					_, one, err := generate(g, slots, soft)
					if err != nil {
						return m, err
					}
					m.Seconds += one.Seconds
				}
				m.Rate = float64(rounds*slots) / m.Seconds
				m.Tokens = answerTokens * m.Rate
				return m, nil
			}}, nil
		},
	}
	if slots > batchedBenchMost && b.beside(LlamaCpp) {
		w.peers = w.peers[:1]
		w.Failed = []Trial{{Variant: batchedBench, Failed: fmt.Sprintf("it runs at most %d sequences", batchedBenchMost)}}
	}
	return w
}

// softTokens are the rows that sequences begin with: those of a sample each, again from the first
// sample where there are more sequences.
func (w *workload) softTokens(engine *cgo.Engine, sequences int) (rows []float32, err error) {
	model, err := w.adapter.Model(engine)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	var states []float32
	for i := range sequences {
		states = append(states, w.samples[i%len(w.samples)].Values...)
	}
	rows = make([]float32, sequences*answerSoft*w.adapter.Shape.Embd)
	return rows, model.SoftTokens(rows, states, len(states)/w.adapter.Shape.In)
}

// generate begins a sequence in each slot with its soft tokens, and measures how its tokens are
// generated. It gives the first two tokens of the first sequences: after a token that rounding has
// turned all others differ from a peer's.
func generate(g *cgo.Generator, slots int, soft []float32) (begun [][]int32, m measured, err error) {
	batch := cgo.DecodeBatch{Rows: soft}
	for slot := range slots {
		if err := g.Reset(slot); err != nil {
			return nil, m, err
		}
		batch.Slots, batch.Counts = append(batch.Slots, int32(slot)), append(batch.Counts, answerSoft)
	}
	first := cgo.Decoded{Tokens: make([]int32, slots)}
	if err := g.Decode(batch, first); err != nil {
		return nil, m, err
	}
	tokens, m, err := decode(g, first.Tokens)
	if err != nil {
		return nil, m, err
	}
	for i := range min(slots, answerSlots) {
		begun = append(begun, []int32{first.Tokens[i], tokens[0][i]})
	}
	return begun, m, nil
}

// decode generates the tokens of one sequence in each slot, after its first one: [position][slot].
func decode(g *cgo.Generator, first []int32) (tokens [][]int32, m measured, err error) {
	slots := len(first)
	batch := cgo.DecodeBatch{Counts: slices.Repeat([]int32{1}, slots), Tokens: first}
	for slot := range slots {
		batch.Slots = append(batch.Slots, int32(slot))
	}
	logprobs := make([]float32, slots)
	m, err = timed(slots, func() error {
		for range answerTokens {
			result := cgo.Decoded{Tokens: make([]int32, slots), LogProbs: logprobs}
			if err := g.Decode(batch, result); err != nil {
				return err
			}
			batch.Tokens = result.Tokens
			tokens = append(tokens, result.Tokens)
		}
		return nil
	})
	return tokens, m, err
}

func (b *bed) evaluations(ctx context.Context) ([]work, error) {
	w, err := b.newWorkload(ctx, residual, answerSamples, answerBeginning)
	if err != nil {
		return nil, err
	}
	folder := b.path("workload-answers")
	if err := errors.Join(w.write(folder, workloadBatch), b.copyBF16(ctx)); err != nil {
		return nil, err
	}
	return []work{b.answers(w, folder), b.titles(w)}, nil
}

// interpreter answers a workload's questions.
func (b *bed) interpreter(w *workload) (*interpret.Interpreter, []prompt.States, error) {
	i, err := interpret.New(b.engine, b.gguf, w.adapter, w.prompt, interpret.Options{Slots: answerSlots, MaxTokens: answerTokens})
	states := make([]prompt.States, len(w.samples))
	for s := range states {
		states[s] = w.samples[s].States
	}
	return i, states, err
}

// answers answers residual questions freely.
func (b *bed) answers(w *workload, folder string) work {
	positions := len(w.prompt.Suffix(w.samples[0].Counts))
	return work{
		Figure: Figure{Name: "answers to the residual prompt", Unit: "answers", Asked: "2 × the authors' way, 1 × llama-batched-bench",
			FLOP:    b.needs.ForwardFLOP(float64(positions+answerTokens-1), answerTokens),
			Formula: "2 × numbers in the LLM's matrices × positions behind the prefix; head and last layer at the answer alone"},
		peers: append([]peer{{kind: PyTorch, agrees: answersAgree, command: []string{"generate_authors.py", b.LLM, folder}}},
			b.llamaPeers(folder)...),
		open: func(ctx context.Context) (*ready, error) {
			i, states, err := b.interpreter(w)
			if err != nil {
				return nil, err
			}
			first, err := i.Answer(ctx, states[:answerSlots])
			if err != nil {
				return nil, errors.Join(err, i.Close())
			}
			var tokens [][]int32
			for _, a := range first {
				tokens = append(tokens, a.Tokens)
			}
			figures := check{"tokens": tokens, "samples": float64(answerSlots), "question": float64(positions),
				"generated": float64(answerTokens - 1)}
			return &ready{check: figures, close: i.Close, once: func(ctx context.Context) (measured, error) {
				said := 0
				m, err := timed(1, func() error {
					all, err := i.Answer(ctx, states)
					for _, a := range all {
						said += len(a.Tokens)
						if a.Ended {
							said++
						}
					}
					return err
				})
				// An answer that ends early is less work than the peers', which go on: answers are
				// counted by their tokens.
				m.Tokens = float64(said) / m.Seconds
				m.Rate = m.Tokens / answerTokens
				return m, err
			}}, nil
		},
	}
}

// titles weighs all titles of the data set for one state. Only different beginnings of titles are
// counted as work, whatever is computed beside or twice.
func (b *bed) titles(w *workload) work {
	var titles []string
	for _, item := range b.data.Items {
		titles = append(titles, item.Title)
	}
	answers, err := prompt.AllTokens(b.gguf, titles)
	beginnings := map[string]bool{}
	for _, answer := range answers {
		for n := range answer { // with the empty one, without the end token
			beginnings[fmt.Sprint(answer[:n])] = true
		}
	}
	n := float64(len(beginnings))
	return work{
		Figure: Figure{Name: fmt.Sprintf("probabilities of all %d titles", len(titles)), Unit: "states", Asked: "1.5 s",
			FLOP: b.needs.ForwardFLOP(n, n), Formula: "2 × numbers in the LLM's matrices × different beginnings of titles"},
		open: func(context.Context) (*ready, error) {
			if err != nil {
				return nil, err
			}
			i, states, err := b.interpreter(w)
			if err != nil {
				return nil, err
			}
			s, err := i.NewScorer(cgo.BF16)
			if err != nil {
				return nil, errors.Join(err, i.Close())
			}
			scored, err := s.Titles(titles)
			if err != nil {
				return nil, errors.Join(err, s.Close(), i.Close())
			}
			return &ready{
				once: func(ctx context.Context) (measured, error) {
					return timed(1, func() error {
						_, err := scored.Scores(ctx, states[:1], nil)
						return err
					})
				},
				close: func() error { return errors.Join(s.Close(), i.Close()) },
			}, nil
		},
	}
}
