package cgo

// #include "recint.h"
// #cgo nocallback ri_diffusion_backward
// #cgo noescape ri_diffusion_backward
// #cgo nocallback ri_diffusion_denoise
// #cgo noescape ri_diffusion_denoise
// #cgo nocallback ri_diffusion_sample
// #cgo noescape ri_diffusion_sample
import "C"

import "runtime"

// Diffusion is a recommender that generates oracles: vectors in the space of its item embeddings.
type Diffusion struct{ *Recommender }

// DiffusionBatch is what one step of a diffusion learns from.
type DiffusionBatch struct {
	Histories
	Targets       []int32   // [B]: the item whose embedding is to be recovered
	Steps         []int32   // [B]: of the diffusion, from 0
	Noise         []float32 // [B, D]: standard normal
	Unconditional []int32   // [B]: 1 where the guidance is dropped, else 0
	Dropout       float32   // probability, at least 0 and below 1
	Seed          uint64    // of this batch's dropout masks
}

// Backward adds a gradient to the model's and gives the loss: the mean squared error between the
// denoiser's prediction and the target's embedding (Yang et al. 2023, arXiv 2310.20453, eq. 9), a
// mean over B·D numbers, plus Rounding times the mean of -log softmax(products of the prediction
// with all embeddings)[target] (Li et al. 2022, arXiv 2205.14217, eq. 2).
func (d *Diffusion) Backward(b DiffusionBatch) (loss float64, err error) {
	const op = "train diffusion"
	err = d.use(op, func(p *C.ri_model) error {
		if err := b.check(op, d.Recommender); err != nil {
			return err
		}
		n := len(b.Lengths)
		for name, length := range map[string]int{
			"Targets": len(b.Targets), "Steps": len(b.Steps), "Unconditional": len(b.Unconditional),
		} {
			if err := checkLength(op, name, length, n); err != nil {
				return err
			}
		}
		if err := checkLength(op, "Noise", len(b.Noise), n, d.info.Width); err != nil {
			return err
		}
		var pin runtime.Pinner
		defer pin.Unpin()
		pinned(&pin, b.Targets)
		pinned(&pin, b.Steps)
		pinned(&pin, b.Noise)
		pinned(&pin, b.Unconditional)
		batch := C.ri_diffusion_batch{
			histories: b.native(&pin, d.Recommender), targets: data[C.int32_t](b.Targets), steps: data[C.int32_t](b.Steps),
			noise: data[C.float](b.Noise), unconditional: data[C.int32_t](b.Unconditional), dropout: C.float(b.Dropout),
			seed: C.uint64_t(b.Seed),
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_diffusion_backward(p, &batch, (*C.double)(&loss), e)
		})
	})
	return loss, err
}

// Denoise writes the embedding that it predicts, dst [n, D], from x [n, D] at steps [n] of the
// diffusion, with guidance [n, D], or nil for none.
func (d *Diffusion) Denoise(dst, x []float32, steps []int32, guidance []float32) error {
	const op = "denoise"
	return d.use(op, func(p *C.ri_model) error {
		n := len(steps)
		if err := checkLength(op, "x", len(x), n, d.info.Width); err != nil {
			return err
		}
		if err := checkLength(op, "dst", len(dst), n, d.info.Width); err != nil {
			return err
		}
		if guidance != nil {
			if err := checkLength(op, "guidance", len(guidance), n, d.info.Width); err != nil {
				return err
			}
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_diffusion_denoise(p, data[C.float](x), data[C.int32_t](steps), data[C.float](guidance), C.size_t(n),
				data[C.float](dst), e)
		})
	})
}

// Sampling says how oracles are drawn.
type Sampling struct {
	Guidance      []float32 // [n, D]
	Strength      float32   // w of classifier-free guidance: (1 + w) conditional - w unconditional
	Steps         []int32   // steps of the diffusion that are taken, falling
	Deterministic bool      // DDIM (Song et al. 2021, η = 0); else DDPM (Ho et al. 2020)
	Noise         []float32 // [len(Steps), n, D]: the start, and what each step but the last adds; of DDIM [n, D]; nil: drawn
	Seed          uint64
	First         uint64 // number of the first oracle in the stream of the seed: it is the same whatever n
}

// Sample writes oracles, dst [n, D]: vectors in the space of the item embeddings.
func (d *Diffusion) Sample(dst []float32, s Sampling) error {
	const op = "sample oracles"
	return d.use(op, func(p *C.ri_model) error {
		width := d.info.Width
		n := len(s.Guidance) / width
		if err := checkLength(op, "Guidance", len(s.Guidance), n, width); err != nil {
			return err
		}
		if err := checkLength(op, "dst", len(dst), n, width); err != nil {
			return err
		}
		if s.Noise != nil {
			draws := len(s.Steps)
			if s.Deterministic {
				draws = 1
			}
			if err := checkLength(op, "Noise", len(s.Noise), draws, n, width); err != nil {
				return err
			}
		}
		var pin runtime.Pinner
		defer pin.Unpin()
		pinned(&pin, s.Guidance)
		pinned(&pin, s.Steps)
		pinned(&pin, s.Noise)
		sampling := C.ri_diffusion_sampling{
			n_oracles: C.size_t(n), guidance: data[C.float](s.Guidance), strength: C.float(s.Strength),
			n_steps: C.size_t(len(s.Steps)), steps: data[C.int32_t](s.Steps), deterministic: flag(s.Deterministic),
			noise: data[C.float](s.Noise), seed: C.uint64_t(s.Seed), first: C.uint64_t(s.First),
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_diffusion_sample(p, &sampling, data[C.float](dst), e)
		})
	})
}
