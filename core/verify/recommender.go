package verify

import (
	"context"
	"fmt"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// recommenderCase is a recommender with the inputs and outputs of another implementation. It
// collects figures until an error stops it.
type recommenderCase struct {
	*recommender.Recommender
	config    recommender.Config
	expected  *artifact.File
	histories cgo.Histories
	n         int // histories
	figures   []Figure
	computed  []artifact.Tensor
	err       error
}

// verifyRecommender runs the histories of the expected file through the weights. Tolerances: a
// float32 encoder agrees to 2e-5 in its states and to 2e-4 in its scores, which sum 64 products of
// them; a diffusion, whose numbers have other sizes, to 1e-4 of the largest.
func verifyRecommender(ctx context.Context, engine *cgo.Engine, path string, weights *artifact.File, opts Options) (
	[]Figure, error) {
	expected, err := artifact.ReadSafetensors(stem(path) + ".expected.safetensors")
	if err != nil {
		return nil, fmt.Errorf("verify: the inputs and outputs of %s: %w", path, err)
	}
	if err := finite(path, expected); err != nil {
		return nil, err
	}
	r, err := recommender.FromFile(engine, weights)
	if err != nil {
		return nil, fmt.Errorf("verify: %s: %w", path, err)
	}
	defer r.Close()
	c := &recommenderCase{Recommender: r, config: r.Config(), expected: expected}
	if c.histories.Lengths, err = expected.Int32("len"); err != nil {
		return nil, err
	}
	c.n = len(c.histories.Lengths)
	if c.histories.Items, err = expected.Int32("seq", c.n, c.config.Positions); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.Generates() {
		c.diffusion(weights)
	} else {
		c.encoder()
	}
	if c.err != nil {
		return nil, fmt.Errorf("verify: %s: %w", path, c.err)
	}
	return c.figures, write(opts, path, ".computed", c.computed)
}

// want is an array of the expected file.
func (c *recommenderCase) want(name string, shape ...int) []float32 {
	values, err := c.expected.Float32(name, shape...)
	if c.err == nil {
		c.err = err
	}
	return values
}

// compare computes an array of the shape and compares it with the expected array of that name.
func (c *recommenderCase) compare(name string, figure func(name string, computed, expected []float32, tolerance float64) Figure,
	tolerance float64, compute func(dst []float32) error, shape ...int) {
	expected := c.want(name, shape...)
	if c.err != nil {
		return
	}
	computed := make([]float32, len(expected))
	if c.err = compute(computed); c.err == nil {
		c.figures = append(c.figures, figure(name, computed, expected, tolerance))
		c.computed = append(c.computed, artifact.Tensor{Name: name, DType: "F32", Shape: shape, F32: computed})
	}
}

func (c *recommenderCase) encoder() {
	if _, err := c.expected.Find("hidden"); err == nil { // not every case has the states
		c.compare("hidden", maxAbs, 2e-5, func(dst []float32) error { return c.Model().States(dst, c.histories, false) },
			c.n, c.StateWidth())
	}
	c.compare("scores", maxAbs, 2e-4, func(dst []float32) error { return c.Model().Scores(dst, c.histories) },
		c.n, c.config.Items)
}

// diffusion follows the case from the schedule to the scores: guidance, both predictions from a
// noised target, the loss of training, and a whole sampling run with its recorded noise.
func (c *recommenderCase) diffusion(weights *artifact.File) {
	const tolerance = 1e-4
	model, n, width := c.Model().Diffusion(), c.n, c.config.Width
	diffusion := c.config.Diffusion()
	steps, err := c.expected.Int32("step", n)
	if err != nil {
		c.err = err
		return
	}
	targets, err := c.expected.Int32("target", n)
	if err != nil {
		c.err = err
		return
	}
	noised, guidance, noise := c.want("x_noisy", n, width), c.want("guidance", n, width), c.want("noise", n, width)
	draws := c.want("sample_noise", diffusion.Steps, n, width)
	oracles := c.want("oracle", n, width)
	if c.err != nil {
		return
	}
	c.compare("betas", maxRelative, tolerance, func(dst []float32) error {
		for i, beta := range diffusion.Betas() {
			dst[i] = float32(beta)
		}
		return nil
	}, diffusion.Steps)
	c.compare("guidance", maxRelative, tolerance, func(dst []float32) error { return model.States(dst, c.histories, false) },
		n, width)
	c.compare("x0_conditional", maxRelative, tolerance,
		func(dst []float32) error { return model.Denoise(dst, noised, steps, guidance) }, n, width)
	c.compare("x0_unconditional", maxRelative, tolerance,
		func(dst []float32) error { return model.Denoise(dst, noised, steps, nil) }, n, width)
	c.compare("loss_mse", maxRelative, tolerance, func(dst []float32) error {
		loss, err := model.Backward(cgo.DiffusionBatch{Histories: c.histories, Targets: targets, Steps: steps,
			Noise: noise, Unconditional: make([]int32, n)})
		dst[0] = float32(loss)
		return err
	}, 1)
	every := make([]int32, diffusion.Steps)
	for i := range every {
		every[i] = int32(diffusion.Steps - 1 - i)
	}
	c.compare("oracle", maxRelative, tolerance, func(dst []float32) error {
		return model.Sample(dst, cgo.Sampling{Guidance: guidance, Strength: float32(diffusion.Strength), Steps: every, Noise: draws})
	}, n, width)
	c.compare("scores", maxRelative, tolerance, func(dst []float32) error { return c.scoreAllRows(dst, oracles, weights) },
		n, c.config.Items+1)
}

// scoreAllRows scores the items from oracles, and padding, which the reference scores too: dst [n,
// V+1].
func (c *recommenderCase) scoreAllRows(dst, oracles []float32, weights *artifact.File) error {
	items, width := c.config.Items, c.config.Width
	table, err := weights.Float32("item_embeddings.weight", items+1, width)
	if err != nil {
		return err
	}
	scores := make([]float32, c.n*items)
	if err := c.ScoreStates(scores, oracles); err != nil {
		return err
	}
	for i := range c.n {
		copy(dst[i*(items+1):], scores[i*items:(i+1)*items])
		sum := 0.0
		for k, x := range oracles[i*width : (i+1)*width] {
			sum += float64(x) * float64(table[items*width+k])
		}
		dst[i*(items+1)+items] = float32(sum)
	}
	return nil
}
