package recommender

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// Config says what a recommender is and how it is trained. The same configuration and data give the
// same weights bit for bit, on any number of threads and ranks.
type Config struct {
	models.Sizes
	models.Training
	Settings models.Values // the model's own; copies of a Config share them
}

// sampledItems is how many items are drawn for each batch of a sampled softmax, by which models of
// large catalogues learn by default: the full one takes time and memory in proportion to the items.
const sampledItems = 1024

// Default is the paper's size of a model with settings chosen on the validation part of
// MovieLens-100K.
func Default(model string, items int) (Config, error) {
	entry, ok := models.Find(model)
	if !ok {
		return Config{}, unknown("model", model, models.Names())
	}
	c := Config{models.Sizes{Model: entry.Name, Items: items, Width: 64, Positions: 10}, entry.Training, entry.Defaults()}
	if items > dataset.LargeCatalogue && entry.Diffusion == nil {
		c.Sampled = sampledItems
	}
	return c, nil
}

// unknown is the error for a word that is none of those known.
func unknown(what, word string, known []string) error {
	return fmt.Errorf("recommender: no %s is called %q; known are %s", what, word, strings.Join(known, ", "))
}

// MarshalJSON writes the model's own settings between its sizes and how it is trained.
func (c Config) MarshalJSON() ([]byte, error) {
	sizes, err := json.Marshal(c.Sizes)
	if err != nil {
		return nil, err
	}
	entry, _ := models.Find(c.Model)
	settings, err := entry.Encode(c.Settings)
	if err != nil {
		return nil, err
	}
	training, err := json.Marshal(c.Training)
	if err != nil {
		return nil, err
	}
	text := append(bytes.TrimSuffix(sizes, []byte("}")), ',')
	return append(append(text, settings...), training[1:]...), nil
}

// UnmarshalJSON reads what MarshalJSON writes. Keys that the model does not have are an error.
func (c *Config) UnmarshalJSON(text []byte) error {
	members := map[string]json.RawMessage{}
	if err := artifact.ParseJSON(text, &members, artifact.KnownKeys); err != nil {
		return err
	}
	var fixed struct {
		models.Sizes
		models.Training
	}
	if err := json.Unmarshal(members["model"], &fixed.Model); members["model"] != nil && err != nil {
		return fmt.Errorf("model: %w", err)
	}
	entry, _ := models.Find(fixed.Model)
	settings, err := entry.Decode(members)
	if err != nil {
		return err
	}
	rest, err := json.Marshal(members)
	if err != nil {
		return err
	}
	if err := artifact.ParseJSON(rest, &fixed, artifact.KnownKeys); err != nil {
		return err
	}
	*c = Config{fixed.Sizes, fixed.Training, settings}
	return nil
}

// Diffusion is how the recommender draws oracles; nil if it scores its states.
func (c Config) Diffusion() *models.Diffusion {
	if entry, _ := models.Find(c.Model); entry.Diffusion != nil {
		return entry.Diffusion(c.Settings)
	}
	return nil
}

// masked is the probability that an item within a history is hidden in training.
func (c Config) masked() float64 {
	if entry, _ := models.Find(c.Model); entry.Masked != nil {
		return entry.Masked(c.Settings)
	}
	return 0
}

// Timed says whether the recommender reads the times of items.
func (c Config) Timed() bool {
	entry, _ := models.Find(c.Model)
	return entry.Timed != nil && entry.Timed(c.Settings)
}

