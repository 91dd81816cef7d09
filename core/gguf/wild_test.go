package gguf_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/gguf"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

// without gives keys but for some.
func without(keys []gguf.Key, names ...string) []gguf.Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k gguf.Key) bool { return slices.Contains(names, k.Name) })
}

// A prompt begins with a BOS only where the file names one and does not say that none is added.
func TestBOS(t *testing.T) {
	const id, add = "tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token"
	for name, c := range map[string]struct {
		keys []gguf.Key
		want int32
	}{
		"named":                {[]gguf.Key{{Name: id, Value: uint32(gguftest.ImStart)}}, gguftest.ImStart},
		"named and added":      {[]gguf.Key{{Name: id, Value: uint32(gguftest.ImStart)}, {Name: add, Value: true}}, gguftest.ImStart},
		"named, but not added": {[]gguf.Key{{Name: id, Value: uint32(gguftest.ImStart)}, {Name: add, Value: false}}, -1},
		"none, but to add":     {[]gguf.Key{{Name: add, Value: true}}, -1},
		"none":                 {nil, -1},
	} {
		f := random(t, small, gguf.F32, 1)
		f.Keys = append(without(f.Keys, id, add), c.keys...)
		info, err := open(t, gguftest.Bytes(f)).Describe()
		if err != nil || info.BOS != c.want {
			t.Errorf("%s: %d, %v; want %d", name, info.BOS, err, c.want)
		}
	}
}

