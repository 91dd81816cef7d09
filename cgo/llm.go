package cgo

// #include "recint.h"
// #cgo nocallback ri_align_backward
// #cgo nocallback ri_align_step
// #cgo noescape ri_align_backward
// #cgo noescape ri_align_step
// #cgo nocallback ri_align_logprobs
// #cgo noescape ri_align_logprobs
// #cgo nocallback ri_align_logits
// #cgo noescape ri_align_logits
// #cgo nocallback ri_align_branches
// #cgo noescape ri_align_branches
import "C"

import (
	"cmp"
	"runtime"
	"unsafe"
)

// Precision is how an LLM keeps its weights for training.
type Precision int32

// The precisions.
const (
	F32  Precision = C.RI_F32  // the exact mode
	BF16 Precision = C.RI_BF16 // bfloat16 weights; the other operand of each large product is rounded too
)

// String gives "f32" or "bf16".
func (p Precision) String() string {
	if p == BF16 {
		return "bf16"
	}
	return "f32"
}

// LLM is a frozen language model that can be differentiated with respect to the soft tokens in its
// input.
type LLM struct {
	handle[*C.ri_llm]
	vocab int
}

// Prefix holds the keys and values of the tokens that every sample starts with.
type Prefix struct{ handle[*C.ri_prefix] }

// NewLLM loads the weights of a file whose architecture is described (docs/llms.md). The file may
// be closed afterwards.
func NewLLM(engine *Engine, gguf *GGUF, precision Precision) (*LLM, error) {
	const op = "load LLM"
	if engine == nil || gguf == nil {
		return nil, closed(op)
	}
	var native *C.ri_llm
	err := engine.use(op, func(e *C.ri_engine) error {
		return gguf.use(op, func(g *C.ri_gguf) error {
			return try(op, func(err *C.ri_error) C.ri_status {
				return C.ri_llm_create(e, g, C.ri_precision(precision), &native, err)
			})
		})
	})
	if err != nil {
		return nil, err
	}
	l := &LLM{vocab: gguf.info.Vocab}
	l.own(native, func(p *C.ri_llm) { C.ri_llm_free(p) })
	return l, nil
}

// NewPrefix computes the keys and values of tokens, which may be none.
func (l *LLM) NewPrefix(tokens []int32) (*Prefix, error) {
	const op = "compute prefix"
	var native *C.ri_prefix
	err := l.use(op, func(p *C.ri_llm) error {
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_prefix_create(p, data[C.int32_t](tokens), C.size_t(len(tokens)), &native, e)
		})
	})
	if err != nil {
		return nil, err
	}
	prefix := &Prefix{}
	prefix.own(native, func(p *C.ri_prefix) { C.ri_prefix_free(p) })
	return prefix, nil
}

// AlignBatch is B samples of S positions after the prefix, each with states of its own.
type AlignBatch struct {
	Samples, Positions int
	States             []int32   // [B]: how many states each sample has
	Tokens             []int32   // [B, S]: an id, or -1-j for soft token j of the sample, each used once
	Targets            []int32   // [B, S]: the id to predict at this position (the token that follows), or -1
	StateValues        []float32 // [sum of States, In] of the adapter
	Weight             float64   // of each target in the loss
}

// TargetCount is the number of positions with something to predict.
func (b AlignBatch) TargetCount() int {
	n := 0
	for _, t := range b.Targets {
		if t >= 0 {
			n++
		}
	}
	return n
}

// check holds the batch against its own sizes and the adapter.
func (b AlignBatch) check(op string, adapter *Adapter) error {
	if err := checkLength(op, "States", len(b.States), b.Samples); err != nil {
		return err
	}
	states := 0
	for _, n := range b.States {
		states += max(int(n), 0)
	}
	if err := checkLength(op, "Tokens", len(b.Tokens), b.Samples, b.Positions); err != nil {
		return err
	}
	if err := checkLength(op, "Targets", len(b.Targets), b.Samples, b.Positions); err != nil {
		return err
	}
	return checkLength(op, "StateValues", len(b.StateValues), states, adapter.params.In)
}

