package recommender

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/checkpoint"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// Metadata of a file of weights. Those before keyConfig are those of the authors' files; the others
// may be missing.
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

// Save writes the weights as safetensors, under the names of their layout, and remembers the file's
// hash. The file is replaced as a whole or not at all.
func (r *Recommender) Save(path string) error {
	file, err := r.file()
	if err != nil {
		return err
	}
	if err := artifact.WriteSafetensors(path, file); err != nil {
		return err
	}
	return r.hashFile(path)
}

// file is the weights with what they say of themselves.
func (r *Recommender) file() (*artifact.File, error) {
	tensors, err := checkpoint.Read(r.model, cgo.Value, "")
	if err != nil {
		return nil, err
	}
	metadata, err := r.metadata()
	return &artifact.File{Metadata: metadata, Tensors: tensors}, err
}

// metadata is what a file of these weights says of itself.
func (r *Recommender) metadata() (map[string]string, error) {
	config, err := json.Marshal(r.config)
	if err != nil {
		return nil, err
	}
	metadata := map[string]string{
		keyModel: r.config.Model, keyWidth: strconv.Itoa(r.config.Width), keyItems: strconv.Itoa(r.config.Items),
		keyPositions: strconv.Itoa(r.config.Positions), keyConfig: string(config),
	}
	entry, _ := models.Find(r.config.Model)
	entry.WriteMetadata(metadata, r.config.Settings)
	if r.origin.Dataset != "" {
		metadata[keyDataset] = r.origin.Dataset
	}
	if r.origin.Validation != nil {
		text, err := json.Marshal(r.origin.Validation)
		if err != nil {
			return nil, err
		}
		metadata[keyValidation] = string(text)
	}
	if r.origin.Epoch > 0 {
		metadata[keyEpoch] = strconv.Itoa(r.origin.Epoch)
	}
	return metadata, nil
}

