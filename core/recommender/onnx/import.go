package onnx

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ort "github.com/yalue/onnxruntime_go"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Options say what a model does not.
type Options struct {
	Dataset   string // content hash of the data set
	Items     int    // V, of the data set
	Places    []int  // of each item, its place among the model's items; nil: they have the data set's order
	Rows      int    // how many items the model knows; 0: as many as the data set has
	Padding   int    // id of padding; the items have the other ids from 0 on, in order. Below 0: none
	Left      bool   // padding stands before the items
	Positions int    // the most items of a history that count; 0: as many as the model's axis T has
}

// Import checks a model and writes it with what it needs to know.
func Import(path, to string, o Options) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("onnx: %w", err)
	}
	c, err := examine(content, o)
	if err != nil {
		return fmt.Errorf("onnx: %s: %w", path, err)
	}
	c.Name = filepath.Base(path)
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return artifact.WriteAtomic(to, func(w io.Writer) error {
		_, err := w.Write(say(content, text))
		return err
	})
}

// examine finds out what a model is, and refuses it where it does not do what Config says.
func examine(content []byte, o Options) (c Config, err error) {
	text, err := said(content)
	if err != nil {
		return c, err
	}
	if text != nil {
		return c, errors.New("it has been imported already; use it as it is, or import the original")
	}
	if err := start(); err != nil {
		return c, err
	}
	inputs, outputs, err := ort.GetInputOutputInfoWithONNXData(content)
	if err != nil {
		return c, refused(err)
	}
	c = Config{Dataset: o.Dataset, Padding: o.Padding, Left: o.Left, IDs: make([]int, o.Items)}
	if c.Positions, err = c.takeInputs(inputs, o.Positions); err != nil {
		return c, err
	}
	scored, err := c.takeOutputs(outputs)
	if err != nil {
		return c, err
	}
	for i := range c.IDs {
		place := i
		if o.Places != nil {
			place = o.Places[i]
		}
		c.IDs[i] = c.id(place)
	}
	return c, c.try(content, c.id(cmp.Or(o.Rows, o.Items)-1), scored)
}

// id is that of the item at a place among the model's items.
func (c Config) id(place int) int {
	if c.Padding >= 0 && place >= c.Padding {
		place++
	}
	return place
}

// described lists inputs or outputs.
func described(infos []ort.InputOutputInfo) string {
	var all []string
	for _, i := range infos {
		all = append(all, fmt.Sprintf("%s %s %v", i.Name, element(i), i.Dimensions))
	}
	return strings.Join(all, ", ")
}

// element names the type of a tensor's numbers.
func element(i ort.InputOutputInfo) string {
	return strings.ToLower(strings.TrimPrefix(i.DataType.String(), "ONNX_TENSOR_ELEMENT_DATA_TYPE_"))
}

// takeInputs checks the inputs and gives the length of histories. Axes that vary are below 0.
func (c *Config) takeInputs(infos []ort.InputOutputInfo, wanted int) (positions int, err error) {
	problem := func(remedy string) error {
		return fmt.Errorf("its inputs are %s; it needs items int64 [batch, T] and at most one of length int64 [batch] and mask int64 or bool [batch, T]: %s",
			described(infos), remedy)
	}
	for _, i := range infos {
		rank, integer := 2, i.DataType == ort.TensorElementDataTypeInt64
		switch i.Name {
		case inputItems:
		case inputLength:
			rank = 1
		case inputMask:
			c.Bool = i.DataType == ort.TensorElementDataTypeBool
			integer = integer || c.Bool
		default:
			return 0, problem("name them so in the export (input_names), and make " + i.Name + " a constant of the model if it is none of them")
		}
		if i.Name != inputItems {
			if c.Lengths != "" {
				return 0, problem("leave one of both out")
			}
			c.Lengths = i.Name
		}
		if len(i.Dimensions) != rank || !integer {
			return 0, problem(i.Name + " is of another type or shape; convert it in the model")
		}
		if i.Dimensions[0] >= 0 {
			return 0, problem("let the batch be a dynamic axis in the export (dynamic_shapes or dynamic_axes)")
		}
		if rank == 2 {
			positions = max(positions, int(i.Dimensions[1]))
		}
	}
	if !slices.ContainsFunc(infos, func(i ort.InputOutputInfo) bool { return i.Name == inputItems }) {
		return 0, problem("name them so in the export (input_names)")
	}
	switch {
	case positions < 1 && wanted < 1:
		return 0, errors.New("its axis T varies; say how many of the last items of a history count (positions)")
	case positions > 0 && wanted > 0 && positions != wanted:
		return 0, fmt.Errorf("its axis T has %d positions, not %d; leave their number out", positions, wanted)
	}
	return max(positions, wanted), nil
}

