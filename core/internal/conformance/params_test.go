package conformance

import "github.com/recinterpreter/recinterpreter/cgo"

// The settings of the recommenders, by name.
type (
	sasRecParams struct {
		Layout                                        string
		Items, Width, Positions, Blocks, Heads, Inner int
		NormFirst, Rotary                             bool // of the authors' layout
	}
	gru4RecParams struct {
		Layout                                  string
		Items, Width, Positions, Hidden, Layers int
		Biases                                  bool
	}
	caserParams struct {
		Layout                  string
		Items, Width, Positions int
		Heights                 []int
		Horizontal, Vertical    int
	}
	dreamRecParams struct {
		Guidance       sasRecParams
		DenoiserLayers int
		Betas          []float64
		Rounding       float64
	}
)

func one(n int) []float64 { return []float64{float64(n)} }

func (p sasRecParams) settings() map[string][]float64 {
	settings := map[string][]float64{"items": one(p.Items), "width": one(p.Width), "positions": one(p.Positions),
		"blocks": one(p.Blocks), "heads": one(p.Heads), "inner": one(p.Inner)}
	for name, is := range map[string]bool{"norm_first": p.NormFirst, "rotary": p.Rotary} {
		if is {
			settings[name] = one(1)
		}
	}
	return settings
}

func newSASRec(engine *cgo.Engine, p sasRecParams) (*cgo.Recommender, error) {
	return cgo.NewRecommender(engine, cgo.RecommenderParams{Model: "sasrec", Layout: p.Layout, Settings: p.settings()})
}

func newGRU4Rec(engine *cgo.Engine, p gru4RecParams) (*cgo.Recommender, error) {
	settings := map[string][]float64{"items": one(p.Items), "width": one(p.Width), "positions": one(p.Positions),
		"hidden": one(p.Hidden), "layers": one(p.Layers)}
	if p.Biases {
		settings["biases"] = one(1)
	}
	return cgo.NewRecommender(engine, cgo.RecommenderParams{Model: "gru4rec", Layout: p.Layout, Settings: settings})
}

func newCaser(engine *cgo.Engine, p caserParams) (*cgo.Recommender, error) {
	settings := map[string][]float64{"items": one(p.Items), "width": one(p.Width), "positions": one(p.Positions),
		"horizontal": one(p.Horizontal), "vertical": one(p.Vertical), "heights": nil}
	for _, height := range p.Heights {
		settings["heights"] = append(settings["heights"], float64(height))
	}
	return cgo.NewRecommender(engine, cgo.RecommenderParams{Model: "caser", Layout: p.Layout, Settings: settings})
}

func newDreamRec(engine *cgo.Engine, p dreamRecParams) (*cgo.Recommender, error) {
	settings := p.Guidance.settings()
	settings["denoiser_layers"], settings["betas"], settings["rounding"] = one(max(1, p.DenoiserLayers)), p.Betas, []float64{p.Rounding}
	return cgo.NewRecommender(engine, cgo.RecommenderParams{Model: "dreamrec", Layout: p.Guidance.Layout, Settings: settings})
}
