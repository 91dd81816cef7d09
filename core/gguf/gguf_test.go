package gguf_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/gguf"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
)

func write(t *testing.T, content []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "tiny.gguf")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, content []byte) *cgo.GGUF {
	t.Helper()
	path := write(t, content)
	file, err := cgo.OpenGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// small is a shape with an output matrix of its own, in which no two sizes are the same.
var small = gguf.LLM{Architecture: "llama", Name: "small", Layers: 3, Embd: 32, Heads: 4, HeadsKV: 2, HeadDim: 10, FF: 48, Vocab: 300, Context: 64,
	RopeBase: 5000, RMSEps: 1e-6}

func random(t *testing.T, m gguf.LLM, kind gguf.Type, seed uint64) *gguf.File {
	t.Helper()
	f, err := m.Random(kind, seed, gguftest.Tokenizer())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The description is what was asked for, read back by the native core, and so is the shape taken
// from it.
func TestDescription(t *testing.T) {
	for kind, size := range map[gguf.Type]int64{gguf.F32: 4, gguf.F16: 2, gguf.BF16: 2} {
		f := random(t, small, kind, 1)
		content := gguftest.Bytes(f)
		info, err := open(t, content).Describe()
		if err != nil {
			t.Fatal(err)
		}
		// two tables of 300×32, in each layer q and o of 40×32, k and v of 20×32, three of 48×32
		const matrices, norms = 2*300*32 + 3*(2*40*32+2*20*32+3*48*32), 32 * 7
		want := cgo.GGUFInfo{
			Architecture: "llama", Name: "small", FileType: kind.String(), Layers: 3, Embd: 32, Heads: 4, HeadsKV: 2, FF: 48, Vocab: 300,
			Context: 64, ContextNamed: 64, HeadDim: 10, Tokenizer: true, ChatTemplate: true, BOS: -1, EOS: gguftest.ImEnd, EOT: info.EOT,
			RopeBase: 5000, RMSEps: 1e-6, Parameters: matrices + norms, Bytes: int64(len(content)), EmbdRMS: info.EmbdRMS,
		}
		if info != want || f.Weights() != info.Parameters {
			t.Errorf("got  %+v\nwant %+v", info, want)
		}
		if n, err := f.Size(); err != nil || n != int64(len(content)) || n < matrices*size+norms*4 || n > matrices*size+norms*4+10000 {
			t.Errorf("%s: a size of %d, %v; %d bytes were written", kind, n, err, len(content))
		}
		if math.Abs(float64(info.EmbdRMS)-0.02) > 0.0005 { // 9600 numbers: 1/√19200 of it
			t.Errorf("%s: the embeddings' root mean square is %g, want about %g", kind, info.EmbdRMS, 0.02)
		}
		if like, err := gguf.Like(open(t, content)); err != nil || !reflect.DeepEqual(like, small) {
			t.Errorf("the shape of %+v is %+v, %v", info, like, err)
		}
	}
	other := small
	other.Architecture = "mamba"
	if _, err := other.Random(gguf.F32, 1, nil); err == nil || !strings.Contains(err.Error(), "architecture mamba") {
		t.Errorf("a model of an architecture that is not described: %v", err)
	}
}

// Numbers of weights as the models' publishers give them, who say 3.4 billion of Granite 4 and
// Ministral 3.
func TestKnown(t *testing.T) {
	for i, want := range []int64{6738415616, 6738415616, 1100048384, 134515008, 494032768, 596049920, 268098176,
		3075098624, 2533531648, 3402836480, 3429006336, 3821079552} {
		if n := random(t, gguf.Known[i], gguf.BF16, 1).Weights(); n != want {
			t.Errorf("%s has %d weights, want %d", gguf.Known[i].Name, n, want)
		}
	}
}

// A seed gives the same bytes however many processors make them, also where a tensor is longer than
// a stretch; every seed, tensor and stretch has numbers of its own.
func TestReproducible(t *testing.T) {
	long := small
	long.FF = gguf.Stretch/small.Embd + 2
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := gguftest.Bytes(random(t, long, gguf.F16, 1))
	runtime.GOMAXPROCS(3)
	if !bytes.Equal(one, gguftest.Bytes(random(t, long, gguf.F16, 1))) {
		t.Error("three processors write another file than one")
	}
	if bytes.Equal(one, gguftest.Bytes(random(t, long, gguf.F16, 2))) {
		t.Error("another seed writes the same file")
	}
	f := random(t, long, gguf.F32, 1)
	seen := map[float32]string{}
	for _, tensor := range f.Tensors {
		if len(tensor.Shape) == 1 {
			continue
		}
		for first := 0; first < tensor.Shape[0]*tensor.Shape[1]; first += gguf.Stretch {
			v := make([]float32, 1)
			if tensor.Fill(v, first); seen[v[0]] != "" {
				t.Errorf("%s begins like %s", tensor.Name, seen[v[0]])
			}
			seen[v[0]] = tensor.Name
		}
	}
}

// Each finite binary16, its middle to the next, and the values next to it, by IEEE 754's rule: to
// the nearest, ties to the even one. The native core widens what was written.
func TestRounding(t *testing.T) {
	value := func(half uint16) float64 { // of a binary16 that is not negative
		e, m := int(half>>10), float64(half&0x3ff)
		if e == 0 {
			return m * 0x1p-24
		}
		return (1 + m/1024) * math.Ldexp(1, e-15)
	}
	var in, want []float32
	add := func(x, rounded float64) {
		in, want = append(in, float32(x), float32(-x)), append(want, float32(rounded), float32(-rounded))
	}
	for h := uint16(0); h < 0x7bff; h++ {
		low, high := value(h), value(h+1)
		middle := float32((low + high) / 2)
		add(low, low)
		add(float64(math.Nextafter32(middle, 0)), low)
		add(float64(math.Nextafter32(middle, 1e9)), high)
		add(float64(middle), []float64{low, high}[h&1])
	}
	add(70000, math.Inf(1))
	add(float64(math.Nextafter32(65520, 0)), 65504)
	compareRounding(t, gguf.F16, in, want)

	compareRounding(t, gguf.BF16, // 2^-7 is the distance of bfloat16's numbers from 1 to 2
		[]float32{1, 1 + 0x1p-8, 1 + 0x1p-8 + 0x1p-20, 1 + 3*0x1p-8, -1 - 3*0x1p-8, 0x1p-130},
		[]float32{1, 1, 1 + 0x1p-7, 1 + 2*0x1p-7, -1 - 2*0x1p-7, 0x1p-130})
}

func compareRounding(t *testing.T, kind gguf.Type, in, want []float32) {
	t.Helper()
	m := small
	m.Vocab = gguftest.Vocab + (len(in)+m.Embd-1)/m.Embd
	f := random(t, m, kind, 1)
	f.Tensors[0].Fill = func(dst []float32, first int) { copy(dst, in[min(first, len(in)):]) }
	file := open(t, gguftest.Bytes(f))
	tokens := make([]int32, len(in)/m.Embd+1)
	for i := range tokens {
		tokens[i] = int32(i)
	}
	got := make([]float32, len(tokens)*m.Embd)
	if err := file.Embed(got, tokens); err != nil {
		t.Fatal(err)
	}
	for i := range in {
		if got[i] != want[i] {
			t.Fatalf("%s: %g (number %d) became %g, want %g", kind, in[i], i, got[i], want[i])
		}
	}
}

// A file that is cut anywhere is refused, and an impossible size or key before anything is written.
func TestTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	content := gguftest.LLM(1)
	for _, n := range []int{0, 3, 8, 24, 100, 2000, len(content) / 2, len(content) - 33} {
		if err := os.WriteFile(path, content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := cgo.OpenGGUF(path); !errors.Is(err, cgo.ErrFile) {
			t.Errorf("cut to %d of %d bytes: %v, want ErrFile", n, len(content), err)
		}
	}
	if _, err := (gguf.LLM{}).Random(gguf.F32, 1, nil); err == nil {
		t.Error("a model of no size was made")
	}
	tensor := gguf.Tensor{Name: "t", Shape: []int{2}, Fill: func([]float32, int) {}}
	for says, bad := range map[string]gguf.File{
		"key k: a value of type int": {Keys: []gguf.Key{{Name: "k", Value: 1}}},
		"general.alignment":          {Keys: []gguf.Key{{Name: "general.alignment", Value: uint32(64)}}},
		"NUL byte":                   {Keys: []gguf.Key{{Name: "k", Value: []string{"a", "b\x00c"}}}},
		"two tensors t":              {Tensors: []gguf.Tensor{tensor, tensor}},
		"has a dimension of 0":       {Tensors: []gguf.Tensor{{Name: "t", Shape: []int{2, 0}}}},
		"has 5 dimensions":           {Tensors: []gguf.Tensor{{Name: "t", Shape: []int{1, 1, 1, 1, 1}}}},
		"at most 63 bytes":           {Tensors: []gguf.Tensor{{Name: strings.Repeat("t", 64), Shape: []int{1}}}},
	} {
		if err := bad.Write(new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.gguf")
	var last, whole int64
	progress := func(done, total int64) {
		if done < last {
			t.Errorf("progress goes back from %d to %d", last, done)
		}
		last, whole = done, total
	}
	f := random(t, small, gguf.BF16, 1)
	if err := f.Save(t.Context(), path, progress); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, gguftest.Bytes(f)) || last != int64(len(got)) || whole != last {
		t.Errorf("%d bytes, progress %d of %d, %v", len(got), last, whole, err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := f.Save(stopped, filepath.Join(dir, "b.gguf"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	huge := small
	huge.FF, huge.Layers = 1<<30, 3<<10 // 2^40 × 32 × 3 × 3 numbers; nothing of them is written, even if they are not refused
	if err := random(t, huge, gguf.BF16, 1).Save(stopped, filepath.Join(dir, "c.gguf"), nil); err == nil ||
		!strings.Contains(err.Error(), "c.gguf would take 63") || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("larger than the disk: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// By hand: "the" is the merged "th" and "e"; every other byte stands for itself.
func TestTokens(t *testing.T) {
	file := open(t, gguftest.LLM(1))
	tokens, err := file.Tokenize("the é", false)
	if want := []int32{gguftest.Merged, 'e', ' ', 0xC3, 0xA9}; err != nil || !slices.Equal(tokens, want) {
		t.Errorf("tokens %v, %v; want %v", tokens, err, want)
	}
	text, err := file.Detokenize(tokens, false)
	if err != nil || text != "the é" {
		t.Errorf("text %q, %v", text, err)
	}
	tokens, err = file.Tokenize("<|im_start|>a<|im_end|>", true)
	if want := []int32{gguftest.ImStart, 'a', gguftest.ImEnd}; err != nil || !slices.Equal(tokens, want) {
		t.Errorf("special tokens %v, %v; want %v", tokens, err, want)
	}
	text, err = file.Detokenize(tokens, true)
	if err != nil || text != "<|im_start|>a<|im_end|>" {
		t.Errorf("special text %q, %v", text, err)
	}
	if !file.IsEnd(gguftest.ImEnd) || file.IsEnd('a') || file.IsEnd(-1) || file.IsEnd(1<<30) {
		t.Error("only <|im_end|> ends a generation")
	}
	chat, err := file.Chat("hello")
	if want := "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"; err != nil || chat != want {
		t.Errorf("chat %q, %v; want %q", chat, err, want)
	}
}
