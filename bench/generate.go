package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// The shape of generation: the residual prompt's beginning cut to 30 tokens, answers of 10, so many
// side by side.
const (
	answerSamples   = 128
	answerTokens    = 10
	answerSlots     = 32
	answerBeginning = 30
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
		for slots := 1; slots <= 512; slots *= 2 {
			w := b.generation(slots, answerBeginning)
			w.Batch = slots
			if slots > batchedBenchMost && b.beside(LlamaCpp) {
				w.peers = nil
				w.Failed = []Trial{{Variant: batchedBench, Failed: fmt.Sprintf("it runs at most %d sequences", batchedBenchMost)}}
			}
			works = append(works, w)
		}
	case ByLength:
		for beginning := 16; beginning <= min(1024, b.info.Context-answerTokens); beginning *= 2 {
			w := b.generation(answerSlots, beginning)
			w.Length = beginning
			works = append(works, w)
		}
	default:
		works = append(works, b.generation(answerSlots, answerBeginning))
	}
	for i := range works {
		if b.Sweep != "" {
			works[i].Name, works[i].Asked = fmt.Sprintf("%d tokens in each sequence", answerTokens), ""
		}
	}
	return works, b.copyBF16(ctx)
}

// generation generates tokens alone: behind a beginning every slot takes one token at a time, all
// slots together. The next token and its log-probability are chosen each time, which
// llama-batched-bench does not do.
func (b *bed) generation(slots, beginning int) work {
	folder := b.path("workload-generate")
	return work{
		Figure: Figure{Name: fmt.Sprintf("%d tokens in each of %d sequences", answerTokens, slots), Unit: "sequences",
			Asked: "1 × llama-batched-bench", FLOP: answerTokens * b.needs.ForwardFLOP(1, 1),
			Formula: "2 × numbers in the LLM's matrices × tokens"},
		peers: b.llamaPeers(folder, "--alone", "--slots", strconv.Itoa(slots)),
		open: func(ctx context.Context) (_ *ready, err error) {
			w, err := b.newWorkload(ctx, residual, answerSamples, beginning)
			if err != nil {
				return nil, err
			}
			if err := w.write(folder, workloadBatch); err != nil {
				return nil, err
			}
			prefix := w.prompt.Prefix()
			g, err := cgo.NewGenerator(b.engine, b.gguf, cgo.GeneratorParams{Slots: slots, Context: beginning + answerTokens})
			if err != nil {
				return nil, err
			}
			if err := g.Prefix(prefix); err != nil {
				return nil, errors.Join(err, g.Close())
			}
			shape := check{"samples": float64(slots), "question": float64(beginning), "generated": float64(answerTokens)}
			return &ready{check: shape, close: g.Close, once: func(context.Context) (m measured, err error) {
				rounds := max(1, answerSamples/slots)
				for range rounds {
					one, err := decode(g, slots, prefix)
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
}

// decode generates the tokens of one sequence in each slot, which begin with different tokens of
// the prefix.
func decode(g *cgo.Generator, slots int, prefix []int32) (measured, error) {
	batch := cgo.DecodeBatch{Counts: make([]int32, slots), Tokens: make([]int32, slots)}
	for slot := range slots {
		if err := g.Reset(slot); err != nil {
			return measured{}, err
		}
		batch.Slots = append(batch.Slots, int32(slot))
		batch.Counts[slot], batch.Tokens[slot] = 1, prefix[slot%len(prefix)]
	}
	result := cgo.Decoded{Tokens: make([]int32, slots), LogProbs: make([]float32, slots)}
	return timed(slots, func() error {
		for range answerTokens {
			if err := g.Decode(batch, result); err != nil {
				return err
			}
			copy(batch.Tokens, result.Tokens)
		}
		return nil
	})
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
