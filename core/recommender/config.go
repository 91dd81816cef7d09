// Package recommender trains sequential recommenders, reads and writes their weights, gives the hidden states that are
// to be put into words, and measures how well the next item is ranked.
package recommender

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// SASRec is the model of Kang and McAuley 2018 (arXiv 1808.09781), laid out as in the authors' published weights.
const SASRec = "SASRec"

// Config says what a recommender is and how it is trained. The same configuration, data and thread count give the same
// weights bit for bit.
type Config struct {
	Model     string `json:"model"`     // SASRec
	Items     int    `json:"items"`     // V, size of the catalogue
	Width     int    `json:"width"`     // D, width of a state
	Positions int    `json:"positions"` // T, longest history
	Blocks    int    `json:"blocks"`    // attention blocks
	Heads     int    `json:"heads"`     // of each block; divides Width

	Dropout      float64 `json:"dropout"`       // probability of dropping a number while training
	LearningRate float64 `json:"learning_rate"` // of AdamW, constant
	WeightDecay  float64 `json:"weight_decay"`  // decoupled; biases and norms are spared
	MaxNorm      float64 `json:"max_norm"`      // gradients are scaled down to this norm; 0: never
	BatchSize    int     `json:"batch_size"`    // sequences of one step
	AllPositions bool    `json:"all_positions"` // learn from the successor of every item, not only of the last one
	MaxEpochs    int     `json:"max_epochs"`    // training ends here at the latest,
	Patience     int     `json:"patience"`      // or after so many epochs without a better validation HR@10
	Seed         uint64  `json:"seed"`
}

// DefaultSASRec is the paper's size with settings chosen on the validation part of MovieLens-100K. Learning from all
// positions got there in fewer epochs, but not as far.
func DefaultSASRec(items int) Config {
	return Config{
		Model: SASRec, Items: items, Width: 64, Positions: 10, Blocks: 1, Heads: 1,
		Dropout: 0.3, LearningRate: 2e-3, BatchSize: 256, MaxEpochs: 12, Patience: 3, Seed: 1,
	}
}

// Validate names the first field that is out of range.
func (c Config) Validate() error {
	if c.Model != SASRec {
		return fmt.Errorf("recommender: no model is called %q; known is %q", c.Model, SASRec)
	}
	for _, f := range []struct {
		name               string
		value, least, most int
	}{
		{"items", c.Items, 1, 1 << 28}, {"width", c.Width, 1, 1 << 16}, {"positions", c.Positions, 1, 1 << 14},
		{"blocks", c.Blocks, 1, 64}, {"heads", c.Heads, 1, 1 << 10}, {"batch_size", c.BatchSize, 1, 1 << 20},
		{"max_epochs", c.MaxEpochs, 1, 1 << 20}, {"patience", c.Patience, 1, 1 << 20},
	} {
		if f.value < f.least || f.value > f.most {
			return fmt.Errorf("recommender: %s is %d, expected %d to %d", f.name, f.value, f.least, f.most)
		}
	}
	if c.Width%c.Heads != 0 {
		return fmt.Errorf("recommender: heads is %d, expected a divisor of width, %d", c.Heads, c.Width)
	}
	for _, f := range []struct {
		name               string
		value, least, most float64 // most itself is not allowed
	}{
		{"dropout", c.Dropout, 0, 1}, {"learning_rate", c.LearningRate, 0, 1}, {"weight_decay", c.WeightDecay, 0, 1000},
		{"max_norm", c.MaxNorm, 0, 1e9},
	} {
		if !(f.value >= f.least && f.value < f.most) { // NaN fails too
			return fmt.Errorf("recommender: %s is %g, expected at least %g and less than %g", f.name, f.value, f.least, f.most)
		}
	}
	return nil
}

// params is the native form of the model's size.
func (c Config) params() cgo.SASRecParams {
	return cgo.SASRecParams{Items: c.Items, Width: c.Width, Positions: c.Positions, Blocks: c.Blocks, Heads: c.Heads,
		Inner: c.Width}
}

// parseConfig reads a configuration from JSON. Unknown keys are refused, since they mean that something was expected
// which would not happen.
func parseConfig(text string) (c Config, err error) {
	return c, decode(text, &c)
}

// decode reads one JSON value and refuses unknown keys and anything that follows.
func decode(text string, value any) error {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("something follows the JSON value")
	}
	return nil
}
