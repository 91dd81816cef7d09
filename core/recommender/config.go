// Package recommender trains sequential recommenders, reads and writes their weights, gives the hidden states that are
// to be put into words, and measures how well the next item is ranked.
package recommender

import (
	"fmt"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// The models.
const (
	GRU4Rec  = "GRU4Rec"  // Hidasi et al. 2016, arXiv 1511.06939
	Caser    = "Caser"    // Tang and Wang 2018, arXiv 1809.07426
	SASRec   = "SASRec"   // Kang and McAuley 2018, arXiv 1808.09781
	DreamRec = "DreamRec" // Yang et al. 2023, arXiv 2310.20453
)

// Models are the names of all models.
var Models = []string{GRU4Rec, Caser, SASRec, DreamRec}

// Config says what a recommender is and how it is trained. The same configuration, data and thread count give the same
// weights bit for bit.
type Config struct {
	Model     string `json:"model"`            // one of Models
	Layout    string `json:"layout,omitempty"` // whose weights these are, see Layouts; "": RecInterpreter's authors'
	Items     int    `json:"items"`            // V, size of the catalogue
	Width     int    `json:"width"`            // D, width of an item's embedding
	Positions int    `json:"positions"`        // T, longest history

	// SASRec, and the encoder that guides DreamRec.
	Blocks int `json:"blocks,omitempty"` // attention blocks
	Heads  int `json:"heads,omitempty"`  // of each block; divides Width
	Inner  int `json:"inner,omitempty"`  // units of the feed-forward layers; 0: Width

	// GRU4Rec.
	Hidden int  `json:"hidden,omitempty"` // units
	Layers int  `json:"layers,omitempty"`
	Biases bool `json:"biases,omitempty"` // of the layout RecBole, whose own code has none; the authors' GRU always has biases

	// Caser.
	Heights    []int `json:"heights,omitempty"`    // of the horizontal filters, in items
	Horizontal int   `json:"horizontal,omitempty"` // filters of each height
	Vertical   int   `json:"vertical,omitempty"`   // vertical filters

	Diffusion *Diffusion `json:"diffusion,omitempty"` // DreamRec

	Dropout      float64 `json:"dropout"`             // probability of dropping a number while training
	LearningRate float64 `json:"learning_rate"`       // of AdamW, constant
	WeightDecay  float64 `json:"weight_decay"`        // decoupled; biases and norms are spared
	MaxNorm      float64 `json:"max_norm"`            // gradients are scaled down to this norm; 0: never
	BatchSize    int     `json:"batch_size"`          // sequences of one step
	AllPositions bool    `json:"all_positions"`       // learn from the successor of every item, not only of the last one
	Negatives    int     `json:"negatives,omitempty"` // drawn for each target of a binary cross-entropy; 0: the full softmax
	MaxEpochs    int     `json:"max_epochs"`          // training ends here at the latest,
	Patience     int     `json:"patience"`            // or after so many epochs without a better validation HR@10
	Seed         uint64  `json:"seed"`
}

// Default is the paper's size of a model with settings chosen on the validation part of MovieLens-100K.
func Default(model string, items int) (Config, error) {
	c := Config{Model: model, Items: items, Width: 64, Positions: 10, BatchSize: 256, Seed: 1, LearningRate: 1e-3,
		MaxEpochs: 30, Patience: 5}
	switch model {
	case GRU4Rec:
		c.Hidden, c.Layers, c.Dropout = 64, 1, 0.2
	case Caser:
		c.Heights, c.Horizontal, c.Vertical, c.Dropout = []int{2, 3, 4}, 16, 1, 0.2
	case SASRec:
		// Learning from all positions got there in fewer epochs, but not as far.
		c.Blocks, c.Heads, c.Dropout, c.LearningRate, c.MaxEpochs, c.Patience = 1, 1, 0.3, 2e-3, 12, 3
	case DreamRec:
		c.Blocks, c.Heads, c.Dropout = 1, 1, 0.1
		c.LearningRate, c.MaxEpochs, c.Patience = 3e-3, 60, 8
		c.Diffusion = &Diffusion{Steps: 200, Schedule: Exponential, Denoiser: MLP1, Drop: 0.1, Rounding: 0.2}
	default:
		return Config{}, unknown("model", model, Models)
	}
	return c, nil
}

// unknown is the error for a word that is none of those known.
func unknown(what, word string, known []string) error {
	return fmt.Errorf("recommender: no %s is called %q; known are %s", what, word, strings.Join(known, ", "))
}

// integer and number are fields with their ranges.
type (
	integer struct {
		name               string
		value, least, most int
	}
	number struct {
		name               string
		value, least, most float64 // most itself is not allowed
	}
)

func checkRanges(integers []integer, numbers []number) error {
	for _, f := range integers {
		if f.value < f.least || f.value > f.most {
			return fieldError(f.name, f.value, fmt.Sprintf("%d to %d", f.least, f.most))
		}
	}
	for _, f := range numbers {
		if !(f.value >= f.least && f.value < f.most) { // NaN fails too
			return fieldError(f.name, f.value, fmt.Sprintf("at least %g and less than %g", f.least, f.most))
		}
	}
	return nil
}

func fieldError(name string, value any, want string) error {
	return fmt.Errorf("recommender: %w", &artifact.FieldError{Field: name, Value: value, Want: want})
}

// Validate names the first field that is out of range.
func (c Config) Validate() error {
	if !slices.Contains(Models, c.Model) {
		return unknown("model", c.Model, Models)
	}
	if c.Layout != "" && !slices.Contains(Layouts, c.Layout) {
		return unknown("layout", c.Layout, Layouts)
	}
	err := checkRanges([]integer{
		{"items", c.Items, 1, 1 << 28}, {"width", c.Width, 1, 1 << 16}, {"positions", c.Positions, 1, 1 << 14},
		{"batch_size", c.BatchSize, 1, 1 << 20}, {"max_epochs", c.MaxEpochs, 1, 1 << 20},
		{"patience", c.Patience, 1, 1 << 20}, {"negatives", c.Negatives, 0, 1 << 16},
	}, []number{
		{"dropout", c.Dropout, 0, 1}, {"learning_rate", c.LearningRate, 0, 1}, {"weight_decay", c.WeightDecay, 0, 1000},
		{"max_norm", c.MaxNorm, 0, 1e9},
	})
	if err != nil {
		return err
	}
	switch c.Model {
	case GRU4Rec:
		return checkRanges([]integer{{"hidden", c.Hidden, 1, 1 << 16}, {"layers", c.Layers, 1, 64}}, nil)
	case Caser:
		least := 1
		if c.Layout == RecBole { // whose heights are 1 to T
			least = 0
		}
		checks := []integer{
			{"the number of heights", len(c.Heights), least, mostHeights}, {"horizontal", c.Horizontal, 1, 1 << 14},
			{"vertical", c.Vertical, 1, 1 << 10},
		}
		for _, height := range c.Heights {
			checks = append(checks, integer{"one of the heights", height, 1, c.Positions})
		}
		return checkRanges(checks, nil)
	}
	err = checkRanges([]integer{
		{"blocks", c.Blocks, 1, 64}, {"heads", c.Heads, 1, 1 << 10}, {"inner", c.inner(), 1, 1 << 18},
	}, nil)
	if err != nil {
		return err
	}
	if c.Width%c.Heads != 0 {
		return fieldError("heads", c.Heads, fmt.Sprintf("a divisor of width, %d", c.Width))
	}
	if c.Model == DreamRec {
		return c.checkDreamRec()
	}
	return nil
}

func (c Config) checkDreamRec() error {
	switch {
	case c.Diffusion == nil:
		return fmt.Errorf("recommender: diffusion is missing; DreamRec needs its settings")
	case c.Width < 4 || c.Width%2 != 0:
		return fieldError("width", c.Width, "an even number of at least 4 for DreamRec")
	case c.Negatives > 0 || c.AllPositions:
		return fmt.Errorf("recommender: DreamRec learns to denoise the next item; it has neither negatives nor all_positions")
	}
	return c.Diffusion.validate()
}

// clone shares no memory with c.
func (c Config) clone() Config {
	c.Heights = slices.Clone(c.Heights)
	if c.Diffusion != nil {
		d := *c.Diffusion
		c.Diffusion = &d
	}
	return c
}

func (c Config) inner() int {
	if c.Inner == 0 {
		return c.Width
	}
	return c.Inner
}

// build makes the native model, its weights zero.
func (c Config) build(engine *cgo.Engine) (*cgo.Recommender, error) {
	settings := map[string][]float64{"items": {float64(c.Items)}, "width": {float64(c.Width)}, "positions": {float64(c.Positions)}}
	put := func(name string, values ...int) {
		settings[name] = nil
		for _, value := range values {
			settings[name] = append(settings[name], float64(value))
		}
	}
	switch c.Model {
	case GRU4Rec:
		put("hidden", c.Hidden)
		put("layers", c.Layers)
		if c.Biases {
			put("biases", 1)
		}
	case Caser:
		put("heights", c.Heights...)
		put("horizontal", c.Horizontal)
		put("vertical", c.Vertical)
	default:
		put("blocks", c.Blocks)
		put("heads", c.Heads)
		put("inner", c.Inner)
	}
	if d := c.Diffusion; c.Model == DreamRec {
		put("denoiser_layers", denoisers[d.Denoiser])
		settings["betas"], settings["rounding"] = d.Betas(), []float64{d.Rounding}
	}
	return cgo.NewRecommender(engine, cgo.RecommenderParams{Model: strings.ToLower(c.Model), Layout: c.Layout, Settings: settings})
}

// parseConfig reads a configuration from JSON.
func parseConfig(text string) (c Config, err error) {
	return c, artifact.ParseJSON([]byte(text), &c, artifact.KnownKeys)
}