// Load reads a file of weights: one that Save has written, or one that the authors published. What
// the file's metadata does not say follows from the shapes of its tensors; one head is assumed
// where nothing is said. Weights that are not finite are an error that errors.Is finds as
// cgo.ErrNumeric.
func Load(engine *cgo.Engine, path string) (*Recommender, error) {
	file, err := readWeights(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("recommender: %w; correct the path, or make one with recint recommender train", err)
	}
	if err != nil {
		return nil, err
	}
	r, err := FromFile(engine, file)
	if err != nil {
		return nil, fmt.Errorf("recommender: %s: %w", path, err)
	}
	if err := r.hashFile(path); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// readWeights reads a safetensors file, and says how to get one from a file of PyTorch.
func readWeights(path string) (*artifact.File, error) {
	file, err := artifact.ReadSafetensors(path)
	if err == nil || !isPickle(path) {
		return file, err
	}
	weightsOnly, beside := "True", ""
	if holdsConfig(path) {
		weightsOnly, beside = "False", "; this one holds RecBole's configuration beside the weights"
	}
	return nil, fmt.Errorf("recommender: %s is a pickle of PyTorch, which can run programs when it is opened and is never read here%s. "+
		"Convert it with Python where you trust it%s:\n"+
		"  import torch, safetensors.torch; weights = torch.load(%[1]q, map_location=\"cpu\", weights_only=%[4]s)\n"+
		"  safetensors.torch.save_file({k: v.contiguous().clone() for k, v in weights.get(\"state_dict\", weights).items()}, "+
		"\"weights.safetensors\")", path, beside, map[string]string{"False": " and RecBole is installed"}[weightsOnly], weightsOnly)
}

// isPickle knows PyTorch's two formats by their first bytes: a zip archive, or a bare pickle.
func isPickle(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	start := make([]byte, 4)
	_, err = io.ReadFull(file, start)
	return err == nil && (string(start) == "PK\x03\x04" || start[0] == 0x80 && start[1] >= 2 && start[1] <= 5)
}

// holdsConfig reports whether a pickle holds an object of RecBole's, as its checkpoints do, which
// torch.load refuses with weights_only. The pickle in PyTorch's archives is not compressed, and
// comes first.
func holdsConfig(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	const enough = 1 << 20
	start, err := io.ReadAll(io.LimitReader(file, enough))
	return err == nil && bytes.Contains(start, []byte("recbole.config"))
}

// FromFile is Load for a file that has been read; the hash is missing.
func FromFile(engine *cgo.Engine, file *artifact.File) (*Recommender, error) {
	c, err := configOf(file)
	if err != nil {
		return nil, err
	}
	if file.Metadata[keyConfig] == "" && c.paddingFirst() {
		return nil, fmt.Errorf("these are weights of the layout %q, whose rows have another order; import them first "+
			"(recint recommender import)", c.Layout)
	}
	r := &Recommender{config: c}
	if _, ours := file.Metadata[keyConfig]; ours { // the authors' files name the data set in a word
		r.origin.Dataset = file.Metadata[keyDataset]
	}
	if text, ok := file.Metadata[keyEpoch]; ok {
		if r.origin.Epoch, err = strconv.Atoi(text); err != nil {
			return nil, fmt.Errorf("its %s is %q, not a number", keyEpoch, text)
		}
	}
	if text, ok := file.Metadata[keyValidation]; ok {
		if err := artifact.ParseJSON([]byte(text), &r.origin.Validation, artifact.KnownKeys); err != nil {
			return nil, fmt.Errorf("its %s: %w", keyValidation, err)
		}
	}
	return r, r.fill(engine, file, nil)
}

// fill makes the model and gives it the file's weights, which prepare, unless it is nil, brings
// into our form; without them there is no model.
func (r *Recommender) fill(engine *cgo.Engine, file *artifact.File, prepare func([]cgo.TensorInfo) error) (err error) {
	if r.model, err = r.config.build(engine); err != nil {
		return err
	}
	infos, err := r.model.Tensors()
	if err == nil {
		err = r.knowsAll(file, infos)
	}
	if err == nil && prepare != nil {
		err = prepare(infos)
	}
	if err != nil {
		r.Close()
		return err
	}
	if err := checkpoint.Write(r.model, cgo.Value, file, ""); err != nil {
		r.Close()
		if errors.Is(err, cgo.ErrNumeric) {
			return fmt.Errorf("its weights are broken, train it again: %w", err)
		}
		return err
	}
	return nil
}

// knowsAll refuses a file with weights that the model does not have: without them its states would
// be others.
func (r *Recommender) knowsAll(file *artifact.File, infos []cgo.TensorInfo) error {
	entry, _ := models.Find(r.config.Model)
	layout, _ := entry.Layout(r.config.Layout)
	known := map[string]bool{}
	for _, info := range infos {
		known[info.Name] = true
	}
	var unknown []string
	for _, t := range file.Tensors {
		unused := slices.ContainsFunc(entry.Unused, func(layer string) bool { return strings.HasPrefix(t.Name, layer) })
		if !known[t.Name] && !unused && !isBuffer(t) {
			unknown = append(unknown, strconv.Quote(t.Name))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	const shown = 6
	more := ""
	if len(unknown) > shown {
		more = fmt.Sprintf(" and %d more", len(unknown)-shown)
	}
	return fmt.Errorf("a %s of the layout %s has no tensor %s%s: the file is of another model, or of one with options that "+
		"recint does not have (such as a bidirectional GRU or an output layer of its own)", r.config.Model,
		layout.Name, strings.Join(unknown[:min(shown, len(unknown))], ", "), more)
}

// buffers are the last parts of the names of tensors that PyTorch's modules keep beside their
// weights, of any type.
var buffers = []string{"causal_mask", "future_mask", "attn_mask", "attention_mask", "padding_mask", "key_padding_mask", "src_mask",
	"tgt_mask", "mask", "masked_bias", "position_ids", "token_type_ids", "inv_freq", "tril", "triu", "num_batches_tracked"}

// isBuffer reports whether a tensor is a known buffer, which holds no weights.
func isBuffer(t artifact.Tensor) bool {
	return slices.Contains(buffers, t.Name[strings.LastIndexByte(t.Name, '.')+1:])
}

// configOf reads a file's configuration, and compares it with the shapes of the tensors before
// anything is allocated. Without one the names and shapes tell it.
func configOf(file *artifact.File) (Config, error) {
	text, ok := file.Metadata[keyConfig]
	if !ok {
		c, err := configOfTensors(file, "")
		if err != nil {
			return c, err
		}
		return c, c.Validate()
	}
	c, err := parseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("its %s: %w", keyConfig, err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	if model := file.Metadata[keyModel]; model != c.Model {
		return Config{}, fmt.Errorf("its %s says %q, its %s %q", keyModel, model, keyConfig, c.Model)
	}
	return c, c.compareShapes(file)
}

// compareShapes refuses a file whose tensors tell other sizes or settings.
func (c Config) compareShapes(file *artifact.File) error {
	told, _, ok := models.Recognise(file, "")
	if !ok {
		return unrecognised()
	}
	if told.Name != c.Model {
		return fmt.Errorf("its %s says model %s; its tensors say %s", keyConfig, c.Model, told.Name)
	}
	entry, _ := models.Find(c.Model)
	layout, _ := entry.Layout(c.Layout)
	shapes, err := layout.Shapes(file)
	if err != nil {
		return err
	}
	differs := func(name string, is, told any) error {
		return fmt.Errorf("its %s says %s %v; its tensors say %v", keyConfig, name, is, told)
	}
	for name, pair := range map[string][2]int{"items": {c.Items, shapes.Items}, "width": {c.Width, shapes.Width},
		"positions": {c.Positions, cmp.Or(shapes.Positions, c.Positions)}} {
		if pair[0] != pair[1] {
			return differs(name, pair[0], pair[1])
		}
	}
	for name, told := range shapes.Told {
		setting, _ := entry.Setting(name)
		is := c.Settings[name]
		if setting.ZeroIsWidth && is == 0 {
			is = c.Width
		}
		if list, ok := is.([]int); ok && len(list) == 0 {
			is = []int{} // nil is as good
		}
		if !reflect.DeepEqual(is, told) {
			return differs(name, is, told)
		}
	}
	return nil
}

// Knows reports whether a file holds the weights of a recommender, by the names of its tensors.
func Knows(file *artifact.File) bool {
	_, _, found := models.Recognise(file, "")
	return found
}

// unrecognised names the tensors by which weights are known.
func unrecognised() error {
	var known []string
	for _, e := range models.All() {
		for _, l := range e.Layouts {
			known = append(known, strconv.Quote(l.Known[0]))
		}
	}
	return fmt.Errorf("its tensors are not those of a model that is known: it has none of %s", strings.Join(slices.Compact(known), ", "))
}

// configOfTensors tells model, layout and sizes by names, shapes and metadata. The layout is the
// one of that name, or, if it is "", the one that the names tell.
func configOfTensors(file *artifact.File, layoutName string) (Config, error) {
	entry, layout, found := models.Recognise(file, "")
	if !found {
		return Config{}, unrecognised()
	}
	if layoutName != "" && layoutName != layout.Name {
		named, ok := entry.Layout(layoutName)
		if !ok || !named.Fits(file, "") {
			return Config{}, fmt.Errorf("its tensors are those of the layout %q, not %q", layout.Name, layoutName)
		}
		layout = named
	}
	c, err := Default(entry.Name, 1)
	if err != nil {
		return c, err
	}
	shapes, err := layout.Shapes(file)
	if err != nil {
		return c, err
	}
	c.Layout, c.Items, c.Width = layout.Name, shapes.Items, shapes.Width
	maps.Copy(c.Settings, layout.Assumed)
	maps.Copy(c.Settings, shapes.Told)
	if err := entry.ReadMetadata(file.Metadata, c.Settings); err != nil {
		return c, err
	}
	if shapes.Positions != 0 {
		c.Positions = shapes.Positions
	} else if text, ok := file.Metadata[keyPositions]; ok {
		if c.Positions, err = strconv.Atoi(text); err != nil {
			return c, fmt.Errorf("its %s is %q, not a number", keyPositions, text)
		}
	}
	return c, nil
}
