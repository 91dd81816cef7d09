package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Types of tokens, as the format numbers them.
const (
	Normal  = int32(1)
	Control = int32(3)
	Unused  = int32(5)
)

// Keys of the vocabulary: lists with an entry for each token, and the pairs of tokens that are
// merged.
const (
	tokensKey = "tokenizer.ggml.tokens"
	typesKey  = "tokenizer.ggml.token_type"
	scoresKey = "tokenizer.ggml.scores"
	mergesKey = "tokenizer.ggml.merges"
)

// Tokenizer reads the keys of a GGUF's tokenizer and chat template. In a model with a smaller
// vocabulary its last tokens, which are the rarest, are missing; in one with a larger vocabulary
// the tokens behind its last are never used.
func Tokenizer(path string) ([]Key, error) {
	keys, err := keysOf(path, "tokenizer.")
	if err != nil {
		return nil, err
	}
	if tokens, _ := find(keys, tokensKey).([]string); len(tokens) == 0 {
		return nil, fmt.Errorf("gguf: %s has no tokenizer; take it from another file", path)
	}
	return keys, nil
}

// keysOf reads the keys of a GGUF that begin with a prefix.
func keysOf(path, prefix string) ([]Key, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("gguf: cannot read keys: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("gguf: cannot read keys: %w", err)
	}
	r := &reader{in: bufio.NewReaderSize(file, 1<<20), length: uint64(info.Size())}
	magic := r.bytes(4)
	version := read[uint32](r)
	read[uint64](r) // tensors
	var keys []Key
	for range read[uint64](r) {
		name := r.text()
		v := r.value(read[uint32](r))
		if r.err != nil {
			break
		}
		if strings.HasPrefix(name, prefix) {
			if v == nil {
				return nil, fmt.Errorf("gguf: %s: the key %s has a type that cannot be copied; take another file", path, name)
			}
			keys = append(keys, Key{name, v})
		}
	}
	if r.err != nil || string(magic) != "GGUF" || version < 2 || version > 3 {
		return nil, fmt.Errorf("gguf: %s is not a GGUF of version 2 or 3, or cut short; fetch it again", path)
	}
	return keys, nil
}

// reader reads the format's primitives; after an error everything is zero.
type reader struct {
	in     io.Reader
	length uint64 // of the file, which no part of it exceeds
	err    error
}

func read[T uint32 | uint64 | float32 | bool](r *reader) (v T) {
	if r.err == nil {
		r.err = binary.Read(r.in, binary.LittleEndian, &v)
	}
	return v
}

func readList[T int32 | float32](r *reader, n uint64) []T {
	if n > r.length/4 {
		r.err = io.ErrUnexpectedEOF
	}
	if r.err != nil {
		return nil
	}
	list := make([]T, n)
	r.err = binary.Read(r.in, binary.LittleEndian, list)
	return list
}

func (r *reader) bytes(n uint64) []byte {
	if n > r.length {
		r.err = io.ErrUnexpectedEOF
	}
	if r.err != nil {
		return nil
	}
	b := make([]byte, n)
	_, r.err = io.ReadFull(r.in, b)
	return b
}

func (r *reader) text() string { return string(r.bytes(read[uint64](r))) }

// value reads a value of a kind that can be written, or passes over it and gives nil.
func (r *reader) value(kind uint32) any {
	switch kind {
	case kindUint32:
		return read[uint32](r)
	case kindFloat32:
		return read[float32](r)
	case kindBool:
		return read[bool](r)
	case kindString:
		return r.text()
	case kindArray:
		kind, n := read[uint32](r), read[uint64](r)
		switch kind {
		case kindInt32:
			return readList[int32](r, n)
		case kindFloat32:
			return readList[float32](r, n)
		case kindString:
			var list []string
			for i := uint64(0); i < n && r.err == nil; i++ {
				list = append(list, r.text())
			}
			return list
		}
		for i := uint64(0); i < n && r.err == nil; i++ {
			r.value(kind)
		}
		return nil
	}
	size := map[uint32]uint64{0: 1, 1: 1, kindUint16: 2, 3: 2, kindInt32: 4, 10: 8, 11: 8, 12: 8}[kind]
	if size == 0 && r.err == nil {
		r.err = fmt.Errorf("there is no type %d", kind)
	}
	r.bytes(size)
	return nil
}

func find(keys []Key, name string) any {
	for _, k := range keys {
		if k.Name == name {
			return k.Value
		}
	}
	return nil
}

// fit gives a tokenizer of exactly n tokens: behind the n-th they are cut off, with the merges that
// they take part in, and up to it unused ones are added. A tokenizer without tokens stays as it is.
func fit(keys []Key, n int) ([]Key, error) {
	tokens, _ := find(keys, tokensKey).([]string)
	if len(tokens) == 0 || len(tokens) == n {
		return keys, nil
	}
	kept := map[string]bool{}
	for _, token := range tokens[:min(n, len(tokens))] {
		kept[token] = true
	}
	keys = slices.Clone(keys)
	for i, k := range keys {
		switch v := k.Value.(type) {
		case uint32:
			if strings.HasSuffix(k.Name, "_token_id") && int(v) >= n && int(v) < len(tokens) {
				return nil, fmt.Errorf("gguf: a vocabulary of %d tokens has no place for the tokenizer's %s, which is %d; "+
					"take the tokenizer from a file with at most %d tokens", n, k.Name, v, n)
			}
		case []string:
			switch k.Name {
			case tokensKey:
				keys[i].Value = resize(v, n, func(id int) string { return fmt.Sprintf("<|unused_%d|>", id) })
			case mergesKey:
				keys[i].Value = slices.DeleteFunc(slices.Clone(v), func(merge string) bool {
					left, right, _ := strings.Cut(merge, " ")
					return !kept[left] || !kept[right] || !kept[left+right]
				})
			}
		case []int32:
			if k.Name == typesKey {
				keys[i].Value = resize(v, n, func(int) int32 { return Unused })
			}
		case []float32:
			if k.Name == scoresKey {
				keys[i].Value = resize(v, n, func(id int) float32 { return float32(-id) })
			}
		}
	}
	return keys, nil
}

// resize gives the first n of a list, with more made where there are fewer.
func resize[T any](list []T, n int, more func(i int) T) []T {
	list = slices.Clone(list[:min(n, len(list))])
	for len(list) < n {
		list = append(list, more(len(list)))
	}
	return list
}
