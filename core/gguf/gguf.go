package gguf

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// File is what a GGUF is made of.
type File struct {
	Keys    []Key
	Tensors []Tensor
}

// Key is one entry of the metadata. Value is a bool, uint16, uint32, int32, float32, string,
// []int32, []float32 or []string.
type Key struct {
	Name  string
	Value any
}

// Tensor is a weight whose values are made while they are written.
type Tensor struct {
	Name  string
	Shape []int // row-major
	Type  Type
	// Fill writes the values first, first+1, … of the tensor. It is called for stretches that begin
	// at multiples of Stretch, in any order and from several goroutines.
	Fill func(dst []float32, first int)
}

// Values fills a tensor with numbers that are there already.
func Values(values []float32) func(dst []float32, first int) {
	return func(dst []float32, first int) { copy(dst, values[first:]) }
}

// Stretch is how many values of a tensor are made at a time.
const Stretch = 1 << 20

// Type is how a tensor's values are stored, as the format numbers it.
type Type uint32

// The types that can be written.
const (
	F32  Type = 0
	F16  Type = 1
	BF16 Type = 30
)

var typeNames = map[Type]string{F32: "f32", F16: "f16", BF16: "bf16"}

// ParseType gives the type of a name: f32, f16 or bf16.
func ParseType(name string) (Type, error) {
	for t, n := range typeNames {
		if n == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("there is no type %q; weights can be f32, f16 or bf16", name)
}

func (t Type) String() string { return strings.ToUpper(typeNames[t]) }

// bytes that a value takes.
func (t Type) bytes() int {
	if t == F32 {
		return 4
	}
	return 2
}

// Elements is the number of the tensor's values.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Weights is the number of values in all tensors.
func (f *File) Weights() int64 {
	var n int64
	for _, t := range f.Tensors {
		n += int64(t.Elements())
	}
	return n
}

// Save puts the file at path, or leaves what is there as it was. It refuses at once where the file
// system has no room. Progress, in bytes, may be nil.
func (f *File) Save(ctx context.Context, path string, progress func(done, total int64)) error {
	total, err := f.Size()
	if err != nil {
		return err
	}
	if err := artifact.RoomFor(path, total); err != nil {
		return err
	}
	var done int64
	return artifact.WriteAtomic(path, func(w io.Writer) error {
		return f.Write(writerFunc(func(p []byte) (int, error) {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			n, err := w.Write(p)
			if done += int64(n); progress != nil {
				progress(done, total)
			}
			return n, err
		}))
	})
}

// SaveEmpty puts a file at path whose weights are zeros that take no room: enough to plan with.
func (f *File) SaveEmpty(path string) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	head, err := f.head()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, head, 0o666); err != nil {
		return fmt.Errorf("gguf: %w", err)
	}
	if err := os.Truncate(path, size); err != nil {
		return fmt.Errorf("gguf: %w", err)
	}
	return nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Size is the length of the file in bytes. An error is about a key that cannot be written.
func (f *File) Size() (int64, error) {
	head, err := f.head()
	size := int64(len(head))
	for _, t := range f.Tensors {
		size += aligned(int64(t.Elements() * t.Type.bytes()))
	}
	return size, err
}

// Write writes the file. As many stretches are held in memory as there are processors.
func (f *File) Write(w io.Writer) error {
	head, err := f.head()
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	workers := make([]worker, runtime.GOMAXPROCS(0))
	for _, t := range f.Tensors {
		for first, n := 0, t.Elements(); first < n; {
			var running sync.WaitGroup
			begun := 0
			for ; begun < len(workers) && first < n; begun++ {
				made, from, count := &workers[begun], first, min(Stretch, n-first)
				running.Go(func() { made.make(t, from, count) })
				first += count
			}
			running.Wait()
			for _, made := range workers[:begun] {
				if _, err := w.Write(made.bytes); err != nil {
					return err
				}
			}
		}
		n := int64(t.Elements() * t.Type.bytes())
		if _, err := w.Write(make([]byte, aligned(n)-n)); err != nil {
			return err
		}
	}
	return nil
}

// worker makes one stretch after the other in the same memory.
type worker struct {
	values []float32
	bytes  []byte
}

func (w *worker) make(t Tensor, first, count int) {
	if cap(w.values) < count {
		w.values = make([]float32, count)
	}
	w.values = w.values[:count]
	t.Fill(w.values, first)
	w.bytes = slices.Grow(w.bytes[:0], count*t.Type.bytes())[:count*t.Type.bytes()]
	cgo.EncodeGGUF(w.bytes, int(t.Type), w.values)
}

// aligned is the next multiple of the format's default alignment.
func aligned(n int64) int64 {
	const alignment = 32
	return (n + alignment - 1) / alignment * alignment
}

// head is everything before the data of the first tensor.
func (f *File) head() ([]byte, error) {
	keys := make([]cgo.GGUFKey, len(f.Keys))
	for i, k := range f.Keys {
		keys[i] = cgo.GGUFKey(k)
	}
	tensors := make([]cgo.GGUFTensor, len(f.Tensors))
	for i, t := range f.Tensors {
		tensors[i] = cgo.GGUFTensor{Name: t.Name, Shape: t.Shape, Type: int(t.Type)}
	}
	return cgo.GGUFHead(keys, tensors)
}
