// Package onnxtest makes small ONNX models, and finds the library that runs them.
package onnxtest

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/fetch"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx"
)

// Library makes models run, or skips the test where there is no library to run them.
func Library(t *testing.T) {
	t.Helper()
	if os.Getenv(onnx.LibraryVariable) != "" {
		return
	}
	home := os.Getenv("RECINT_HOME")
	if cache, err := os.UserCacheDir(); home == "" && err == nil {
		home = filepath.Join(cache, "recint")
	}
	path := filepath.Join(home, "models", fetch.ONNXRuntimeFile())
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no ONNX Runtime is there: run `recint models fetch onnxruntime`, or name its library in %s", onnx.LibraryVariable)
	}
	t.Setenv(onnx.LibraryVariable, path)
}

// Model is an encoder whose state is the sum of the vectors of a history's items. The row of
// padding is zero. Fields change it.
type Model struct {
	Table [][]float32 // a vector for each id
	Opset int         // 0: one that every runtime knows
	Items string      // the name of the input; "": items
	Type  int         // of the ids; 0: int64
	Batch int         // the fixed number of histories; 0: it varies
	T     int         // the fixed length of histories; 0: it varies
	// Each makes states those of all items, each the vector of its item.
	Each bool
	// Lengths is a further input that is not read: length or mask.
	Lengths string
	// States is the name of the output; "": states.
	States string
	// Scores adds the products of states with the table.
	Scores bool
}

// Types of elements.
const (
	float32s = 1
	Int32    = 6
	int64s   = 7
)

// Bytes is the model's file.
func (m Model) Bytes() []byte {
	if m.Opset == 0 {
		m.Opset = 13
	}
	if m.Items == "" {
		m.Items = "items"
	}
	if m.Type == 0 {
		m.Type = int64s
	}
	if m.States == "" {
		m.States = "states"
	}
	ids, width := len(m.Table), len(m.Table[0])
	var flat, turned []float32
	for _, row := range m.Table {
		flat = append(flat, row...)
	}
	for k := range width {
		for _, row := range m.Table {
			turned = append(turned, row[k])
		}
	}
	gathered := "gathered"
	if m.Each {
		gathered = m.States
	}
	var graph []byte
	graph = field(graph, 1, node("Gather", []string{"table", m.Items}, gathered))
	if !m.Each {
		graph = field(graph, 1, node("ReduceSum", []string{gathered, "axes"}, m.States, "keepdims", 0))
	}
	if m.Scores {
		graph = field(graph, 1, node("MatMul", []string{m.States, "turned"}, "scores"))
	}
	graph = field(graph, 2, []byte("sums"))
	graph = field(graph, 5, floats("table", flat, ids, width))
	graph = field(graph, 5, floats("turned", turned, width, ids))
	graph = field(graph, 5, tensor("axes", int64s, binary.LittleEndian.AppendUint64(nil, 1), 1))
	graph = field(graph, 11, value(m.Items, m.Type, m.Batch, m.T))
	switch m.Lengths {
	case "length":
		graph = field(graph, 11, value(m.Lengths, int64s, m.Batch))
	case "mask":
		graph = field(graph, 11, value(m.Lengths, int64s, m.Batch, m.T))
	}
	shape := []int{m.Batch, width}
	if m.Each {
		shape = []int{m.Batch, m.T, width}
	}
	graph = field(graph, 12, value(m.States, float32s, shape...))
	if m.Scores {
		graph = field(graph, 12, value("scores", float32s, m.Batch, ids))
	}
	model := number(nil, 1, 8) // version of the format
	model = field(model, 7, graph)
	return field(model, 8, number(field(nil, 1, nil), 2, m.Opset))
}

func field(message []byte, at protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(message, at, protowire.BytesType), content)
}

func number(message []byte, at protowire.Number, value int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(message, at, protowire.VarintType), uint64(value))
}

// node is an operation with, if there is one, an attribute that is a number.
func node(kind string, inputs []string, output string, attribute ...any) (message []byte) {
	for _, input := range inputs {
		message = field(message, 1, []byte(input))
	}
	message = field(message, 2, []byte(output))
	message = field(message, 4, []byte(kind))
	if len(attribute) > 0 {
		const isNumber = 2
		of := field(nil, 1, []byte(attribute[0].(string)))
		message = field(message, 5, number(number(of, 3, attribute[1].(int)), 20, isNumber))
	}
	return message
}

func floats(name string, values []float32, shape ...int) []byte {
	var raw []byte
	for _, x := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return tensor(name, float32s, raw, shape...)
}

func tensor(name string, kind int, raw []byte, shape ...int) (message []byte) {
	for _, n := range shape {
		message = number(message, 1, n)
	}
	return field(field(number(message, 2, kind), 8, []byte(name)), 9, raw)
}

// value describes an input or output. Axes of 0 vary.
func value(name string, kind int, shape ...int) []byte {
	var axes []byte
	for _, n := range shape {
		if n > 0 {
			axes = field(axes, 1, number(nil, 1, n))
		} else {
			axes = field(axes, 1, nil)
		}
	}
	of := field(number(nil, 1, kind), 2, axes)
	return field(field(nil, 1, []byte(name)), 2, field(nil, 1, of))
}

// Random is a model of so many items, with padding as number 0, whose vectors follow from their
// ids.
func Random(items, width int) Model {
	table := make([][]float32, items+1)
	for i := range table {
		table[i] = make([]float32, width)
		for k := range width {
			if i > 0 {
				table[i][k] = float32(math.Sin(float64(i*(k+2)) + float64(k)))
			}
		}
	}
	return Model{Table: table}
}

// Write imports a model for the items of a data set and gives the file.
func Write(t *testing.T, m Model, d *dataset.Dataset, positions int) string {
	t.Helper()
	original, path := filepath.Join(t.TempDir(), "model.onnx"), filepath.Join(t.TempDir(), "imported.onnx")
	if err := os.WriteFile(original, m.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := onnx.Import(original, path, onnx.Options{Dataset: d.Hash(), Items: len(d.Items), Positions: positions}); err != nil {
		t.Fatal(err)
	}
	return path
}