// What training would refuse is known as soon as the file is open.
func TestCheckTraining(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(f *gguf.File)
		says string
	}{
		"plain": {func(*gguf.File) {}, ""},
		"YaRN":  {func(f *gguf.File) { f.Keys = append(f.Keys, gguf.Key{Name: "llama.rope.scaling.type", Value: "yarn"}) }, "yarn"},
		"LongRoPE": {func(f *gguf.File) {
			f.Keys = append(f.Keys, gguf.Key{Name: "llama.rope.scaling.type", Value: "longrope"})
		}, "longrope"},
		"mixture of experts": {func(f *gguf.File) { f.Keys = append(f.Keys, gguf.Key{Name: "llama.expert_count", Value: uint32(8)}) },
			"a mixture of experts"},
		"sliding window": {func(f *gguf.File) {
			f.Keys = append(f.Keys, gguf.Key{Name: "llama.attention.sliding_window", Value: uint32(8)})
		}, "sliding_window"},
		"attention bias": {func(f *gguf.File) {
			f.Tensors = append(f.Tensors, gguf.Tensor{Name: "blk.0.attn_q.bias", Shape: []int{40}, Fill: func([]float32, int) {}})
		}, "attn_q.bias"},
		"architecture": {func(f *gguf.File) {
			for i, k := range f.Keys {
				if k.Name == "general.architecture" {
					f.Keys[i].Value = "mamba"
				}
			}
		}, "mamba"},
	} {
		f := random(t, small, gguf.F32, 1)
		c.edit(f)
		err := open(t, gguftest.Bytes(f)).CheckTraining()
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

func TestOddTemplate(t *testing.T) {
	const key = "tokenizer.chat_template"
	for value, want := range map[string][2]bool{"": {false, false}, "{{ raise_exception('mine') }}": {false, true}} {
		f := random(t, small, gguf.F32, 1)
		if f.Keys = without(f.Keys, key); value != "" {
			f.Keys = append(f.Keys, gguf.Key{Name: key, Value: value})
		}
		info, err := open(t, gguftest.Bytes(f)).Describe()
		if err != nil || info.ChatTemplate != want[0] || info.OddTemplate != want[1] {
			t.Errorf("%q: %+v, %v", value, info, err)
		}
	}
}

// A template that llama.cpp's library does not know by sight goes through its Jinja engine: with
// the special tokens' texts, without reasoning, and its end of an answer is the file's.
func TestTemplate_engine(t *testing.T) {
	f := random(t, small, gguf.F32, 1)
	const key = "tokenizer.chat_template"
	f.Keys = append(without(f.Keys, key), gguf.Key{Name: key, Value: "{{ bos_token }}" +
		"{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{% if m.role == 'user' %} {% else %}<|im_start|>{% endif %}{% endfor %}" +
		"{% if add_generation_prompt %}[assistant] {% if enable_thinking %}<think>{% endif %}{% endif %}"})
	f.Keys = append(without(f.Keys, "tokenizer.ggml.eos_token_id"), gguf.Key{Name: "tokenizer.ggml.eos_token_id", Value: uint32(gguftest.ImStart)})
	file := open(t, gguftest.Bytes(f))
	if chat, err := file.Chat(" hello "); err != nil || chat != "<|im_start|>[user] hello [assistant] " {
		t.Errorf("chat %q, %v", chat, err)
	}
	if info, err := file.Describe(); err != nil || !info.ChatTemplate || info.OddTemplate || info.EOT != gguftest.ImStart {
		t.Errorf("%+v, %v", info, err)
	}
}

// split writes a file in parts as llama-gguf-split does, and gives their paths.
func split(t *testing.T, f *gguf.File, n int) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		part := &gguf.File{Tensors: f.Tensors[i*len(f.Tensors)/n : (i+1)*len(f.Tensors)/n]}
		if i == 0 {
			part.Keys = slices.Clone(f.Keys)
		} else {
			part.Keys = []gguf.Key{{Name: "general.architecture", Value: "llama"}}
		}
		part.Keys = append(part.Keys, gguf.Key{Name: "split.no", Value: uint16(i)}, gguf.Key{Name: "split.count", Value: uint16(n)},
			gguf.Key{Name: "split.tensors.count", Value: int32(len(f.Tensors))})
		path := filepath.Join(dir, fmt.Sprintf("m-%05d-of-%05d.gguf", i+1, n))
		if err := os.WriteFile(path, gguftest.Bytes(part), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// A file in parts is the file, whichever part is named.
func TestSplit(t *testing.T) {
	f := random(t, small, gguf.F32, 1)
	whole := open(t, gguftest.Bytes(f))
	want, err := whole.Describe()
	if err != nil {
		t.Fatal(err)
	}
	paths := split(t, f, 3)
	first, err := artifact.HashFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	row := func(g *cgo.GGUF) []float32 {
		values := make([]float32, 2*small.Embd)
		if err := g.Embed(values, []int32{3, 7}); err != nil {
			t.Fatal(err)
		}
		return values
	}
	for _, path := range paths {
		g, err := cgo.OpenGGUF(path)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		info, err := g.Describe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Tokenize("a", false); err != nil {
			t.Error(err)
		}
		info.Bytes = want.Bytes
		if info != want || !slices.Equal(row(g), row(whole)) {
			t.Errorf("%s: %+v, want %+v", path, info, want)
		}
		if err := g.CheckTraining(); err != nil {
			t.Error(err)
		}
		engine := testllm.Engine(t)
		llama, err := cgo.NewLLM(engine, g, cgo.F32)
		if err != nil {
			t.Fatal(err)
		}
		llama.Close()
		generator, err := cgo.NewGenerator(engine, g, cgo.GeneratorParams{Slots: 1, Context: 8})
		if err != nil {
			t.Fatal(err)
		}
		generator.Close()
		if hash, err := artifact.HashFile(path); err != nil || hash != first {
			t.Errorf("%s has the hash %s, the first part %s; %v", path, hash, first, err)
		}
	}
	if err := os.Remove(paths[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := cgo.OpenGGUF(paths[0]); !errors.Is(err, cgo.ErrFile) || !strings.Contains(err.Error(), filepath.Base(paths[1])) {
		t.Errorf("without the second part: %v", err)
	}
	other := filepath.Join(t.TempDir(), "renamed.gguf")
	if err := os.Rename(paths[0], other); err != nil {
		t.Fatal(err)
	}
	if _, err := cgo.OpenGGUF(other); !errors.Is(err, cgo.ErrFile) || !strings.Contains(err.Error(), "-00001-of-00003.gguf") {
		t.Errorf("a part under another name: %v", err)
	}
}
