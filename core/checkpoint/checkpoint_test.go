package checkpoint

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// model is a Model in Go's memory.
type model struct {
	infos  []cgo.TensorInfo
	values map[cgo.Slot][][]float32
}

func (m *model) Tensors() ([]cgo.TensorInfo, error) { return m.infos, nil }

func (m *model) Read(dst []float32, index int, slot cgo.Slot) error {
	copy(dst, m.values[slot][index])
	return nil
}

func (m *model) Write(index int, slot cgo.Slot, src []float32) error {
	m.values[slot][index] = append([]float32(nil), src...)
	return nil
}

// newModel has a matrix and a vector, whose numbers tell the slot apart.
func newModel(scale float32) *model {
	m := &model{infos: []cgo.TensorInfo{{Name: "w", Shape: []int{2, 1}}, {Name: "b", Shape: []int{2}}}, values: map[cgo.Slot][][]float32{}}
	for _, slot := range []cgo.Slot{cgo.Value, cgo.Gradient, cgo.Moment1, cgo.Moment2} {
		x := scale * float32(slot+1)
		m.values[slot] = [][]float32{{x, 2 * x}, {3 * x, 4 * x}}
	}
	return m
}

func TestPutTake(t *testing.T) {
	was, is := newModel(1), newModel(10)
	var file artifact.File
	if err := Put(&file, was); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "c.safetensors")
	if err := artifact.WriteSafetensors(path, &file); err != nil {
		t.Fatal(err)
	}
	read, err := artifact.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Take(read, is); err != nil {
		t.Fatal(err)
	}
	want := newModel(1)
	want.values[cgo.Gradient] = newModel(10).values[cgo.Gradient] // not kept
	if !reflect.DeepEqual(is, want) {
		t.Errorf("taken: %v, want %v", is, want)
	}
	if err := Clear(is, cgo.Moment1, cgo.Gradient); err != nil {
		t.Fatal(err)
	}
	zero := [][]float32{{0, 0}, {0, 0}}
	want.values[cgo.Moment1], want.values[cgo.Gradient] = zero, zero
	if !reflect.DeepEqual(is, want) {
		t.Errorf("cleared: %v, want %v", is, want)
	}
}

func TestWrite_shapes(t *testing.T) {
	for want, tensors := range map[string][]artifact.Tensor{
		"": {{Name: "x.w", DType: "F32", Shape: []int{2, 1, 1}, F32: []float32{5, 6}},
			{Name: "x.b", DType: "F32", Shape: []int{2, 1}, F32: []float32{7, 8}}},
		"no tensor \"x.b\"":            {{Name: "x.w", DType: "F32", Shape: []int{2, 1}, F32: []float32{5, 6}}},
		"shape [1 2], the model needs": {{Name: "x.w", DType: "F32", Shape: []int{1, 2}, F32: []float32{5, 6}}},
	} {
		m := newModel(1)
		err := Write(m, cgo.Value, &artifact.File{Tensors: tensors}, "x.")
		switch {
		case want == "" && (err != nil || !reflect.DeepEqual(m.values[cgo.Value], [][]float32{{5, 6}, {7, 8}})):
			t.Errorf("error %v, values %v", err, m.values[cgo.Value])
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestBest(t *testing.T) {
	was, is := newModel(1), newModel(10)
	var best Best
	if err := best.Keep(was); err != nil {
		t.Fatal(err)
	}
	if err := best.Restore(is); err != nil || !reflect.DeepEqual(is.values[cgo.Value], was.values[cgo.Value]) ||
		!reflect.DeepEqual(is.values[cgo.Moment1], newModel(10).values[cgo.Moment1]) {
		t.Errorf("restored %v, error %v", is.values, err)
	}
	var again Best
	is = newModel(10)
	if err := again.Take(&artifact.File{Tensors: best}, is); err != nil || !reflect.DeepEqual(again, best) ||
		!reflect.DeepEqual(is.values[cgo.Value], was.values[cgo.Value]) {
		t.Errorf("taken %v, error %v", again, err)
	}
	if err := again.Take(&artifact.File{}, is); err == nil || !strings.Contains(err.Error(), "best.w") {
		t.Errorf("without the tensors: %v", err)
	}
}
