package gguf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
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
	file, err := cgo.OpenGGUF(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	keys, err := keysOf(file, "tokenizer.")
	if err != nil {
		return nil, err
	}
	if tokens, _ := find(keys, tokensKey).([]string); len(tokens) == 0 {
		return nil, fmt.Errorf("gguf: %s has no tokenizer; take it from another file", path)
	}
	return keys, nil
}

// keysOf gives the keys of a file that begin with a prefix.
func keysOf(file *cgo.GGUF, prefix string) (keys []Key, err error) {
	all, err := file.Keys(prefix)
	for _, k := range all {
		keys = append(keys, Key(k))
	}
	return keys, err
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
