package cgo

// #include "recint.h"
// #cgo nocallback ri_generator_decode
// #cgo noescape ri_generator_decode
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

// GeneratorParams sizes a generator.
type GeneratorParams struct {
	Slots   int // sequences decoded side by side, 1..255
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
	p := C.ri_generator_params{n_slots: C.int32_t(params.Slots), n_context: C.int32_t(params.Context)}
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

// DecodeBatch is what is appended to some of the slots.
type DecodeBatch struct {
	Slots  []int32   // each once
	Counts []int32   // as many as slots: positions appended to each, at least 1
	Rows   []float32 // [sum of counts, E]: embedding vectors, or nil
	Tokens []int32   // [sum of counts]: ids, or nil; exactly one of Rows and Tokens is given
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
	if b.Rows != nil {
		return checkLength(op, "Rows", len(b.Rows), sum, embd)
	}
	return checkLength(op, "Tokens", len(b.Tokens), sum)
}

// Decode appends to slots and writes, for each of them, what follows its last position: the most likely token, its
// log-probability, and all logits [len(Slots), vocabulary]. Each output may be nil. After a failure the slots of the
// batch are empty back to the prefix.
func (g *Generator) Decode(b DecodeBatch, next []int32, logProbs, logits []float32) error {
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
		{"next", next != nil, len(next), []int{len(b.Slots)}},
		{"logProbs", logProbs != nil, len(logProbs), []int{len(b.Slots)}},
		{"logits", logits != nil, len(logits), []int{len(b.Slots), g.vocab}},
	}
	for _, o := range outputs {
		if o.given {
			if err := checkLength(op, o.name, o.got, o.shape...); err != nil {
				return err
			}
		}
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(unsafe.SliceData(b.Slots))
	pin.Pin(unsafe.SliceData(b.Counts))
	pin.Pin(unsafe.SliceData(b.Rows))
	pin.Pin(unsafe.SliceData(b.Tokens))
	batch := C.ri_decode_batch{
		n_slots: C.size_t(len(b.Slots)), slots: data[C.int32_t](b.Slots), counts: data[C.int32_t](b.Counts),
		rows: data[C.float](b.Rows), tokens: data[C.int32_t](b.Tokens),
	}
	return g.use(op, func(p *C.ri_generator) error {
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_generator_decode(p, &batch, data[C.int32_t](next), data[C.float](logProbs), data[C.float](logits), e)
		})
	})
}
