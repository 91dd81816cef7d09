package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// splitFile holds the sequences, as bench/peers/split.py writes them.
const splitFile = "split.json"

// What encoders are measured with.
const (
	manyStates  = 256
	manyOracles = 1000
	// gBCE as its authors recommend it (Petrov and Macdonald 2023, arXiv 2308.07192).
	manyNegatives = 256
	calibration   = 0.75
)

// writeSplit writes the sequences of a data set, each as [[history], next].
func writeSplit(path string, d *dataset.Dataset, split dataset.Split) error {
	pairs := func(sequences []dataset.Sequence) [][2]any {
		all := make([][2]any, len(sequences))
		for i, s := range sequences {
			all[i] = [2]any{s.History, s.Next}
		}
		return all
	}
	return artifact.WriteAtomic(path, func(w io.Writer) error {
		return json.NewEncoder(w).Encode(struct {
			Items      int      `json:"items"`
			Train      [][2]any `json:"train"`
			Validation [][2]any `json:"validation"`
			Test       [][2]any `json:"test"`
		}{len(d.Items), pairs(split.Train), pairs(split.Validation), pairs(split.Test)})
	})
}

// config is a model's default for histories of so many items; DreamRec's with the loss that its
// authors published, as the peers'.
func (b *bed) config(model string, positions int) (recommender.Config, error) {
	c, err := recommender.Default(model, len(b.data.Items))
	if err != nil {
		return c, err
	}
	c.Positions = positions
	c.BatchSize = min(c.BatchSize, max(1, len(b.split.Train)/4)) // an epoch has some batches whatever the data set
	if c.Diffusion() != nil {
		c.Settings["diffusion.rounding"], c.Settings["diffusion.strength"] = 0.0, 2.0
	}
	c.AllPositions = false // as the peers
	if _, masks := c.Settings["mask_ratio"]; masks {
		c.Settings["mask_ratio"] = 0.0 // the peer hides the next item alone, too
	}
	return c, nil
}

