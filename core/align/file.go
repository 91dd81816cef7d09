package align

import (
	"fmt"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Provenance says what an adapter was made from and how. Hashes are SHA-256 in hexadecimal.
type Provenance struct {
	Recommender    string          `json:"recommender"` // hash of the recommender's file
	LLM            string          `json:"llm"`         // hash of the GGUF
	Dataset        string          `json:"dataset"`     // hash of the data set
	Template       prompt.Template `json:"template"`
	Config         Config          `json:"config"`
	Samples        int             `json:"samples"`                   // trained on until the best validation, repetitions counted
	Minutes        float64         `json:"minutes"`                   // of the whole training, warm start included
	ValidationLoss float64         `json:"validation_loss,omitempty"` // the best, nats for each answer token; 0 without validation samples
}

// Check refuses a recommender, an LLM or a data set other than those of the training. An empty hash
// is not compared.
func (p Provenance) Check(recommender, llm, dataset string) error {
	for _, pair := range []struct{ kind, want, got string }{
		{"recommender", p.Recommender, recommender},
		{"LLM", p.LLM, llm},
		{"data set", p.Dataset, dataset},
	} {
		if pair.want != "" && pair.got != "" && pair.want != pair.got {
			return &artifact.Mismatch{What: "adapter", On: pair.kind, Want: pair.want, Got: pair.got}
		}
	}
	return nil
}

const (
	adapterFormat = "recint adapter 2"
	keyFormat     = "format"
	keyShape      = "shape"
	keyProvenance = "provenance"
	tensorPrefix  = "adapter."
)

// Save writes the adapter and its provenance as safetensors: its tensors behind "adapter.", and
// JSON in the metadata.
func (a *Adapter) Save(path string, p Provenance) error {
	file, err := a.file(p)
	if err != nil {
		return err
	}
	if err := addTensors(file, a.Shape, tensorPrefix, a.Values); err != nil {
		return err
	}
	return artifact.WriteSafetensors(path, file)
}

// Export writes the adapter as safetensors with the names that PyTorch's modules give its tensors;
// adapter.Entry.Modules says which these are. The metadata is that of Save.
func (a *Adapter) Export(path string, p Provenance) error {
	file, err := a.file(p)
	if err != nil {
		return err
	}
	file.Metadata[keyFormat] = "recint exported adapter 1"
	if err := addTensors(file, a.Shape, "", a.Values); err != nil {
		return err
	}
	names := a.Kind.Entry().Export
	for i, t := range file.Tensors {
		if name, ok := names[t.Name]; ok {
			file.Tensors[i].Name = name
		}
	}
	return artifact.WriteSafetensors(path, file)
}

// file says what the adapter is and what it was made from, without its tensors.
func (a *Adapter) file(p Provenance) (*artifact.File, error) {
	file := &artifact.File{Metadata: map[string]string{keyFormat: adapterFormat}}
	return file, file.PutJSON(map[string]any{keyShape: a.Shape, keyProvenance: p})
}

// LoadAdapter reads what Save wrote.
func LoadAdapter(path string) (*Adapter, Provenance, error) {
	var p Provenance
	file, err := artifact.ReadSafetensors(path)
	if err != nil {
		return nil, p, err
	}
	if was := file.Metadata[keyFormat]; was != adapterFormat && strings.HasPrefix(was, "recint adapter ") {
		return nil, p, fmt.Errorf("align: %s is a %q, of another version, where %q is read; train it again with recint align",
			path, was, adapterFormat)
	}
	if file.Metadata[keyFormat] != adapterFormat {
		return nil, p, fmt.Errorf("align: %s is no adapter: its metadata does not say %q; recint align writes such files",
			path, adapterFormat)
	}
	a := &Adapter{}
	if err := file.TakeJSON(map[string]any{keyShape: &a.Shape, keyProvenance: &p}); err != nil {
		return nil, p, fmt.Errorf("align: %s: %w", path, err)
	}
	if err := a.Validate(); err != nil {
		return nil, p, fmt.Errorf("%s: %w", path, err)
	}
	if a.Values, err = takeTensors(file, a.Shape, tensorPrefix); err != nil {
		return nil, p, fmt.Errorf("align: %s: %w", path, err)
	}
	return a, p, nil
}

// addTensors appends an adapter's numbers to a file under prefix.
func addTensors(file *artifact.File, s Shape, prefix string, values [][]float32) error {
	layout, err := s.layout(1)
	for i, t := range layout {
		file.Tensors = append(file.Tensors, artifact.Tensor{
			Name: prefix + t.Name, DType: "F32", Shape: t.Shape, F32: values[i],
		})
	}
	return err
}

// takeTensors reads what addTensors wrote.
func takeTensors(file *artifact.File, s Shape, prefix string) ([][]float32, error) {
	layout, err := s.layout(1)
	if err != nil {
		return nil, err
	}
	values := make([][]float32, len(layout))
	for i, t := range layout {
		if values[i], err = file.Float32(prefix+t.Name, t.Shape...); err != nil {
			return nil, err
		}
	}
	return values, nil
}
