package artifact

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
)

// WriteSafetensors writes a file atomically. The same content gives the same bytes: tensors and
// metadata are sorted by name, and the header is padded with spaces so that the data starts at a
// multiple of eight bytes. Types F32, I32 and I64 are written; a tensor whose values do not fit its
// shape, a name used twice or an empty name is an error, and nothing is written.
func WriteSafetensors(path string, f *File) error {
	tensors := slices.Clone(f.Tensors)
	slices.SortFunc(tensors, func(a, b Tensor) int { return cmp.Compare(a.Name, b.Name) })
	header, err := encodeHeader(tensors, f.Metadata)
	if err != nil {
		return fmt.Errorf("artifact: cannot write %s: %w", path, err)
	}
	return WriteAtomic(path, func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 1<<16)
		out.Write(header) // bufio keeps the first error for Flush
		for _, t := range tensors {
			writeValues(out, t)
		}
		return out.Flush()
	})
}

// encodeHeader returns the length prefix and the padded JSON header of sorted tensors.
func encodeHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	type described struct {
		DType       string   `json:"dtype"`
		Shape       []int    `json:"shape"`
		DataOffsets [2]int64 `json:"data_offsets"`
	}
	var header bytes.Buffer
	header.Write(make([]byte, 8))
	header.WriteByte('{')
	if len(metadata) > 0 {
		if err := member(&header, "__metadata__", metadata); err != nil { // encoding/json sorts the keys of a map
			return nil, err
		}
	}
	at := int64(0)
	for i, t := range tensors {
		if t.Name == "" || t.Name == "__metadata__" {
			return nil, fmt.Errorf("%q is no name for a tensor", t.Name)
		}
		if i > 0 && t.Name == tensors[i-1].Name {
			return nil, fmt.Errorf("tensor %q occurs twice", t.Name)
		}
		values, ok := map[string]int{"F32": len(t.F32), "I32": len(t.I32), "I64": len(t.I64)}[t.DType]
		if !ok {
			return nil, fmt.Errorf("tensor %q has type %q; F32, I32 and I64 can be written", t.Name, t.DType)
		}
		n, err := count(t.Shape)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if n != int64(values) {
			return nil, fmt.Errorf("tensor %q of shape %v needs %d %s values, it has %d", t.Name, t.Shape, n, t.DType, values)
		}
		end := at + n*elementSize[t.DType]
		shape := append([]int{}, t.Shape...) // a nil shape must become [], not null
		if err := member(&header, t.Name, described{t.DType, shape, [2]int64{at, end}}); err != nil {
			return nil, err
		}
		at = end
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	length := header.Len() - 8
	if length > maxHeader {
		return nil, fmt.Errorf("names and metadata take %d bytes, the format allows %d", length, maxHeader)
	}
	binary.LittleEndian.PutUint64(header.Bytes(), uint64(length))
	return header.Bytes(), nil
}

// member appends "name":value to a JSON object that was opened in the buffer after the eight bytes
// of length.
func member(header *bytes.Buffer, name string, value any) error {
	if header.Len() > len("????????{") {
		header.WriteByte(',')
	}
	for i, part := range []any{name, value} {
		text, err := json.Marshal(part)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if i == 1 {
			header.WriteByte(':')
		}
		header.Write(text)
	}
	return nil
}

// writeValues writes one tensor's numbers, little-endian.
func writeValues(out *bufio.Writer, t Tensor) {
	le := binary.LittleEndian
	switch t.DType {
	case "F32":
		for _, v := range t.F32 {
			out.Write(le.AppendUint32(out.AvailableBuffer(), math.Float32bits(v)))
		}
	case "I32":
		for _, v := range t.I32 {
			out.Write(le.AppendUint32(out.AvailableBuffer(), uint32(v)))
		}
	case "I64":
		for _, v := range t.I64 {
			out.Write(le.AppendUint64(out.AvailableBuffer(), uint64(v)))
		}
	}
}