// takeOutputs checks the outputs, and says whether scores are among them.
func (c *Config) takeOutputs(infos []ort.InputOutputInfo) (scored bool, err error) {
	found := false
	for _, i := range infos {
		rank := len(i.Dimensions)
		fits := i.DataType == ort.TensorElementDataTypeFloat
		switch i.Name {
		case outputStates:
			found, c.Each, fits = true, rank == 3, fits && (rank == 2 || rank == 3)
		case outputScores:
			scored, fits = true, fits && rank == 2
		default:
			continue // of no use here
		}
		if !fits {
			return false, fmt.Errorf("its output %s is %s %v; it needs states float32 [batch, D] or [batch, T, D], and scores float32 [batch, ids]: "+
				"convert it in the model", i.Name, element(i), i.Dimensions)
		}
	}
	if !found {
		return false, fmt.Errorf("its outputs are %s; it needs states float32 [batch, D] or [batch, T, D]: name them so in the export (output_names)",
			described(infos))
	}
	return scored, nil
}

// try computes a batch of two histories, which shows the widths of outputs and whether the model
// knows the highest id.
func (c *Config) try(content []byte, highest int, scored bool) error {
	const n = 2
	items, lengths := make([]int64, n*c.Positions), make([]int64, n)
	for i := range items {
		items[i] = int64(highest)
	}
	for i := range lengths {
		lengths[i] = int64(c.Positions)
	}
	names, tensors, err := c.inputs(items, lengths)
	defer func() {
		for _, t := range tensors {
			t.Destroy()
		}
	}()
	if err != nil {
		return err
	}
	outputs := []string{outputStates}
	if scored {
		outputs = append(outputs, outputScores)
	}
	session, err := ort.NewDynamicAdvancedSessionWithONNXData(content, names, outputs, nil)
	if err != nil {
		return refused(err)
	}
	defer session.Destroy()
	results := make([]ort.Value, len(outputs))
	err = session.Run(tensors, results)
	for _, r := range results {
		if r != nil {
			tensors = append(tensors, r)
		}
	}
	if err != nil {
		return fmt.Errorf("it cannot compute %d histories of %d items with the highest id, %d (%w); correct the number of positions, the id of padding "+
			"or the ids of items", n, c.Positions, highest, err)
	}
	shape := results[0].GetShape()
	c.Width = int(shape[len(shape)-1])
	if want := c.shape(outputStates, n); !shape.Equals(want) || c.Width < 1 {
		return fmt.Errorf("its states of %d histories of %d items have the shape %v, where %v is due; let batch be a dynamic axis and keep the order of "+
			"the axes", n, c.Positions, shape, want)
	}
	if scored {
		shape := results[1].GetShape()
		c.Scored = int(shape[1])
		if shape[0] != n || c.Scored <= highest {
			return fmt.Errorf("its scores of %d histories have the shape %v, where [%d, more than %d] is due: one for each id, padding's too", n, shape, n,
				highest)
		}
	}
	return nil
}

// refused says why the runtime does not take a model, and what helps.
func refused(err error) error {
	return fmt.Errorf("ONNX Runtime %s does not take it (%w); export it with an opset that this version knows, and with all weights in the file "+
		"(torch.onnx.export(…, opset_version=18, external_data=False))", ort.GetVersion(), err)
}

// A model is a message of protocol buffers. A field that repeats may stand anywhere in it, so that
// its metadata grows by writing at the end.
const (
	fieldMetadata = 14 // of a model: entries with a key and a value
	fieldKey      = 1
	fieldValue    = 2
	metadataKey   = "recint"
)

// say adds what a model says of itself.
func say(content, text []byte) []byte {
	entry := protowire.AppendTag(nil, fieldKey, protowire.BytesType)
	entry = protowire.AppendString(entry, metadataKey)
	entry = protowire.AppendTag(entry, fieldValue, protowire.BytesType)
	entry = protowire.AppendBytes(entry, text)
	content = protowire.AppendTag(slices.Clip(content), fieldMetadata, protowire.BytesType)
	return protowire.AppendBytes(content, entry)
}

// said finds what say has added; nil where there is none.
func said(content []byte) (text []byte, err error) {
	err = fields(content, func(number protowire.Number, entry []byte) error {
		if number != fieldMetadata {
			return nil
		}
		var key, value []byte
		err := fields(entry, func(number protowire.Number, of []byte) error {
			switch number {
			case fieldKey:
				key = of
			case fieldValue:
				value = of
			}
			return nil
		})
		if string(key) == metadataKey {
			text = value
		}
		return err
	})
	return text, err
}

// fields calls for each field of a message that holds bytes.
func fields(message []byte, call func(number protowire.Number, content []byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errNoModel
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return errNoModel
		}
		if kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(message)
			if err := call(number, content); err != nil {
				return err
			}
		}
		message = message[n:]
	}
	return nil
}

var errNoModel = errors.New("it is no ONNX model, or it is cut off; export it again")
