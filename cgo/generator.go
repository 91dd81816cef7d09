package cgo

// #include "recint.h"
// #cgo nocallback ri_generator_decode
// #cgo noescape ri_generator_decode
// #cgo nocallback ri_generator_copy
// #cgo noescape ri_generator_copy
// #cgo nocallback ri_generator_reset
// #cgo noescape ri_generator_reset
import "C"

import (
	"math"
	"runtime"
	"unsafe"
)

// Generator decodes several sequences side by side with llama.cpp.
type Generator struct {
	handle[*C.ri_generator]
	embd, vocab int
}

// MaxSlots is the most sequences that a generator decodes side by side.
const MaxSlots = C.RI_MAX_SLOTS

// GeneratorParams sizes a generator.
type GeneratorParams struct {
	Slots   int // sequences decoded side by side, 1..MaxSlots
	Context int // positions of each, the prefix included
}

// NewGenerator loads the file's weights for generation.
func NewGenerator(engine *Engine, gguf *GGUF, params GeneratorParams) (*Generator, error) {
	const op = "make generator"
	if engine == nil || gguf == nil {
		return nil, closed(op)
	}
	if err := checkInt32(op, params.Slots, params.Context); err != nil {
		return nil, err
	}
	p := C.ri_generator_params_default()
	p.n_slots, p.n_context = C.int32_t(params.Slots), C.int32_t(params.Context)
	var native *C.ri_generator
	err := engine.use(op, func(e *C.ri_engine) error {
		return gguf.use(op, func(g *C.ri_gguf) error {
			return try(op, func(err *C.ri_error) C.ri_status { return C.ri_generator_create(e, g, &p, &native, err) })
		})
	})
	if err != nil {
		return nil, err
	}
	g := &Generator{embd: gguf.info.Embd, vocab: gguf.info.Vocab}
	g.own(native, func(p *C.ri_generator) { C.ri_generator_free(p) })
	return g, nil
}

// Prefix empties every slot and makes tokens the shared start of each, computed once.
func (g *Generator) Prefix(tokens []int32) error {
	const op = "set prefix"
	return g.use(op, func(p *C.ri_generator) error {
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_generator_prefix(p, data[C.int32_t](tokens), C.size_t(len(tokens)), e)
		})
	})
}

// Reset empties a slot back to the prefix.
func (g *Generator) Reset(slot int) error {
	const op = "reset slot"
	if err := checkInt32(op, slot); err != nil {
		return err
	}
	return g.use(op, func(p *C.ri_generator) error {
		return try(op, func(e *C.ri_error) C.ri_status { return C.ri_generator_reset(p, C.int32_t(slot), e) })
	})
}

// Copy makes slot to hold what slot from holds, so that a sequence can go on in two ways.
func (g *Generator) Copy(from, to int) error {
	const op = "copy slot"
	if err := checkInt32(op, from, to); err != nil {
		return err
	}
	return g.use(op, func(p *C.ri_generator) error {
		return try(op, func(e *C.ri_error) C.ri_status { return C.ri_generator_copy(p, C.int32_t(from), C.int32_t(to), e) })
	})
}

// DecodeBatch is what is appended to some of the slots, and what is asked about that which follows.
type DecodeBatch struct {
	Slots  []int32   // each once
	Counts []int32   // as many as slots: positions appended to each, at least 1
	Rows   []float32 // [sum of counts, E]: embedding vectors, or nil
	Tokens []int32   // [sum of counts]: ids, or nil; exactly one of Rows and Tokens is given

	AskedCounts []int32 // as many as slots, or nil: tokens asked about behind each
	Asked       []int32 // [sum of AskedCounts]
}

// Decoded is what follows the last position of each slot of a batch. What is nil is not computed.
type Decoded struct {
	Tokens   []int32   // [slots]: the most likely token
	LogProbs []float32 // [slots]: its log-probability
	Asked    []float32 // [sum of AskedCounts]: log-probabilities of the tokens asked about
	Logits   []float32 // [slots, vocabulary]
}

// check holds the batch against its own sizes and the model's width.
func (b DecodeBatch) check(op string, embd int) error {
	if err := checkLength(op, "Counts", len(b.Counts), len(b.Slots)); err != nil {
		return err
	}
	sum := 0
	for i, n := range b.Counts {
		if n < 1 || sum > math.MaxInt32 {
			return invalid(op, "Counts[%d] is %d; each is at least 1, their sum at most %d", i, n, math.MaxInt32)
		}
		sum += int(n)
	}
	if (b.Rows == nil) == (b.Tokens == nil) {
		return invalid(op, "exactly one of Rows and Tokens is to be given")
	}
	asked := 0
	if b.AskedCounts != nil {
		if err := checkLength(op, "AskedCounts", len(b.AskedCounts), len(b.Slots)); err != nil {
			return err
		}
		for i, n := range b.AskedCounts {
			if n < 0 {
				return invalid(op, "AskedCounts[%d] is %d", i, n)
			}
			asked += int(n)
		}
	}
	if err := checkLength(op, "Asked", len(b.Asked), asked); err != nil {
		return err
	}
	if b.Rows != nil {
		return checkLength(op, "Rows", len(b.Rows), sum, embd)
	}
	return checkLength(op, "Tokens", len(b.Tokens), sum)
}

// Decode appends to slots and writes to what is not nil of result. After a failure the slots of the
// batch are empty back to the prefix.
func (g *Generator) Decode(b DecodeBatch, result Decoded) error {
	const op = "decode"
	if err := b.check(op, g.embd); err != nil {
		return err
	}
	outputs := []struct {
		name  string
		given bool
		got   int
		shape []int
	}{
		{"Tokens", result.Tokens != nil, len(result.Tokens), []int{len(b.Slots)}},
		{"LogProbs", result.LogProbs != nil, len(result.LogProbs), []int{len(b.Slots)}},
		{"Asked", result.Asked != nil, len(result.Asked), []int{len(b.Asked)}},
		{"Logits", result.Logits != nil, len(result.Logits), []int{len(b.Slots), g.vocab}},
	}
	for _, o := range outputs {
		if o.given {
			if err := checkLength(op, "result."+o.name, o.got, o.shape...); err != nil {
				return err
			}
		}
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	for _, p := range []any{unsafe.SliceData(b.Slots), unsafe.SliceData(b.Counts), unsafe.SliceData(b.Rows),
		unsafe.SliceData(b.Tokens), unsafe.SliceData(b.AskedCounts), unsafe.SliceData(b.Asked), unsafe.SliceData(result.Tokens),
		unsafe.SliceData(result.LogProbs), unsafe.SliceData(result.Asked), unsafe.SliceData(result.Logits)} {
		pin.Pin(p)
	}
	batch := C.ri_decode_batch{
		n_slots: C.size_t(len(b.Slots)), slots: data[C.int32_t](b.Slots), counts: data[C.int32_t](b.Counts),
		rows: data[C.float](b.Rows), tokens: data[C.int32_t](b.Tokens),
		asked_counts: data[C.int32_t](b.AskedCounts), asked: data[C.int32_t](b.Asked),
	}
	out := C.ri_decode_result{tokens: data[C.int32_t](result.Tokens), logprobs: data[C.float](result.LogProbs),
		asked: data[C.float](result.Asked), logits: data[C.float](result.Logits)}
	return g.use(op, func(p *C.ri_generator) error {
		return try(op, func(e *C.ri_error) C.ri_status { return C.ri_generator_decode(p, &batch, &out, e) })
	})
}
