package cgo

// #include "recint.h"
// #cgo nocallback ri_gguf_encode
// #cgo noescape ri_gguf_encode
import "C"

import (
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"unsafe"
)

// GGUFKey is an entry of a GGUF's metadata. Value is a bool, uint16, uint32, int32, float32 or
// string, or a slice of int32, float32 or string.
type GGUFKey struct {
	Name  string
	Value any
}

// Keys are the entries of the file's metadata whose names begin with a prefix.
func (g *GGUF) Keys(prefix string) (keys []GGUFKey, err error) {
	const op = "read keys"
	err = g.use(op, func(p *C.ri_gguf) error {
		var k C.ri_gguf_key
		for i := C.size_t(0); C.ri_gguf_key_at(p, i, &k) != 0; i++ {
			key := GGUFKey{Name: C.GoString(k.name)}
			if !strings.HasPrefix(key.Name, prefix) {
				continue
			}
			switch k._type {
			case C.RI_GGUF_BOOL:
				key.Value = valueOf(&k, unsafe.Slice((*bool)(k.values), k.n_values))
			case C.RI_GGUF_U16:
				key.Value = valueOf(&k, unsafe.Slice((*uint16)(k.values), k.n_values))
			case C.RI_GGUF_U32:
				key.Value = valueOf(&k, unsafe.Slice((*uint32)(k.values), k.n_values))
			case C.RI_GGUF_I32:
				key.Value = valueOf(&k, unsafe.Slice((*int32)(k.values), k.n_values))
			case C.RI_GGUF_F32:
				key.Value = valueOf(&k, unsafe.Slice((*float32)(k.values), k.n_values))
			case C.RI_GGUF_TEXT:
				texts := make([]string, k.n_values)
				for n := range texts {
					texts[n] = C.GoString(C.ri_gguf_text_at(p, i, C.size_t(n)))
				}
				key.Value = valueOf(&k, texts)
			default:
				return invalid(op, "the key %s has a type that cannot be copied; take another file", key.Name)
			}
			keys = append(keys, key)
		}
		return nil
	})
	return keys, err
}

func valueOf[T any](k *C.ri_gguf_key, values []T) any {
	if k.list != 0 {
		return slices.Clone(values)
	}
	return values[0]
}

// GGUFTensor is a tensor of a GGUF that is written. Type is the format's number: 0 for float32, 1
// for binary16, 30 for bfloat16.
type GGUFTensor struct {
	Name  string
	Shape []int // row-major
	Type  int
}

// EncodeGGUF writes numbers as tensors of a type hold them, rounded to the nearest: 4 bytes each
// for float32, else 2.
func EncodeGGUF(dst []byte, kind int, values []float32) {
	C.ri_gguf_encode(C.int32_t(kind), data[C.float](values), C.size_t(len(values)), unsafe.Pointer(unsafe.SliceData(dst)))
}

// GGUFHead is the beginning of a GGUF: everything before the data of its tensors, which follow one
// after the other, each filled up with zeros to a multiple of 32 bytes.
func GGUFHead(keys []GGUFKey, tensors []GGUFTensor) ([]byte, error) {
	const op = "write gguf"
	var pin runtime.Pinner
	defer pin.Unpin()
	ks, ts := make([]C.ri_gguf_key, len(keys)), make([]C.ri_gguf_tensor, len(tensors))
	var err error
	pinnedText := func(texts ...string) unsafe.Pointer {
		joined := strings.Join(texts, "\x00")
		if err == nil && strings.Count(joined, "\x00") > max(0, len(texts)-1) {
			err = invalid(op, "a text has a NUL byte: %.40q", joined)
		}
		bytes := []byte(joined + "\x00")
		pin.Pin(&bytes[0])
		return unsafe.Pointer(&bytes[0])
	}
	for i, key := range keys {
		k := C.ri_gguf_key{name: (*C.char)(pinnedText(key.Name)), n_values: 1}
		list := func(kind C.int32_t, n int) { k._type, k.list, k.n_values = kind, 1, C.size_t(n) }
		switch v := key.Value.(type) {
		case bool:
			k._type = C.RI_GGUF_BOOL
		case uint16:
			k._type = C.RI_GGUF_U16
		case uint32:
			k._type = C.RI_GGUF_U32
		case int32:
			k._type = C.RI_GGUF_I32
		case float32:
			k._type = C.RI_GGUF_F32
		case []int32:
			list(C.RI_GGUF_I32, len(v))
		case []float32:
			list(C.RI_GGUF_F32, len(v))
		case string:
			k._type, k.values = C.RI_GGUF_TEXT, pinnedText(v)
		case []string:
			list(C.RI_GGUF_TEXT, len(v))
			k.values = pinnedText(v...)
		default:
			return nil, invalid(op, "key %s: a value of type %T cannot be written", key.Name, v)
		}
		if k.values == nil {
			bytes, _ := binary.Append(make([]byte, 0, 8), binary.NativeEndian, key.Value) // of a type that it knows
			pin.Pin(unsafe.SliceData(bytes))
			k.values = unsafe.Pointer(unsafe.SliceData(bytes))
		}
		ks[i] = k
	}
	for i, tensor := range tensors {
		t := C.ri_gguf_tensor{name: (*C.char)(pinnedText(tensor.Name)), _type: C.int32_t(tensor.Type), n_dims: C.int32_t(len(tensor.Shape))}
		for i := range min(len(tensor.Shape), len(t.ne)) { // the format counts dimensions from the fastest
			t.ne[i] = C.int64_t(tensor.Shape[len(tensor.Shape)-1-i])
		}
		ts[i] = t
	}
	if err != nil {
		return nil, err
	}
	var head []byte
	for n := C.size_t(0); ; head = make([]byte, n) {
		err := try(op, func(err *C.ri_error) C.ri_status {
			return C.ri_gguf_head(unsafe.SliceData(ks), C.size_t(len(ks)), unsafe.SliceData(ts), C.size_t(len(ts)),
				data[C.char](head), C.size_t(len(head)), &n, err)
		})
		if err != nil || int(n) <= len(head) {
			return head, err
		}
	}
}
