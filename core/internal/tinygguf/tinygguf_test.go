package tinygguf_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/tinygguf"
)

func open(t *testing.T, p tinygguf.Params) *cgo.GGUF {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := p.Write(path); err != nil {
		t.Fatal(err)
	}
	gguf, err := cgo.OpenGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gguf.Close() })
	return gguf
}

// The description is what was asked for, read back by the native core.
func TestDescription(t *testing.T) {
	p := tinygguf.Params{Layers: 3, Embd: 32, Heads: 4, HeadsKV: 1, FF: 48, Vocab: 300, Context: 64, Seed: 2}
	info, err := open(t, p).Describe()
	if err != nil {
		t.Fatal(err)
	}
	want := cgo.GGUFInfo{
		Architecture: "llama", Name: "tiny", FileType: "F32", Layers: 3, Embd: 32, Heads: 4, HeadsKV: 1, FF: 48, Vocab: 300,
		Context: 64, HeadDim: 8, Tokenizer: true, ChatTemplate: true, BOS: tinygguf.ImStart, EOS: tinygguf.ImEnd,
		RopeBase: tinygguf.RopeBase, RMSEps: tinygguf.RMSEps,
		// two tables of 300×32, in each layer q, o 32×32, k, v 8×32, three 48×32, two norms; the last norm
		Parameters: 2*300*32 + 3*(2*32*32+2*8*32+3*48*32+2*32) + 32,
		Bytes:      info.Bytes, EmbdRMS: info.EmbdRMS, EOT: info.EOT,
	}
	if info != want {
		t.Errorf("got  %+v\nwant %+v", info, want)
	}
	if scale := 1 / 5.657; info.EmbdRMS < 0.95*float32(scale) || info.EmbdRMS > 1.05*float32(scale) { // 1/√32
		t.Errorf("the embeddings' root mean square is %g, want about %g", info.EmbdRMS, scale)
	}
}

// By hand: "the" is the merged "th" and "e"; every other byte stands for itself.
func TestTokens(t *testing.T) {
	gguf := open(t, tinygguf.Default())
	tokens, err := gguf.Tokenize("the é", false)
	if want := []int32{tinygguf.Merged, 'e', ' ', 0xC3, 0xA9}; err != nil || !slices.Equal(tokens, want) {
		t.Errorf("tokens %v, %v; want %v", tokens, err, want)
	}
	text, err := gguf.Detokenize(tokens, false)
	if err != nil || text != "the é" {
		t.Errorf("text %q, %v", text, err)
	}
	tokens, err = gguf.Tokenize("<|im_start|>a<|im_end|>", true)
	if want := []int32{tinygguf.ImStart, 'a', tinygguf.ImEnd}; err != nil || !slices.Equal(tokens, want) {
		t.Errorf("special tokens %v, %v; want %v", tokens, err, want)
	}
	text, err = gguf.Detokenize(tokens, true)
	if err != nil || text != "<|im_start|>a<|im_end|>" {
		t.Errorf("special text %q, %v", text, err)
	}
	if !gguf.IsEnd(tinygguf.ImEnd) || gguf.IsEnd('a') || gguf.IsEnd(-1) || gguf.IsEnd(1<<30) {
		t.Error("only <|im_end|> ends a generation")
	}
	chat, err := gguf.Chat("hello")
	if want := "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"; err != nil || chat != want {
		t.Errorf("chat %q, %v; want %q", chat, err, want)
	}
}

// A file that is cut anywhere is refused, and an impossible size before anything is written.
func TestTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := tinygguf.Write(path); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 3, 8, 24, 100, 2000, len(content) / 2, len(content) - 33} {
		if err := os.WriteFile(path, content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := cgo.OpenGGUF(path); !errors.Is(err, cgo.ErrFile) {
			t.Errorf("cut to %d of %d bytes: %v, want ErrFile", n, len(content), err)
		}
	}
	if err := (tinygguf.Params{}).Write(path); err == nil {
		t.Error("a model of no size was written")
	}
}
