package artifact

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

func TestWriteAtomicReplacesAndKeepsOnFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	put := func(text string, failure error) error {
		return WriteAtomic(path, func(w io.Writer) error {
			io.WriteString(w, text)
			return failure
		})
	}
	if err := put("old", nil); err != nil {
		t.Fatal(err)
	}
	if err := put("half", syscall.ENOSPC); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("full disk: %v", err)
	}
	wantFiles(t, dir, map[string]string{"a": "old"})
	if err := put("new", nil); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, map[string]string{"a": "new"})
	func() {
		defer func() { recover() }()
		WriteAtomic(path, func(io.Writer) error { panic("in write") })
	}()
	wantFiles(t, dir, map[string]string{"a": "new"})
}

func TestWriteAtomicBadFolders(t *testing.T) {
	dir := t.TempDir()
	nothing := func(io.Writer) error { return nil }
	err := WriteAtomic(filepath.Join(dir, "absent", "a"), nothing)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "create the folder first") || strings.Contains(err.Error(), ".tmp") {
		t.Errorf("absent folder: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteAtomic(filepath.Join(dir, "b"), nothing); err == nil {
		t.Error("a folder was overwritten by a file")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if os.Geteuid() == 0 {
		t.Skip("the rest needs a user other than root: root may write everywhere")
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := WriteAtomic(filepath.Join(dir, "a"), nothing); err == nil || !strings.Contains(err.Error(), "you may write to") {
		t.Errorf("unwritable folder: %v", err)
	}
}

func wantFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(text)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("folder holds %v, want %v", got, want)
	}
}

// The digest of "abc" is the first example of FIPS 180-2.
func TestHashFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "abc")
	os.WriteFile(path, []byte("abc"), 0o600)
	got, err := HashFile(path)
	if want := "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; err != nil || got != want {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := HashFile(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

func TestMismatchNamesBothSides(t *testing.T) {
	m := &Mismatch{"adapter", "recommender", "3f2a" + strings.Repeat("0", 60), "91bc" + strings.Repeat("1", 60)}
	want := "this adapter was made from another recommender, with the hash 3f2a00000000…, not 91bc11111111…; " +
		"give that recommender, or make a new adapter"
	if m.Error() != want {
		t.Errorf("got %q", m)
	}
	m.Got = "3f2a" + strings.Repeat("0", 59) + "1"
	if !strings.Contains(m.Error(), m.Got) {
		t.Errorf("hashes with one beginning are not told apart: %q", m)
	}
}

func sample() *File {
	return &File{
		Metadata: map[string]string{"z": "1", "a": "ü \"q\""},
		Tensors: []Tensor{
			{Name: "w", DType: "F32", Shape: []int{2, 3}, F32: []float32{1, -2, 3.5, 0, float32(math.Inf(1)), 1e-45}},
			{Name: "n", DType: "I32", Shape: []int{2}, I32: []int32{-1, 1 << 30}},
			{Name: "scalar", DType: "I64", I64: []int64{1 << 40}},
			{Name: "empty", DType: "F32", Shape: []int{0, 7}},
		},
	}
}

func TestSafetensorsRoundTripIsDeterministic(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	f := sample()
	if err := WriteSafetensors(a, f); err != nil {
		t.Fatal(err)
	}
	f.Tensors[0], f.Tensors[3] = f.Tensors[3], f.Tensors[0]
	if err := WriteSafetensors(b, f); err != nil {
		t.Fatal(err)
	}
	bytesA, _ := os.ReadFile(a)
	bytesB, _ := os.ReadFile(b)
	if !bytes.Equal(bytesA, bytesB) {
		t.Error("the order of tensors changes the file")
	}
	if n := binary.LittleEndian.Uint64(bytesA); (8+n)%8 != 0 || bytesA[8] != '{' {
		t.Errorf("header of %d bytes is not aligned", n)
	}
	got, err := ReadSafetensors(a)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Metadata, f.Metadata) {
		t.Errorf("metadata %v", got.Metadata)
	}
	if v, err := got.Float32("w", 2, 3); err != nil || !reflect.DeepEqual(v, f.Tensors[3].F32) {
		t.Errorf("w: %v, %v", v, err)
	}
	if v, err := got.Int32("n"); err != nil || !reflect.DeepEqual(v, []int32{-1, 1 << 30}) {
		t.Errorf("n: %v, %v", v, err)
	}
	if v, err := got.Float32("empty", 0, 7); err != nil || len(v) != 0 {
		t.Errorf("empty: %v, %v", v, err)
	}
	for name, call := range map[string]func() error{
		"has no tensor":    func() error { _, err := got.Float32("nobody"); return err },
		"holds F32":        func() error { _, err := got.Int32("w"); return err },
		"expected [3 2]":   func() error { _, err := got.Float32("w", 3, 2); return err },
		"fit into 32 bits": func() error { _, err := got.Int32("scalar"); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), a) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWriteSafetensorsRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	for want, tensors := range map[string][]Tensor{
		"occurs twice":      {{Name: "a", DType: "F32", Shape: []int{0}}, {Name: "a", DType: "F32", Shape: []int{0}}},
		"needs 2 F32":       {{Name: "a", DType: "F32", Shape: []int{2}, F32: []float32{1}}},
		"has type":          {{Name: "a", DType: "F64", Shape: []int{0}}},
		"no name":           {{Name: "__metadata__", DType: "F32", Shape: []int{0}}},
		"negative":          {{Name: "a", DType: "F32", Shape: []int{-1}}},
		"absurdly large":    {{Name: "a", DType: "F32", Shape: []int{1 << 40, 1 << 40}}},
		"needs 1 I32 value": {{Name: "a", DType: "I32", F32: []float32{1}}},
	} {
		err := WriteSafetensors(path, &File{Tensors: tensors})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a refused file was written")
	}
}