// newRecommender makes a model with random weights, and the file of it that peers read.
func (b *bed) newRecommender(model string, positions int) (*recommender.Recommender, error) {
	c, err := b.config(model, positions)
	if err != nil {
		return nil, err
	}
	r, err := recommender.New(b.engine, c)
	if err != nil {
		return nil, err
	}
	if err := r.Save(b.weights(model)); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// weights is that file.
func (b *bed) weights(model string) string { return b.path(strings.ToLower(model) + ".safetensors") }

func (b *bed) encoders(context.Context) (works []work, err error) {
	for _, model := range models.Names() {
		if named := func(name string) bool { return strings.EqualFold(name, model) }; len(b.Models) > 0 &&
			!slices.ContainsFunc(b.Models, named) {
			continue
		}
		switch b.Sweep {
		case ByBatch:
			for _, batch := range doubled(1, sweptTo) {
				w := b.states(model, batch, recommenderPositions)
				w.Batch = batch
				works = append(works, w)
			}
		case ByLength:
			for _, length := range []int{10, 20, 50, 100, 200} {
				w := b.states(model, manyStates, length)
				w.Length = length
				works = append(works, w)
			}
		default:
			works = append(works, b.oneState(model), b.states(model, manyStates, recommenderPositions), b.recommenderTraining(model, 0))
			if model == models.Default {
				works = append(works, b.recommenderTraining(model, manyNegatives))
			}
			if model == models.DreamRec {
				works = append(works, b.oracles(model))
			}
		}
	}
	return works, nil
}

// recommenderPositions is the length of histories in the paper.
const recommenderPositions = 10

// recommenderPeer times a model in a mode of time_recommender.py.
func (b *bed) recommenderPeer(kind, mode, model string, threads []int, agrees agrees, more ...string) peer {
	return peer{kind: kind, threads: threads, agrees: agrees, command: append([]string{"time_recommender.py", mode, b.path(splitFile),
		"--model", strings.ToLower(model), "--weights", b.weights(model)}, more...)}
}

// sameStates holds together the sums over states.
var sameStates = closeTo(map[string]float64{"n": 0, "states_sum": 1e-4})

// someThreads are those that a peer is tried with: one, and as many as ours.
func (b *bed) someThreads() []int {
	if b.cores > 1 {
		return []int{1, b.cores}
	}
	return []int{1}
}

// encoderFLOP is what the products of one state take, of a history of the model's whole length. In
// the last block of SASRec and DreamRec, which are built alike, and of HSTU, which has as many
// products, only keys and values are needed at all positions.
func encoderFLOP(c recommender.Config) (float64, string) {
	number := func(name string) float64 { return float64(c.Settings.Int(name)) }
	t, d, h := float64(c.Positions), float64(c.Width), number("hidden")
	switch c.Model {
	case models.GRU4Rec:
		return 2 * t * 3 * h * (d + h) * number("layers"), "2 T · 3 H (D + H) · layers"
	case models.Caser:
		flop := 2 * t * d * number("vertical")
		for _, height := range c.Settings.Ints("heights") {
			flop += 2 * number("horizontal") * float64(height) * d * (t - float64(height) + 1)
		}
		return flop, "2 (V T D + Σ_h N h D (T − h + 1))"
	case models.BERT4Rec: // the last block needs keys and values alone, except at the mask
		s, inner := t+1, number("inner")
		return (number("blocks")-1)*s*(8*d*d+4*d*inner+4*s*d) + 4*s*d*d + 6*d*d + 4*d*inner + 4*s*d,
			"(blocks − 1) · S (8 D² + 4 D I + 4 S D) + (4 S + 6) D² + 4 D I + 4 S D, S = T + 1"
	default:
		return (number("blocks")-1)*t*(10*d*d+4*t*d) + 4*t*d*d + 6*d*d + 4*t*d,
			"(blocks − 1) · T (10 D² + 4 T D) + (4 T + 6) D² + 4 T D"
	}
}

// oneState computes one state at a time, of test histories at their true length.
func (b *bed) oneState(model string) work {
	return work{
		Figure:  Figure{Name: model + ", one state", Unit: "states", Asked: "10 × PyTorch, 2 × ONNX Runtime"},
		latency: true,
		peers: []peer{
			b.recommenderPeer(PyTorch, "state", model, []int{1}, sameStates),
			b.recommenderPeer(ONNXRuntime, "state", model, []int{1}, sameStates, "--variant", "onnx"),
		},
		open: func(ctx context.Context) (*ready, error) {
			r, err := b.newRecommender(model, recommenderPositions)
			if err != nil {
				return nil, err
			}
			check, err := b.checkStates(ctx, r, manyStates, 1)
			if err != nil {
				return nil, errors.Join(err, r.Close())
			}
			encoder, dst, histories, at := r.Encoder(), make([]float32, r.StateWidth()), recommender.Histories(b.split.Test), 0
			return &ready{check: check, close: r.Close, once: func(context.Context) (measured, error) {
				return calls(b.Length, 1, func() error {
					at = (at + 1) % len(histories)
					return encoder.State(dst, histories[at])
				})
			}}, nil
		},
	}
}

// checkStates sums up the states of the first n test histories, computed so many at once, as
// time_recommender.py does: weighted, since what leaves a normalisation sums to nothing.
func (b *bed) checkStates(ctx context.Context, r *recommender.Recommender, n, atOnce int) (check, error) {
	histories, w := b.histories(n, recommenderPositions), r.StateWidth()
	states := make([]float32, len(histories)*w)
	for from := 0; from < len(histories); from += atOnce {
		part := histories[from:min(from+atOnce, len(histories))]
		if err := r.States(ctx, states[from*w:][:len(part)*w], part); err != nil {
			return nil, err
		}
	}
	var sum, absolute float64
	for i, x := range states {
		weighted := float64(1+i%7) * float64(x)
		sum, absolute = sum+weighted, absolute+math.Abs(weighted)
	}
	return check{"n": float64(len(histories)), "states_sum": sum, "states_absolute": absolute}, nil
}

// states computes many at once. Histories longer than the data set's are drawn at random; no peer
// is held beside these.
func (b *bed) states(model string, batch, positions int) work {
	c, err := b.config(model, positions)
	flop, formula := encoderFLOP(c)
	w := work{
		Figure: Figure{Name: fmt.Sprintf("%s, %d states at once", model, batch), Unit: "states", FLOP: flop, Formula: formula,
			Asked: "2 × PyTorch"},
		open: func(ctx context.Context) (*ready, error) {
			if err != nil {
				return nil, err
			}
			r, err := b.newRecommender(model, positions)
			if err != nil {
				return nil, err
			}
			check, err := b.checkStates(ctx, r, batch, batch)
			if err != nil {
				return nil, errors.Join(err, r.Close())
			}
			histories, dst := b.histories(batch, positions), make([]float32, batch*r.StateWidth())
			return &ready{check: check, close: r.Close, once: func(ctx context.Context) (measured, error) {
				return calls(b.Length, batch, func() error { return r.States(ctx, dst, histories) })
			}}, nil
		},
	}
	if b.Sweep != "" {
		w.Name, w.Asked = model+", states", ""
	}
	if positions == recommenderPositions {
		more := []string{"--batch", strconv.Itoa(batch)}
		compiled := b.recommenderPeer(PyTorch, "states", model, b.someThreads(), sameStates, append(more, "--variant", "compiled")...)
		compiled.variant = "PyTorch, compiled"
		w.peers = []peer{
			b.recommenderPeer(PyTorch, "states", model, b.someThreads(), sameStates, more...),
			compiled,
			b.recommenderPeer(ONNXRuntime, "states", model, b.someThreads(), sameStates, append(more, "--variant", "onnx")...),
		}
	}
	return w
}

// histories are so many of the test part, or random ones of a length that the data set does not
// have.
func (b *bed) histories(n, positions int) [][]int32 {
	all := make([][]int32, n)
	if positions == recommenderPositions {
		for i := range all {
			all[i] = b.split.Test[i%len(b.split.Test)].History
		}
		return all
	}
	random := rand.New(rand.NewPCG(1, 1))
	for i := range all {
		for range positions {
			all[i] = append(all[i], int32(random.IntN(len(b.data.Items))))
		}
	}
	return all
}

// recommenderTraining trains for an epoch at a time, with so many negatives of each target or, if
// there are none, by the full softmax. The clock stops between epochs, so that the ranking of
// validation does not count, and an epoch's last batch, which is a short one, does not either.
func (b *bed) recommenderTraining(model string, negatives int) work {
	// DreamRec's loss and negatives are drawn at random on both sides, so that states are compared;
	// `recint verify` and bench/peers/check_recommender.py compare DreamRec's loss with the same
	// reference cases.
	agree := closeTo(map[string]float64{"loss": 1e-4, "gradient_norm": 1e-4})
	if model == models.DreamRec || negatives > 0 {
		agree = sameStates
	}
	c, err := b.config(model, recommenderPositions)
	name, more := model+", training", []string{"--batch", strconv.Itoa(c.BatchSize)}
	if negatives > 0 {
		c.Negatives, c.Calibration = negatives, calibration
		name = fmt.Sprintf("%s with %d negatives", name, negatives)
		more = append(more, "--negatives", strconv.Itoa(negatives), "--calibration", fmt.Sprint(calibration))
	}
	asked := map[string]string{models.GRU4Rec: "2 × PyTorch", models.Caser: "2 × PyTorch", models.SASRec: "3 × PyTorch"}
	return work{
		Figure: Figure{Name: name, Unit: "sequences", Asked: asked[model]},
		peers:  []peer{b.recommenderPeer(PyTorch, "epoch", model, b.someThreads(), agree, more...)},
		open: func(ctx context.Context) (*ready, error) {
			if err != nil {
				return nil, err
			}
			r, err := b.newRecommender(model, recommenderPositions)
			if err != nil {
				return nil, err
			}
			defer r.Close()
			var figures check
			if model == models.DreamRec || negatives > 0 {
				figures, err = b.checkStates(ctx, r, c.BatchSize, c.BatchSize)
			} else {
				figures, err = checkStep(r, b.split.Train[:c.BatchSize])
			}
			if err != nil {
				return nil, err
			}
			return &ready{check: figures, close: func() error { return nil }, once: func(ctx context.Context) (measured, error) {
				return b.epoch(ctx, c)
			}}, nil
		},
	}
}

// epoch measures the first epoch of a training, from its second batch on.
func (b *bed) epoch(ctx context.Context, c recommender.Config) (m measured, err error) {
	c.MaxEpochs, c.Patience = 1, 1
	split := dataset.Split{Train: b.split.Train, Validation: b.split.Validation[:1]}
	var start time.Time
	trained, err := recommender.Train(ctx, b.engine, c, split, recommender.Options{Progress: func(p recommender.Progress) {
		switch p.Step {
		case 1:
			start = time.Now()
		case p.Steps - 1:
			m.Seconds = time.Since(start).Seconds()
			m.Rate = float64((p.Steps-2)*c.BatchSize) / m.Seconds
		}
	}})
	if err != nil {
		return m, err
	}
	return m, trained.Close()
}

// checkStep gives the loss and the gradient norm of a batch, without dropout; the next item is the
// target of the last position.
func checkStep(r *recommender.Recommender, sequences []dataset.Sequence) (check, error) {
	c := r.Config()
	var h cgo.Histories
	var targets []int32
	for _, s := range sequences {
		h.Lengths = append(h.Lengths, int32(len(s.History)))
		for p := range c.Positions {
			item, target := int32(c.Items), int32(-1)
			if p < len(s.History) {
				item = s.History[p]
			}
			if p == len(s.History)-1 {
				target = s.Next
			}
			h.Items, targets = append(h.Items, item), append(targets, target)
		}
	}
	loss, err := r.Model().Backward(cgo.RecommenderBatch{Histories: h, Targets: targets})
	if err != nil {
		return nil, err
	}
	infos, err := r.Model().Tensors()
	if err != nil {
		return nil, err
	}
	var gradients [][]float32
	for i, info := range infos {
		gradient := make([]float32, info.Elements())
		if err := r.Model().Read(gradient, i, cgo.Gradient); err != nil {
			return nil, err
		}
		gradients = append(gradients, gradient)
	}
	return check{"loss": loss, "gradient_norm": norm(gradients)}, nil
}

func norm(all [][]float32) float64 {
	sum := 0.0
	for _, values := range all {
		for _, x := range values {
			sum += float64(x) * float64(x)
		}
	}
	return math.Sqrt(sum)
}

// oracles draws many at once. The authors' sampler runs the denoiser twice in each step; the other
// peer was given our own rearrangement of its first layer. What is drawn at random cannot be held
// together, but the states that guide it are.
func (b *bed) oracles(model string) work {
	return work{
		Figure: Figure{Name: fmt.Sprintf("%s, %d oracles in 200 steps", model, manyOracles), Unit: "oracles", Asked: "5 × the authors' way"},
		peers: []peer{
			b.recommenderPeer(PyTorch, "sample", model, b.someThreads(), sameStates, "--plain"),
			b.recommenderPeer(PyTorch, "sample", model, b.someThreads(), sameStates),
		},
		open: func(ctx context.Context) (*ready, error) {
			r, err := b.newRecommender(model, recommenderPositions)
			if err != nil {
				return nil, err
			}
			check, err := b.checkStates(ctx, r, manyOracles, manyOracles)
			if err != nil {
				return nil, errors.Join(err, r.Close())
			}
			histories, dst := b.histories(manyOracles, recommenderPositions), make([]float32, manyOracles*r.ItemWidth())
			return &ready{check: check, close: r.Close, once: func(ctx context.Context) (measured, error) {
				return timed(manyOracles, func() error { return r.Oracles(ctx, dst, histories, 1) })
			}}, nil
		},
	}
}
