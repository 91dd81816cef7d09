package recommender

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Metadata of a file of weights. The first four are those of the authors' files; the others may be missing.
const (
	keyModel      = "model"
	keyWidth      = "hidden_size"
	keyItems      = "item_num"
	keyPositions  = "state_size"
	keyConfig     = "config"     // JSON of Config
	keyDataset    = "dataset"    // content hash
	keyEpoch      = "epoch"      // the chosen one
	keyValidation = "validation" // JSON of Metrics
)

// Save writes the weights as safetensors, under the names of the authors' published weights, and remembers the file's
// hash. The file is replaced as a whole or not at all.
func (r *Recommender) Save(path string) error {
	tensors, err := readSlot(r.model, cgo.Value, "")
	if err != nil {
		return err
	}
	config, err := json.Marshal(r.config)
	if err != nil {
		return err
	}
	metadata := map[string]string{
		keyModel: r.config.Model, keyWidth: strconv.Itoa(r.config.Width), keyItems: strconv.Itoa(r.config.Items),
		keyPositions: strconv.Itoa(r.config.Positions), keyConfig: string(config),
	}
	if r.origin.Dataset != "" {
		metadata[keyDataset] = r.origin.Dataset
	}
	if r.origin.Validation != nil {
		text, err := json.Marshal(r.origin.Validation)
		if err != nil {
			return err
		}
		metadata[keyValidation] = string(text)
	}
	if r.origin.Epoch > 0 {
		metadata[keyEpoch] = strconv.Itoa(r.origin.Epoch)
	}
	if err := artifact.WriteSafetensors(path, &artifact.File{Metadata: metadata, Tensors: tensors}); err != nil {
		return err
	}
	r.hash, err = artifact.HashFile(path)
	return err
}

// Load reads a file of weights: one that Save has written, or one that the authors published. What the file's metadata
// does not say follows from the shapes of its tensors; one head is assumed where nothing is said. Weights that are not
// finite are an error that errors.Is finds as cgo.ErrNumeric.
func Load(engine *cgo.Engine, path string) (*Recommender, error) {
	file, err := artifact.ReadSafetensors(path)
	if err != nil {
		return nil, err
	}
	r, err := fromFile(engine, file)
	if err != nil {
		return nil, fmt.Errorf("recommender: %s: %w", path, err)
	}
	if r.hash, err = artifact.HashFile(path); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func fromFile(engine *cgo.Engine, file *artifact.File) (*Recommender, error) {
	c, err := configOf(file)
	if err != nil {
		return nil, err
	}
	r := &Recommender{config: c, origin: Origin{Dataset: file.Metadata[keyDataset]}}
	if text, ok := file.Metadata[keyEpoch]; ok {
		if r.origin.Epoch, err = strconv.Atoi(text); err != nil {
			return nil, fmt.Errorf("its %s is %q, not a number", keyEpoch, text)
		}
	}
	if text, ok := file.Metadata[keyValidation]; ok {
		if err := decode(text, &r.origin.Validation); err != nil {
			return nil, fmt.Errorf("its %s: %w", keyValidation, err)
		}
	}
	if r.model, err = cgo.NewSASRec(engine, c.params()); err != nil {
		return nil, err
	}
	if err := writeSlot(r.model, cgo.Value, file, ""); err != nil {
		r.Close()
		if errors.Is(err, cgo.ErrNumeric) {
			return nil, fmt.Errorf("its weights are broken, train it again: %w", err)
		}
		return nil, err
	}
	return r, nil
}

// configOf reads a file's configuration, and holds it against the shapes of the tensors before anything is allocated.
func configOf(file *artifact.File) (Config, error) {
	sizes, err := sizesOf(file)
	if err != nil {
		return Config{}, err
	}
	c := sizes
	if text, ok := file.Metadata[keyConfig]; ok {
		if c, err = parseConfig(text); err != nil {
			return Config{}, fmt.Errorf("its %s: %w", keyConfig, err)
		}
	}
	if model, ok := file.Metadata[keyModel]; ok {
		c.Model = model
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	if c.Items != sizes.Items || c.Width != sizes.Width || c.Positions != sizes.Positions || c.Blocks != sizes.Blocks {
		return Config{}, fmt.Errorf("its %s speaks of %d items, width %d, %d positions, %d blocks; its tensors of %d, %d, "+
			"%d, %d", keyConfig, c.Items, c.Width, c.Positions, c.Blocks, sizes.Items, sizes.Width, sizes.Positions,
			sizes.Blocks)
	}
	return c, nil
}

// sizesOf measures a SASRec by its tensors.
func sizesOf(file *artifact.File) (Config, error) {
	items, err := file.Find("item_embeddings.weight")
	if err != nil {
		return Config{}, err
	}
	positions, err := file.Find("positional_embeddings.weight")
	if err != nil {
		return Config{}, err
	}
	if len(items.Shape) != 2 || len(positions.Shape) != 2 || items.Shape[0] < 2 {
		return Config{}, fmt.Errorf("embeddings of shape %v and %v are not tables", items.Shape, positions.Shape)
	}
	c := DefaultSASRec(items.Shape[0] - 1)
	c.Width, c.Positions = items.Shape[1], positions.Shape[0]
	for _, t := range file.Tensors {
		number, _, found := strings.Cut(strings.TrimPrefix(t.Name, "blocks."), ".")
		if n, err := strconv.Atoi(number); err == nil && found && strings.HasPrefix(t.Name, "blocks.") {
			c.Blocks = max(c.Blocks, n+1)
		}
	}
	return c, nil
}
