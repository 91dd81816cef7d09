package artifact

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Tensor is one named array in row-major order. DType says which of the value slices is used: "F32"
// → F32, "I32" → I32, "I64" → I64; a tensor of another type has no values. A scalar has an empty
// Shape and one value.
type Tensor struct {
	Name  string
	DType string
	Shape []int
	F32   []float32
	I32   []int32
	I64   []int64
}

// File is the content of a safetensors file.
type File struct {
	Metadata map[string]string
	Tensors  []Tensor

	path string // where it was read from, for messages
}

// PutJSON adds values to the metadata, as JSON under their keys.
func (f *File) PutJSON(values map[string]any) error {
	if f.Metadata == nil {
		f.Metadata = map[string]string{}
	}
	for key, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		f.Metadata[key] = string(text)
	}
	return nil
}

// TakeJSON reads the values that PutJSON added, through pointers. It refuses keys of objects that
// have no field in the target.
func (f *File) TakeJSON(values map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := ParseJSON([]byte(f.Metadata[key]), values[key], KnownKeys); err != nil {
			return fmt.Errorf("its %s: %w", key, err)
		}
	}
	return nil
}

// Find returns the tensor of that name, or an error that names the file.
func (f *File) Find(name string) (*Tensor, error) {
	for i := range f.Tensors {
		if f.Tensors[i].Name == name {
			return &f.Tensors[i], nil
		}
	}
	return nil, f.errorf("has no tensor %q", name)
}

// Float32 returns the values of an F32 tensor (reading converts BF16, F16 and F64). With a shape
// given, another shape is an error.
func (f *File) Float32(name string, shape ...int) ([]float32, error) {
	t, err := f.take(name, "F32", shape)
	if err != nil {
		return nil, err
	}
	return t.F32, nil
}

// Int32 returns the values of an I32 tensor, or of an I64 tensor whose values all fit. With a shape
// given, another shape is an error.
func (f *File) Int32(name string, shape ...int) ([]int32, error) {
	t, err := f.take(name, "I32", shape)
	if err != nil {
		return nil, err
	}
	if t.DType == "I32" {
		return t.I32, nil
	}
	narrow := make([]int32, len(t.I64))
	for i, v := range t.I64 {
		narrow[i] = int32(v)
		if int64(narrow[i]) != v {
			return nil, f.errorf("tensor %q: value %d at %d does not fit into 32 bits", name, v, i)
		}
	}
	return narrow, nil
}

// take finds a tensor and checks its type and, where one is given, its shape.
func (f *File) take(name, dtype string, shape []int) (*Tensor, error) {
	t, err := f.Find(name)
	if err != nil {
		return nil, err
	}
	if t.DType != dtype && !(dtype == "I32" && t.DType == "I64") {
		return nil, f.errorf("tensor %q holds %s, expected %s", name, t.DType, dtype)
	}
	if len(shape) > 0 && !slices.Equal(t.Shape, shape) {
		return nil, f.errorf("tensor %q has shape %v, expected %v", name, t.Shape, shape)
	}
	return t, nil
}

func (f *File) errorf(format string, args ...any) error {
	name := f.path
	if name == "" {
		name = "safetensors"
	}
	return fmt.Errorf("artifact: %s: "+format, append([]any{name}, args...)...)
}

// elementSize gives the bytes per value of each type.
var elementSize = map[string]int64{"F32": 4, "I32": 4, "I64": 8, "BF16": 2, "F16": 2, "F64": 8,
	"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8}

// hasValues lists the types whose values are read. PyTorch uses the others for buffers such as
// masks, not for weights.
var hasValues = map[string]bool{"F32": true, "I32": true, "I64": true, "BF16": true, "F16": true, "F64": true}

// count multiplies a shape and refuses negative dimensions and products too large for a file.
func count(shape []int) (int64, error) {
	const limit = int64(1) << 40
	n := int64(1)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		if d > 0 && n > limit/int64(d) {
			return 0, fmt.Errorf("shape %v is absurdly large", shape)
		}
		n *= int64(d)
	}
	return n, nil
}
