package cgo_test

import (
	"errors"
	"math"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// small makes one of each recommender: 5 items, 4 wide, histories of at most 3.
func small(t *testing.T) map[string]*cgo.Recommender {
	t.Helper()
	engine := newEngine(t)
	models := map[string]*cgo.Recommender{}
	for name, create := range map[string]func() (*cgo.Recommender, error){
		"sasrec": func() (*cgo.Recommender, error) { return newRecommender(engine, "sasrec", tiny) },
		"gru4rec": func() (*cgo.Recommender, error) {
			return newRecommender(engine, "gru4rec", sized(settings{"hidden": {6}, "layers": {1}}))
		},
		"caser": func() (*cgo.Recommender, error) {
			return newRecommender(engine, "caser", sized(settings{"heights": {1, 3}, "horizontal": {2}, "vertical": {1}}))
		},
		"dreamrec": func() (*cgo.Recommender, error) {
			return newRecommender(engine, "dreamrec", joined(tiny, settings{"denoiser_layers": {2}, "betas": {0.1, 0.2}, "rounding": {0}}))
		},
	} {
		model, err := create()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { model.Close() })
		models[name] = model
	}
	return models
}

func TestRecommenderSizes(t *testing.T) {
	for name, model := range small(t) {
		want := cgo.RecommenderInfo{Items: 5, Width: 4, Positions: 3, Generates: name == "dreamrec",
			StateWidth: map[string]int{"sasrec": 4, "gru4rec": 6, "caser": 2*2 + 4, "dreamrec": 4}[name]}
		if got := model.Info(); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if err := model.States(make([]float32, want.StateWidth), one(), false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := model.ScoreStates(make([]float32, 2*5), make([]float32, 2*want.StateWidth), 2); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadRecommenderCalls(t *testing.T) {
	models := small(t)
	engine, nan, dream := newEngine(t), float32(math.NaN()), models["dreamrec"].Diffusion()
	four := make([]float32, 4)
	vectors := func(items []int32, values []float32) error {
		return models["gru4rec"].States(make([]float32, 6), cgo.Histories{Items: items, Lengths: []int32{2}, Vectors: values}, false)
	}
	learn := func(change func(*cgo.DiffusionBatch)) error {
		b := cgo.DiffusionBatch{Histories: one(), Targets: []int32{1}, Steps: []int32{1}, Noise: make([]float32, 4), Unconditional: []int32{0}}
		change(&b)
		return second(dream.Backward(b))
	}
	sample := func(change func(*cgo.Sampling)) error {
		s := cgo.Sampling{Guidance: make([]float32, 4), Steps: []int32{1, 0}}
		change(&s)
		return dream.Sample(make([]float32, 4), s)
	}
	negatives := func(values []int32) error {
		b := cgo.RecommenderBatch{Histories: one(), Targets: []int32{-1, 2, -1}, Negatives: values}
		return second(models["caser"].Backward(b))
	}
	caser := func(heights []float64) error {
		return second(newRecommender(engine, "caser", sized(settings{"heights": heights, "horizontal": {1}, "vertical": {1}})))
	}
	dreamrec := func(guidance settings, betas []float64, rounding float64) error {
		return second(newRecommender(engine, "dreamrec", joined(guidance, settings{"denoiser_layers": {1}, "betas": betas, "rounding": {rounding}})))
	}
	if err := errors.Join(vectors([]int32{-1, 2, 5}, four), learn(func(*cgo.DiffusionBatch) {}), sample(func(*cgo.Sampling) {}),
		negatives([]int32{9, 9, 0, 4, 9, 9})); err != nil {
		t.Fatalf("good calls fail: %v", err)
	}
	for name, c := range map[string]struct{ err, want error }{
		"vector not there":    {vectors([]int32{-2, 2, 5}, four), cgo.ErrInvalid},
		"half a vector":       {vectors([]int32{-1, 2, 5}, make([]float32, 6)), cgo.ErrInvalid},
		"NaN in a vector":     {vectors([]int32{-1, 2, 5}, []float32{0, nan, 0, 0}), cgo.ErrNumeric},
		"scores of DreamRec":  {dream.Scores(make([]float32, 5), one()), cgo.ErrUnsupported},
		"train DreamRec":      {second(dream.Recommender.Backward(cgo.RecommenderBatch{Histories: one(), Targets: []int32{-1, 2, -1}})), cgo.ErrUnsupported},
		"states too few":      {dream.ScoreStates(make([]float32, 5), nil, 1), cgo.ErrInvalid},
		"negative out of V":   {negatives([]int32{9, 9, 0, 5, 9, 9}), cgo.ErrInvalid},
		"negatives uneven":    {negatives([]int32{1, 2}), cgo.ErrInvalid},
		"target out of V":     {learn(func(b *cgo.DiffusionBatch) { b.Targets[0] = 5 }), cgo.ErrInvalid},
		"step out of T":       {learn(func(b *cgo.DiffusionBatch) { b.Steps[0] = 2 }), cgo.ErrInvalid},
		"no steps":            {learn(func(b *cgo.DiffusionBatch) { b.Steps = nil }), cgo.ErrInvalid},
		"noise too short":     {learn(func(b *cgo.DiffusionBatch) { b.Noise = nil }), cgo.ErrInvalid},
		"NaN in noise":        {learn(func(b *cgo.DiffusionBatch) { b.Noise[1] = nan }), cgo.ErrNumeric},
		"dropout of 1":        {learn(func(b *cgo.DiffusionBatch) { b.Dropout = 1 }), cgo.ErrInvalid},
		"denoise beyond T":    {dream.Denoise(four, four, []int32{2}, nil), cgo.ErrInvalid},
		"denoise by too much": {dream.Denoise(four, four, []int32{0}, make([]float32, 8)), cgo.ErrInvalid},
		"DDPM leaves a step":  {sample(func(s *cgo.Sampling) { s.Steps = []int32{1} }), cgo.ErrInvalid},
		"steps rise":          {sample(func(s *cgo.Sampling) { s.Steps = []int32{0, 1} }), cgo.ErrInvalid},
		"strength NaN":        {sample(func(s *cgo.Sampling) { s.Strength = nan }), cgo.ErrInvalid},
		"noise of one draw":   {sample(func(s *cgo.Sampling) { s.Noise = make([]float32, 4) }), cgo.ErrInvalid},
		"height above T":      {caser([]float64{4}), cgo.ErrInvalid},
		"17 heights":          {caser(make([]float64, 17)), cgo.ErrInvalid},
		"GRU without units":   {second(newRecommender(engine, "gru4rec", sized(settings{"hidden": {0}, "layers": {1}}))), cgo.ErrInvalid},
		"GRU of pmixer": {second(cgo.NewRecommender(engine, cgo.RecommenderParams{Model: "gru4rec", Layout: "pmixer",
			Settings: sized(settings{"hidden": {2}, "layers": {1}})})), cgo.ErrInvalid},
		"no betas":         {dreamrec(tiny, nil, 0), cgo.ErrInvalid},
		"beta of 1":        {dreamrec(tiny, []float64{1}, 0), cgo.ErrInvalid},
		"odd width":        {dreamrec(sized(settings{"width": {5}, "blocks": {1}, "heads": {1}, "inner": {5}}), []float64{0.1}, 0), cgo.ErrInvalid},
		"rounding below 0": {dreamrec(tiny, []float64{0.1}, -1), cgo.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	for name, model := range models {
		model.Close()
		if err := model.ScoreStates(nil, nil, 0); !errors.Is(err, cgo.ErrClosed) {
			t.Errorf("%s: ScoreStates: %v, want ErrClosed", name, err)
		}
		if d := model.Diffusion(); (d != nil) != (name == "dreamrec") {
			t.Errorf("%s as one that generates oracles: %v", name, d)
		}
	}
	for call, err := range map[string]error{
		"Backward": second(dream.Backward(cgo.DiffusionBatch{})), "Denoise": dream.Denoise(nil, nil, nil, nil),
		"Sample": dream.Sample(nil, cgo.Sampling{}),
	} {
		if !errors.Is(err, cgo.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", call, err)
		}
	}
	for name, create := range map[string]func(*cgo.Engine) error{
		"NewGRU4Rec":  func(e *cgo.Engine) error { return second(newRecommender(e, "gru4rec", nil)) },
		"NewCaser":    func(e *cgo.Engine) error { return second(newRecommender(e, "caser", nil)) },
		"NewDreamRec": func(e *cgo.Engine) error { return second(newRecommender(e, "dreamrec", nil)) },
	} {
		if err := create(nil); !errors.Is(err, cgo.ErrClosed) {
			t.Errorf("%s without an engine: %v, want ErrClosed", name, err)
		}
	}
}
