package main

import (
	"math"
	"slices"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// epoch trains as recint does and reads the clock between steps, so that the ranking of validation does not count.
func (t *timer) epoch() error {
	if t.check {
		return t.checkStep()
	}
	c, err := t.config()
	if err != nil {
		return err
	}
	c.MaxEpochs, c.Patience = t.repetitions+1, t.repetitions+1
	split := dataset.Split{Train: t.split.Train, Validation: t.split.Validation[:1]}
	var start time.Time
	var failed error
	trained, err := recommender.Train(background, t.engine, c, split, recommender.Options{
		Progress: func(p recommender.Progress) {
			if p.Step == 1 {
				start = time.Now()
			}
			if p.Step == p.Steps && p.Epoch > 1 {
				// The last batch is a short one.
				seconds := time.Since(start).Seconds()
				samples := len(split.Train) - c.BatchSize
				failed = say(map[string]any{"samples_per_s": float64(samples) / seconds, "seconds": seconds, "samples": samples})
			}
		},
	})
	if err != nil {
		return err
	}
	trained.Close()
	return failed
}

// checkStep prints loss and gradient norm of the first batch, without dropout.
func (t *timer) checkStep() error {
	r, err := t.open()
	if err != nil {
		return err
	}
	defer r.Close()
	c := r.Config()
	h, targets := padded(c, t.split.Train[:t.batch])
	loss, err := r.Model().RecommenderBackward(cgo.RecommenderBatch{Histories: h, Targets: targets})
	if err != nil {
		return err
	}
	infos, err := r.Model().Tensors()
	if err != nil {
		return err
	}
	sum := 0.0
	for i, info := range infos {
		gradient := make([]float32, info.Elements())
		if err := r.Model().Read(gradient, i, cgo.Gradient); err != nil {
			return err
		}
		for _, x := range gradient {
			sum += float64(x) * float64(x)
		}
	}
	return say(map[string]any{"loss": loss, "gradient_norm": math.Sqrt(sum)})
}

// padded lays out sequences, the next item being the target of the last position.
func padded(c recommender.Config, sequences []dataset.Sequence) (cgo.Histories, []int32) {
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
	return h, targets
}

func (t *timer) sample() error {
	r, err := t.open()
	if err != nil {
		return err
	}
	defer r.Close()
	histories := t.histories(t.batch)
	oracles := make([]float32, len(histories)*r.Config().Width)
	return t.repeat(func() (map[string]any, error) {
		start := time.Now()
		err := r.Oracles(background, oracles, histories, 1)
		seconds := time.Since(start).Seconds()
		return map[string]any{"samples_per_s": float64(len(histories)) / seconds, "seconds": seconds}, err
	})
}

// repeat measures once unseen, and then prints as many lines as were asked for.
func (t *timer) repeat(measure func() (map[string]any, error)) error {
	if _, err := measure(); err != nil {
		return err
	}
	for range t.repetitions {
		line, err := measure()
		if err != nil {
			return err
		}
		if err := say(line); err != nil {
			return err
		}
	}
	return nil
}

// encoder gives a function that computes states, and scores where they are asked for.
func (t *timer) encoder(r *recommender.Recommender, most int) func(histories [][]int32) error {
	width, items := r.StateWidth(), r.Config().Items
	dst, scores := make([]float32, most*width), make([]float32, most*items)
	return func(histories [][]int32) error {
		if t.scores {
			return r.Scores(background, scores[:len(histories)*items], histories)
		}
		return r.States(background, dst[:len(histories)*width], histories)
	}
}

func (t *timer) state() error {
	if t.check {
		return t.checkStates(1)
	}
	r, err := t.open()
	if err != nil {
		return err
	}
	defer r.Close()
	histories, encode := t.histories(1000), t.encoder(r, 1)
	taken := make([]float64, t.calls)
	return t.repeat(func() (map[string]any, error) {
		for i := range taken {
			start := time.Now()
			if err := encode(histories[i%len(histories):][:1]); err != nil {
				return nil, err
			}
			taken[i] = float64(time.Since(start).Nanoseconds()) / 1000
		}
		sum := 0.0
		for _, us := range taken {
			sum += us
		}
		slices.Sort(taken)
		at := func(share float64) float64 { return taken[int(share*float64(len(taken)-1))] }
		return map[string]any{"samples_per_s": 1e6 * float64(len(taken)) / sum, "p50_us": at(0.5), "p95_us": at(0.95),
			"p99_us": at(0.99)}, nil
	})
}

func (t *timer) states() error {
	if t.check {
		return t.checkStates(t.batch)
	}
	r, err := t.open()
	if err != nil {
		return err
	}
	defer r.Close()
	histories := t.histories(len(t.split.Test) / t.batch * t.batch)
	batches := slices.Collect(slices.Chunk(histories, t.batch))
	encode := t.encoder(r, t.batch)
	return t.repeat(func() (map[string]any, error) {
		start := time.Now()
		for i := range t.rounds {
			if err := encode(batches[i%len(batches)]); err != nil {
				return nil, err
			}
		}
		seconds := time.Since(start).Seconds()
		return map[string]any{"samples_per_s": float64(t.rounds*t.batch) / seconds, "seconds": seconds}, nil
	})
}

// checkStates prints sums over the states and scores of the first histories, computed so many at once.
func (t *timer) checkStates(atOnce int) error {
	r, err := t.open()
	if err != nil {
		return err
	}
	defer r.Close()
	histories := t.histories(t.batch)
	states, scores := make([]float32, len(histories)*r.StateWidth()), make([]float32, len(histories)*r.Config().Items)
	for from := 0; from < len(histories); from += atOnce {
		part := histories[from:min(from+atOnce, len(histories))]
		if err := r.States(background, states[from*r.StateWidth():][:len(part)*r.StateWidth()], part); err != nil {
			return err
		}
	}
	line := map[string]any{"n": len(histories)}
	sums := func(name string, values []float32) {
		var sum, absolute float64
		for _, x := range values {
			sum, absolute = sum+float64(x), absolute+math.Abs(float64(x))
		}
		line[name+"_sum"], line[name+"_absolute"] = sum, absolute
	}
	sums("states", states)
	if r.Config().Model != recommender.DreamRec { // whose scores are drawn
		if err := r.Scores(background, scores, histories); err != nil {
			return err
		}
		sums("scores", scores)
	}
	return say(line)
}