// Validate names the first field that is out of range.
func (c Config) Validate() error {
	entry, ok := models.Find(c.Model)
	if !ok || entry.Name != c.Model {
		return unknown("model", c.Model, models.Names())
	}
	if _, ok := entry.Layout(c.Layout); !ok {
		return unknown("layout of "+c.Model, c.Layout, entry.LayoutNames())
	}
	for _, f := range []struct {
		name        string
		value       int
		least, most int
	}{
		{"items", c.Items, 1, 1 << 28}, {"width", c.Width, 1, 1 << 16}, {"positions", c.Positions, 1, 1 << 14},
		{"batch_size", c.BatchSize, 1, 1 << 20}, {"micro_batch", c.MicroBatch, 0, 1 << 20}, {"max_epochs", c.MaxEpochs, 1, 1 << 20},
		{"patience", c.Patience, 1, 1 << 20}, {"negatives", c.Negatives, 0, 1 << 16},
		{"sampled", c.Sampled, 0, 1 << 20},
	} {
		if f.value < f.least || f.value > f.most {
			return fieldError(&artifact.FieldError{Field: f.name, Value: f.value, Want: fmt.Sprintf("%d to %d", f.least, f.most)})
		}
	}
	for _, f := range []struct {
		name       string
		value, end float64
	}{
		{"dropout", c.Dropout, 1}, {"learning_rate", c.LearningRate, 1}, {"weight_decay", c.WeightDecay, 1000},
		{"max_norm", c.MaxNorm, 1e9},
	} {
		if !(f.value >= 0 && f.value < f.end) { // NaN fails too
			return fieldError(&artifact.FieldError{Field: f.name, Value: f.value, Want: fmt.Sprintf("at least 0 and less than %g", f.end)})
		}
	}
	if entry.Diffusion != nil && (c.Negatives > 0 || c.Sampled > 0 || c.AllPositions) {
		return fmt.Errorf("recommender: %s learns to denoise the next item; it has neither negatives nor sampled nor all_positions", c.Model)
	}
	if !(c.Calibration >= 0 && c.Calibration <= 1) {
		return fieldError(&artifact.FieldError{Field: "calibration", Value: c.Calibration, Want: "0 to 1"})
	}
	if c.Calibration > 0 && c.Negatives == 0 {
		return fmt.Errorf("recommender: calibration %g is of a loss with negatives; say how many, or leave it out", c.Calibration)
	}
	if c.Negatives > 0 && c.Sampled > 0 {
		return fmt.Errorf("recommender: %d negatives of each target and %d sampled items of each batch; a training has only one of them",
			c.Negatives, c.Sampled)
	}
	if entry.Masked != nil && c.AllPositions {
		return fmt.Errorf("recommender: %s learns from items that are hidden at random; it has no all_positions", c.Model)
	}
	return fieldError(entry.Validate(c.Sizes, c.Settings))
}

func fieldError(err error) error {
	if err != nil {
		err = fmt.Errorf("recommender: %w", err)
	}
	return err
}

// clone shares no memory with c.
func (c Config) clone() Config {
	c.Settings = c.Settings.Clone()
	return c
}

// build makes the native model, its weights zero.
func (c Config) build(engine *cgo.Engine) (*cgo.Recommender, error) {
	entry, ok := models.Find(c.Model)
	if !ok {
		return nil, unknown("model", c.Model, models.Names())
	}
	settings := entry.NativeSettings(c.Settings)
	settings["items"], settings["width"] = []float64{float64(c.Items)}, []float64{float64(c.Width)}
	settings["positions"] = []float64{float64(c.Positions)}
	return cgo.NewRecommender(engine, cgo.RecommenderParams{Model: strings.ToLower(c.Model), Layout: c.Layout, Settings: settings})
}

// parseConfig reads a configuration from JSON.
func parseConfig(text string) (c Config, err error) {
	return c, artifact.ParseJSON([]byte(text), &c, artifact.KnownKeys)
}

// paddingFirst reports whether the layout's project has padding before the rows of items.
func (c Config) paddingFirst() bool {
	entry, _ := models.Find(c.Model)
	layout, _ := entry.Layout(c.Layout)
	return layout.PaddingFirst
}

// generating lists the models that draw oracles.
func generating() string {
	all := slices.DeleteFunc(models.All(), func(e models.Entry) bool { return e.Diffusion == nil })
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = e.Name
	}
	return strings.Join(names, ", ")
}
