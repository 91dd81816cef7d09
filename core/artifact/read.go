package artifact

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxHeader is the format's own limit on the JSON header, in bytes.
const maxHeader = 100_000_000

// ReadSafetensors reads a whole file. Every length, offset and shape is checked before it is used,
// so that a malformed file gives an error that names the file and the tensor. Tensors come in the
// order of their data. F32, I32 and I64 are kept; BF16, F16 and F64 become F32; tensors of other
// types have no values. Values may be NaN or infinite.
//
// A path that ends in .index.json is the index of a checkpoint in several files, which are read as
// one.
//
// The format is described at https://github.com/huggingface/safetensors: eight bytes of
// little-endian header length, a JSON header, the data without gaps.
func ReadSafetensors(path string) (*File, error) {
	if strings.HasSuffix(path, ".index.json") {
		return readShards(path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("artifact: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("artifact: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("artifact: %s is not a regular file; name a .safetensors file, or the index of several", path)
	}
	return readSafetensors(file, info.Size(), path)
}

// readShards reads the files that an index names ({"weight_map": {TENSOR: FILE}}, as Hugging Face's
// libraries write it). The index and its files must agree on which tensors there are. Metadata of
// the files is joined.
func readShards(path string) (*File, error) {
	f := &File{path: path, Metadata: map[string]string{}}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := ReadJSON(path, &index, AnyKeys); err != nil {
		return nil, err
	}
	if len(index.WeightMap) == 0 {
		return nil, f.errorf("has no weight_map, which says in which file each tensor is; is it the index of safetensors files?")
	}
	for _, name := range slices.Sorted(maps.Values(index.WeightMap)) {
		if !filepath.IsLocal(name) {
			return nil, f.errorf("names the file %q, which is outside its own folder", name)
		}
	}
	for _, name := range slices.Compact(slices.Sorted(maps.Values(index.WeightMap))) {
		shard, err := ReadSafetensors(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			return nil, fmt.Errorf("%w; %s needs this file", err, path)
		}
		for _, t := range shard.Tensors {
			if index.WeightMap[t.Name] != name {
				return nil, f.errorf("does not say that tensor %q is in %s; fetch all files again", t.Name, name)
			}
			delete(index.WeightMap, t.Name)
		}
		f.Tensors = append(f.Tensors, shard.Tensors...)
		maps.Copy(f.Metadata, shard.Metadata)
	}
	for name, file := range index.WeightMap {
		return nil, f.errorf("says that tensor %q is in %s, which lacks it; fetch all files again", name, file)
	}
	return f, nil
}

// entry is a tensor as the header describes it.
type entry struct {
	Name        string   `json:"-"`
	DType       string   `json:"dtype"`
	Shape       []int    `json:"shape"`
	DataOffsets *[]int64 `json:"data_offsets"`
	begin, end  int64
}

func readSafetensors(r io.ReaderAt, size int64, path string) (*File, error) {
	f := &File{path: path}
	var prefix [8]byte
	if size < int64(len(prefix)) {
		return nil, f.errorf("is truncated: %d bytes, a safetensors file has at least 8", size)
	}
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, f.errorf("%w", err)
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	if length > maxHeader || int64(length) > size-8 {
		return nil, f.errorf("is truncated or not safetensors: its header claims %d bytes, the file has %d; fetch or write it again", length, size)
	}
	header := make([]byte, length)
	if _, err := r.ReadAt(header, 8); err != nil {
		return nil, f.errorf("%w", err)
	}
	entries, err := f.parseHeader(header)
	if err != nil {
		return nil, err
	}
	data := io.NewSectionReader(r, 8+int64(length), size-8-int64(length))
	if err := f.checkLayout(entries, data.Size()); err != nil {
		return nil, err
	}
	for _, e := range entries {
		t, err := decode(e, data)
		if err != nil {
			return nil, f.errorf("tensor %q: %w", e.Name, err)
		}
		f.Tensors = append(f.Tensors, t)
	}
	return f, nil
}

// parseHeader reads the JSON token by token, because a map would hide a name that occurs twice.
func (f *File) parseHeader(header []byte) ([]entry, error) {
	if !utf8.Valid(header) {
		return nil, f.errorf("its header is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(header))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, f.errorf("its header is not a JSON object")
	}
	var entries []entry
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, f.errorf("its header is broken: %w", err)
		}
		name := token.(string) // inside an object the decoder yields nothing but string keys here
		if seen[name] {
			return nil, f.errorf("tensor %q occurs twice", name)
		}
		seen[name] = true
		if name == "__metadata__" {
			if err := decoder.Decode(&f.Metadata); err != nil {
				return nil, f.errorf("__metadata__ must map strings to strings: %w", err)
			}
			continue
		}
		e := entry{Name: name}
		if err := decoder.Decode(&e); err != nil {
			return nil, f.errorf("tensor %q: its header entry is broken: %w", name, err)
		}
		entries = append(entries, e)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, f.errorf("its header is broken: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, f.errorf("its header is followed by something else than spaces")
	}
	return entries, nil
}

// checkLayout checks types, shapes and offsets, sorts the entries by their data, and requires that
// they cover the data without gap or overlap.
func (f *File) checkLayout(entries []entry, size int64) error {
	for i := range entries {
		e := &entries[i]
		width, ok := elementSize[e.DType]
		if !ok {
			return f.errorf("tensor %q has type %q; F32, BF16, F16, F64, I32 and I64 are understood", e.Name, e.DType)
		}
		if e.Shape == nil {
			return f.errorf("tensor %q has no shape", e.Name)
		}
		n, err := count(e.Shape)
		if err != nil {
			return f.errorf("tensor %q: %w", e.Name, err)
		}
		if e.DataOffsets == nil || len(*e.DataOffsets) != 2 {
			return f.errorf("tensor %q has no pair of data_offsets", e.Name)
		}
		e.begin, e.end = (*e.DataOffsets)[0], (*e.DataOffsets)[1]
		if e.begin < 0 || e.end < e.begin || e.end > size {
			return f.errorf("tensor %q lies at bytes %d to %d, the data has %d: the file is truncated or broken",
				e.Name, e.begin, e.end, size)
		}
		if e.end-e.begin != n*width {
			return f.errorf("tensor %q of type %s and shape %v needs %d bytes, its offsets span %d",
				e.Name, e.DType, e.Shape, n*width, e.end-e.begin)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.Name, b.Name))
	})
	at := int64(0)
	for _, e := range entries {
		if e.begin != at {
			return f.errorf("tensor %q starts at byte %d, expected %d: tensors overlap or leave a gap", e.Name, e.begin, at)
		}
		at = e.end
	}
	if at != size {
		return f.errorf("has %d bytes after its last tensor", size-at)
	}
	return nil
}

