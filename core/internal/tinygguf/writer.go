package tinygguf

import (
	"bufio"
	"encoding/binary"
)

// alignment of tensor data, the format's default.
const alignment = 32

func aligned(n uint64) uint64 { return (n + alignment - 1) / alignment * alignment }

// writer writes the format's primitives, little-endian, and counts bytes. The bufio.Writer keeps the first error.
type writer struct {
	out     *bufio.Writer
	written uint64
}

func (w *writer) raw(s string) {
	w.out.WriteString(s)
	w.written += uint64(len(s))
}

func (w *writer) number(v any) {
	_ = binary.Write(w.out, binary.LittleEndian, v)
	w.written += uint64(binary.Size(v))
}

func (w *writer) text(s string) {
	w.number(uint64(len(s)))
	w.raw(s)
}

// value writes a type, an element type and a count where it is an array, and the value.
func (w *writer) value(v any) {
	const (
		typeUint32  = uint32(4)
		typeInt32   = uint32(5)
		typeFloat32 = uint32(6)
		typeBool    = uint32(7)
		typeString  = uint32(8)
		typeArray   = uint32(9)
	)
	switch v := v.(type) {
	case uint32:
		w.number(typeUint32)
		w.number(v)
	case float32:
		w.number(typeFloat32)
		w.number(v)
	case bool:
		w.number(typeBool)
		w.number(v)
	case string:
		w.number(typeString)
		w.text(v)
	case []int32:
		w.number([]uint32{typeArray, typeInt32})
		w.number(uint64(len(v)))
		w.number(v)
	case []string:
		w.number([]uint32{typeArray, typeString})
		w.number(uint64(len(v)))
		for _, s := range v {
			w.text(s)
		}
	}
}

// pad writes zeros up to the next multiple of the alignment.
func (w *writer) pad() {
	w.raw(string(make([]byte, aligned(w.written)-w.written)))
}