// encode makes a file of a header and n bytes of data; the data's bytes are 0, 1, 2, ...
func encode(header string, n int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	out = append(out, header...)
	for i := range n {
		out = append(out, byte(i))
	}
	return out
}

func TestReadSafetensorsMalformed(t *testing.T) {
	huge := binary.LittleEndian.AppendUint64(nil, math.MaxUint64)
	for _, c := range []struct {
		want string
		file []byte
	}{
		{"truncated", nil},
		{"truncated", []byte("1234567")},
		{"header claims", huge},
		{"header claims 20 bytes", append(binary.LittleEndian.AppendUint64(nil, 20), '{', '}')},
		{"not a JSON object", encode(`[]`, 0)},
		{"not UTF-8", encode("{\"\xff\":1}", 0)},
		{"broken", encode(`{"a":`, 0)},
		{"broken", encode(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`, 4)},
		{"followed by", encode(`{}{}`, 0)},
		{"__metadata__", encode(`{"__metadata__":{"a":1}}`, 0)},
		{`"a" occurs twice`, encode(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4)},
		{`type "F7"`, encode(`{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}`, 4)},
		{"no shape", encode(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4)},
		{"data_offsets", encode(`{"a":{"dtype":"F32","shape":[1]}}`, 4)},
		{"data_offsets", encode(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}`, 4)},
		{"entry is broken", encode(`{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}`, 4)},
		{"negative dimension", encode(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4)},
		{"absurdly large", encode(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}`, 4)},
		{"needs 8 bytes", encode(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4)},
		{"the data has 3", encode(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 3)},
		{"the data has 4", encode(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`, 4)},
		{"the data has 4", encode(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4)},
		{"4 bytes after", encode(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 8)},
		{"leave a gap", encode(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8)},
		{"overlap", encode(`{"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I32","shape":[2],"data_offsets":[4,12]}}`, 12)},
	} {
		_, err := readSafetensors(bytes.NewReader(c.file), int64(len(c.file)), "file.st")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "file.st") {
			t.Errorf("%q: want %q, got %v", c.file, c.want, err)
		}
	}
	if _, err := ReadSafetensors(t.TempDir()); err == nil {
		t.Error("a folder was read as a file")
	}
}

// Bit patterns from IEEE 754: binary16 0x3c00 = 1, 0xc000 = -2, 0x0001 = 2^-24, 0x7c00 = infinity;
// bfloat16 0x3f80 = 1, 0xc000 = -2.
func TestReadWidens(t *testing.T) {
	file := encode(`{"b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},"h":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}`, 0)
	for _, v := range []uint16{0x3c00, 0xc000, 0x0001, 0x7c00, 0x3f80, 0xc000} {
		file = binary.LittleEndian.AppendUint16(file, v)
	}
	f, err := readSafetensors(bytes.NewReader(file), int64(len(file)), "file.st")
	if err != nil {
		t.Fatal(err)
	}
	half, _ := f.Float32("h", 4)
	brain, _ := f.Float32("b", 2)
	if want := []float32{1, -2, 0x1p-24, float32(math.Inf(1))}; !reflect.DeepEqual(half, want) {
		t.Errorf("F16 %v, want %v", half, want)
	}
	if want := []float32{1, -2}; !reflect.DeepEqual(brain, want) {
		t.Errorf("BF16 %v, want %v", brain, want)
	}
}

// A file is either refused or consistent: every shape agrees with the number of values.
func FuzzReadSafetensors(f *testing.F) {
	f.Add(encode(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"k":"v"}}`, 4))
	f.Add(encode(`{"a":{"dtype":"BF16","shape":[2,0],"data_offsets":[0,0]},"b":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}`, 8))
	f.Add(encode(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}  `, 4))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := readSafetensors(bytes.NewReader(raw), int64(len(raw)), "fuzz")
		if err != nil {
			return
		}
		for _, tensor := range file.Tensors {
			n, err := count(tensor.Shape)
			if err != nil || n != int64(len(tensor.F32)+len(tensor.I32)+len(tensor.I64)) {
				t.Fatalf("%q: shape %v, %d values", tensor.Name, tensor.Shape, n)
			}
		}
		if _, err := encodeHeader(nil, file.Metadata); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFile_json(t *testing.T) {
	file := &File{}
	want := document{Name: "<é>", Seed: 1<<64 - 1, List: []string{"a"}}
	if err := file.PutJSON(map[string]any{"document": want, "n": 3}); err != nil {
		t.Fatal(err)
	}
	var got document
	var n int
	if err := file.TakeJSON(map[string]any{"document": &got, "n": &n}); err != nil || !reflect.DeepEqual(got, want) || n != 3 {
		t.Errorf("%+v, %d, %v", got, n, err)
	}
	if err := file.PutJSON(map[string]any{"n": make(chan int)}); err == nil {
		t.Error("a channel became JSON")
	}
	file.Metadata["document"] = `{"colour": 1}`
	for key, says := range map[string]string{
		"document": `its document: line 1, column 2: there is no key "colour"`,
		"none":     "its none: line 1, column 1: nothing is here",
	} {
		if err := file.TakeJSON(map[string]any{key: &got}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