// decode reads the values of one tensor whose layout has been checked.
func decode(e entry, data io.ReaderAt) (Tensor, error) {
	t := Tensor{Name: e.Name, DType: e.DType, Shape: e.Shape}
	if !hasValues[e.DType] {
		return t, nil
	}
	raw := make([]byte, e.end-e.begin)
	if _, err := data.ReadAt(raw, e.begin); err != nil && !(err == io.EOF && len(raw) == 0) {
		return t, err
	}
	le := binary.LittleEndian
	n := len(raw) / int(elementSize[e.DType])
	switch e.DType {
	case "F32":
		t.F32 = make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = math.Float32frombits(le.Uint32(raw[4*i:]))
		}
	case "BF16":
		t.DType, t.F32 = "F32", make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = math.Float32frombits(uint32(le.Uint16(raw[2*i:])) << 16)
		}
	case "F16":
		t.DType, t.F32 = "F32", make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = fromHalf(le.Uint16(raw[2*i:]))
		}
	case "F64":
		t.DType, t.F32 = "F32", make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = float32(math.Float64frombits(le.Uint64(raw[8*i:])))
		}
	case "I32":
		t.I32 = make([]int32, n)
		for i := range t.I32 {
			t.I32[i] = int32(le.Uint32(raw[4*i:]))
		}
	case "I64":
		t.I64 = make([]int64, n)
		for i := range t.I64 {
			t.I64[i] = int64(le.Uint64(raw[8*i:]))
		}
	}
	return t, nil
}

// fromHalf widens an IEEE 754 binary16 value.
func fromHalf(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, int(h>>10&31), uint32(h&1023)
	switch exponent {
	case 0: // zero or subnormal: fraction · 2⁻²⁴
		v := float32(math.Ldexp(float64(fraction), -24))
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 31: // infinity or NaN
		return math.Float32frombits(sign | 255<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | uint32(exponent-15+127)<<23 | fraction<<13)
}
