package gguf_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/gguf"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
)

// set gives keys with one changed or added.
func set(keys []gguf.Key, name string, value any) []gguf.Key {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k gguf.Key) bool { return k.Name == name })
	return append(keys, gguf.Key{Name: name, Value: value})
}

// bigVocabulary has the marks of ChatML in front, and merges behind the bytes: "th", "ab", "the",
// "abth".
func bigVocabulary() []gguf.Key {
	keys := gguftest.Tokenizer()
	bytes := keys[2].Value.([]string)[:256]
	tokens := slices.Concat([]string{"<|im_start|>", "<|im_end|>"}, bytes, []string{"th", "ab", "the", "abth"})
	types := slices.Repeat([]int32{gguf.Normal}, len(tokens))
	types[0], types[1] = gguf.Control, gguf.Control
	keys = set(keys, "tokenizer.ggml.tokens", tokens)
	keys = set(keys, "tokenizer.ggml.token_type", types)
	keys = set(keys, "tokenizer.ggml.merges", []string{"t h", "a b", "th e", "ab th"})
	keys = set(keys, "tokenizer.ggml.bos_token_id", uint32(0))
	return set(keys, "tokenizer.ggml.eos_token_id", uint32(1))
}

// What is written comes back, among keys of every other kind, which are passed over.
func TestTokenizerIsRead(t *testing.T) {
	want := set(bigVocabulary(), "tokenizer.ggml.scores", []float32{1, -2})
	architecture := gguf.Key{Name: "general.architecture", Value: "llama"}
	f := &gguf.File{Keys: slices.Concat([]gguf.Key{architecture, {Name: "a.tokenizer.of", Value: "others"}, {Name: "n", Value: []int32{1}}}, want)}
	path := filepath.Join(t.TempDir(), "t.gguf")
	content := gguftest.Bytes(f)
	save := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save(content)
	if got, err := gguf.Tokenizer(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, n := range []int{0, 3, 20, 40, 3000} {
		save(content[:n])
		if _, err := gguf.Tokenizer(path); !errors.Is(err, cgo.ErrFile) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	// Version 3, no tensors, two keys: a text (type 8), and one with a name of 13 bytes and type
	// 10, a u64.
	save(slices.Concat([]byte("GGUF\x03\x00\x00\x00"), make([]byte, 8), []byte("\x02\x00\x00\x00\x00\x00\x00\x00"),
		[]byte("\x14\x00\x00\x00\x00\x00\x00\x00general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00llama"),
		[]byte("\x0d\x00\x00\x00\x00\x00\x00\x00tokenizer.odd\x0a\x00\x00\x00"), make([]byte, 64)))
	if _, err := gguf.Tokenizer(path); err == nil || !strings.Contains(err.Error(), "tokenizer.odd has a type that cannot be copied") {
		t.Errorf("a u64: %v", err)
	}
	save(gguftest.Bytes(&gguf.File{Keys: []gguf.Key{architecture}}))
	if _, err := gguf.Tokenizer(path); err == nil || !strings.Contains(err.Error(), "has no tokenizer") {
		t.Errorf("no tokenizer: %v", err)
	}
}

// By hand: "abthe" is "ab" and "the", the earlier merges; without "the", which is token 260, it is
// "abth" and "e", and without that too "ab", "th", "e". Every text still comes back.
func TestTokenizerFits(t *testing.T) {
	for vocab, want := range map[int][]int32{
		300: {259, 260}, 262: {259, 260}, 261: {259, 260}, 260: {259, 258, 2 + 'e'}, 259: {2 + 'a', 2 + 'b', 258, 2 + 'e'},
	} {
		m := small
		m.Vocab = vocab
		f, err := m.Random(gguf.F32, 1, bigVocabulary())
		if err != nil {
			t.Fatal(err)
		}
		file := open(t, gguftest.Bytes(f))
		tokens, err := file.Tokenize("abthe", false)
		if err != nil || !slices.Equal(tokens, want) {
			t.Errorf("of %d tokens: %v, %v; want %v", vocab, tokens, err, want)
		}
		if text, err := file.Detokenize(tokens, false); err != nil || text != "abthe" {
			t.Errorf("of %d tokens: text %q, %v", vocab, text, err)
		}
	}
	m := small
	m.Vocab = gguftest.ImEnd // one too small
	if _, err := m.Random(gguf.F32, 1, gguftest.Tokenizer()); err == nil || !strings.Contains(err.Error(), "eos_token_id, which is 258") {
		t.Errorf("no place for the end of a reply: %v", err)
	}
}

// The tokenizer that a real model would bring, cut to the 32,000 tokens of LLaMA: the rest of its
// vocabulary takes the place of what is missing.
func TestTokenizerOfSmolLM2(t *testing.T) {
	path := os.Getenv("RECINT_MODEL")
	if path == "" {
		t.Skip("set RECINT_MODEL=FILE, SmolLM2-135M-Instruct.Q4_1.gguf")
	}
	keys, err := gguf.Tokenizer(path)
	if err != nil {
		t.Fatal(err)
	}
	m := small
	m.Vocab = 32000
	f, err := m.Random(gguf.BF16, 1, keys)
	if err != nil {
		t.Fatal(err)
	}
	file := open(t, gguftest.Bytes(f))
	const text = "The films that somebody saw: Il Postino, Il castello errante di Howl, 千と千尋の神隠し"
	tokens, err := file.Tokenize(text, false)
	if err != nil || len(tokens) > 50 {
		t.Errorf("%d tokens, %v", len(tokens), err)
	}
	if back, err := file.Detokenize(tokens, false); err != nil || back != text {
		t.Errorf("back comes %q, %v", back, err)
	}
	if chat, err := file.Chat("hello"); err != nil || !strings.HasSuffix(chat, "<|im_start|>assistant\n") {
		t.Errorf("chat %q, %v", chat, err)
	}
}