// align runs one of the functions on batches.
func (l *LLM) align(op string, prefix *Prefix, adapter *Adapter, b AlignBatch,
	call func(l *C.ri_llm, p *C.ri_prefix, a *C.ri_model, b *C.ri_align_batch, err *C.ri_error) C.ri_status) error {
	if prefix == nil || adapter == nil {
		return closed(op)
	}
	if err := b.check(op, adapter); err != nil {
		return err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(unsafe.SliceData(b.States))
	pin.Pin(unsafe.SliceData(b.Tokens))
	pin.Pin(unsafe.SliceData(b.Targets))
	pin.Pin(unsafe.SliceData(b.StateValues))
	batch := C.ri_align_batch{
		n_samples: C.size_t(b.Samples), n_positions: C.size_t(b.Positions),
		n_states: data[C.int32_t](b.States), tokens: data[C.int32_t](b.Tokens),
		targets: data[C.int32_t](b.Targets), states: data[C.float](b.StateValues),
		weight: C.double(b.Weight),
	}
	return l.with(op, prefix, adapter, func(l *C.ri_llm, p *C.ri_prefix, a *C.ri_model, e *C.ri_error) C.ri_status {
		return call(l, p, a, &batch, e)
	})
}

// with calls the core with all three held open.
func (l *LLM) with(op string, prefix *Prefix, adapter *Adapter,
	call func(l *C.ri_llm, p *C.ri_prefix, a *C.ri_model, err *C.ri_error) C.ri_status) error {
	return l.use(op, func(lp *C.ri_llm) error {
		return prefix.use(op, func(pp *C.ri_prefix) error {
			return adapter.use(op, func(ap *C.ri_model) error {
				return try(op, func(e *C.ri_error) C.ri_status { return call(lp, pp, ap, e) })
			})
		})
	})
}

// Backward gives Weight · Σ −log p(target) and adds its gradient to the adapter's.
func (l *LLM) Backward(prefix *Prefix, adapter *Adapter, b AlignBatch) (loss float64, err error) {
	err = l.align("train adapter", prefix, adapter, b,
		func(l *C.ri_llm, p *C.ri_prefix, a *C.ri_model, b *C.ri_align_batch, err *C.ri_error) C.ri_status {
			return C.ri_align_backward(l, p, a, b, (*C.double)(&loss), err)
		})
	return loss, err
}

// Step is Backward followed by Update, in one: a GPU is not waited for in between.
func (l *LLM) Step(prefix *Prefix, adapter *Adapter, b AlignBatch, a AdamW) (loss float64, gradNorm float32, err error) {
	params := a.params()
	err = l.align("train adapter", prefix, adapter, b,
		func(l *C.ri_llm, p *C.ri_prefix, a *C.ri_model, b *C.ri_align_batch, err *C.ri_error) C.ri_status {
			return C.ri_align_step(l, p, a, b, &params, (*C.double)(&loss), (*C.float)(&gradNorm), err)
		})
	return loss, gradNorm, err
}

// LogProbs writes log p of each target in row-major order: dst [TargetCount].
func (l *LLM) LogProbs(dst []float32, prefix *Prefix, adapter *Adapter, b AlignBatch) error {
	const op = "compute log-probabilities"
	if err := checkLength(op, "dst", len(dst), b.TargetCount()); err != nil {
		return err
	}
	return l.align(op, prefix, adapter, b,
		func(l *C.ri_llm, p *C.ri_prefix, a *C.ri_model, b *C.ri_align_batch, err *C.ri_error) C.ri_status {
			return C.ri_align_logprobs(l, p, a, b, data[C.float](dst), err)
		})
}

// Logits writes the logits at each position that has a target: dst [TargetCount, vocabulary].
func (l *LLM) Logits(dst []float32, prefix *Prefix, adapter *Adapter, b AlignBatch) error {
	const op = "compute logits"
	if err := checkLength(op, "dst", len(dst), b.TargetCount(), l.vocab); err != nil {
		return err
	}
	return l.align(op, prefix, adapter, b,
		func(l *C.ri_llm, p *C.ri_prefix, a *C.ri_model, b *C.ri_align_batch, err *C.ri_error) C.ri_status {
			return C.ri_align_logits(l, p, a, b, data[C.float](dst), err)
		})
}

// Branches is one sample whose answer goes on in several ways: its positions after the prefix are
// the nodes of a tree.
type Branches struct {
	Tokens      []int32   // [S]: an id, or -1-j for soft token j, each used once
	Parents     []int32   // [S]: the position that comes before, a smaller number; -1: the prefix does
	AskedCounts []int32   // [S]: tokens asked about behind each position
	Asked       []int32   // [sum of AskedCounts]
	StateValues []float32 // [N, In] of the adapter
}

// BranchLogProbs writes log p, among all tokens, of each token asked about: dst [len(b.Asked)].
func (l *LLM) BranchLogProbs(dst []float32, prefix *Prefix, adapter *Adapter, b Branches) error {
	const op = "compute log-probabilities of branches"
	if prefix == nil || adapter == nil {
		return closed(op)
	}
	states, asked := len(b.StateValues)/max(1, adapter.params.In), 0
	for i, n := range b.AskedCounts {
		if n < 0 {
			return invalid(op, "AskedCounts[%d] is %d", i, n)
		}
		asked += int(n)
	}
	if err := cmp.Or(checkInt32(op, states), checkLength(op, "Parents", len(b.Parents), len(b.Tokens)),
		checkLength(op, "AskedCounts", len(b.AskedCounts), len(b.Tokens)), checkLength(op, "Asked", len(b.Asked), asked),
		checkLength(op, "dst", len(dst), asked), checkLength(op, "StateValues", len(b.StateValues), states, adapter.params.In)); err != nil {
		return err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	for _, p := range []any{unsafe.SliceData(b.Tokens), unsafe.SliceData(b.Parents), unsafe.SliceData(b.AskedCounts),
		unsafe.SliceData(b.Asked), unsafe.SliceData(b.StateValues)} {
		pin.Pin(p)
	}
	branches := C.ri_branches{
		n_positions: C.size_t(len(b.Tokens)), tokens: data[C.int32_t](b.Tokens), parents: data[C.int32_t](b.Parents),
		asked_counts: data[C.int32_t](b.AskedCounts), asked: data[C.int32_t](b.Asked),
		n_states: C.int32_t(states), states: data[C.float](b.StateValues),
	}
	return l.with(op, prefix, adapter, func(l *C.ri_llm, p *C.ri_prefix, a *C.ri_model, e *C.ri_error) C.ri_status {
		return C.ri_align_branches(l, p, a, &branches, data[C.float](dst), e)
	})
}
