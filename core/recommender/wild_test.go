package recommender

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

// edited writes a case's file with some of it changed, and gives its path.
func edited(t *testing.T, name string, edit func(f *artifact.File)) string {
	t.Helper()
	file, err := artifact.ReadSafetensors(filepath.Join("testdata", "import", name+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(file)
	}
	path := filepath.Join(t.TempDir(), "theirs.safetensors")
	if err := artifact.WriteSafetensors(path, file); err != nil {
		t.Fatal(err)
	}
	return path
}

// rewritten changes the header of a safetensors file, and the bytes of its data.
func rewritten(t *testing.T, path string, change func(header map[string]any, data []byte) []byte) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	length := int(raw[0]) | int(raw[1])<<8 | int(raw[2])<<16
	header := map[string]any{}
	if err := json.Unmarshal(raw[8:8+length], &header); err != nil {
		t.Fatal(err)
	}
	data := change(header, raw[8+length:])
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	out := append([]byte{byte(len(text)), byte(len(text) >> 8), byte(len(text) >> 16), 0, 0, 0, 0, 0}, text...)
	if err := os.WriteFile(path, append(out, data...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inDouble stores the weights as double() leaves them.
func inDouble(header map[string]any, data []byte) (wide []byte) {
	for i := 0; i+4 <= len(data); i += 4 {
		bits := uint32(data[i]) | uint32(data[i+1])<<8 | uint32(data[i+2])<<16 | uint32(data[i+3])<<24
		long := math.Float64bits(float64(math.Float32frombits(bits)))
		for shift := 0; shift < 64; shift += 8 {
			wide = append(wide, byte(long>>shift))
		}
	}
	for name, e := range header {
		if name == "__metadata__" {
			continue
		}
		entry := e.(map[string]any)
		offsets := entry["data_offsets"].([]any)
		entry["dtype"], entry["data_offsets"] = "F64", []any{2 * offsets[0].(float64), 2 * offsets[1].(float64)}
	}
	return wide
}

// A tensor that is neither a weight of the model nor a known buffer is refused by its name,
// whatever its type.
func TestImportRefusesUnknownWholeNumbers(t *testing.T) {
	path := rewritten(t, edited(t, "recbole_sasrec", nil), func(header map[string]any, data []byte) []byte {
		n := len(data)
		header["item_buckets"] = map[string]any{"dtype": "U8", "shape": []int{2}, "data_offsets": []int{n, n + 2}}
		return append(data, 1, 2)
	})
	_, err := Import(testllm.Engine(t), path, ImportOptions{})
	if err == nil || !strings.Contains(err.Error(), "no tensor \"item_buckets\"") {
		t.Errorf("error %v", err)
	}
}

// withBuffers adds buffers of types that hold no weights.
func withBuffers(header map[string]any, data []byte) []byte {
	n := len(data)
	header["causal_mask"] = map[string]any{"dtype": "BOOL", "shape": []int{2, 2}, "data_offsets": []int{n, n + 4}}
	header["norm.num_batches_tracked"] = map[string]any{"dtype": "U8", "shape": []int{}, "data_offsets": []int{n + 4, n + 5}}
	return append(data, 1, 0, 1, 1, 7)
}

func renamed(prefix string) func(f *artifact.File) {
	return func(f *artifact.File) {
		for i := range f.Tensors {
			f.Tensors[i].Name = prefix + f.Tensors[i].Name
		}
	}
}

// sharded splits a file in two with an index.
func sharded(t *testing.T, path string) (index string) {
	t.Helper()
	file, err := artifact.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, where := t.TempDir(), map[string]string{}
	half := len(file.Tensors) / 2
	for i, part := range [][]artifact.Tensor{file.Tensors[:half], file.Tensors[half:]} {
		name := fmt.Sprintf("model-%05d-of-00002.safetensors", i+1)
		if err := artifact.WriteSafetensors(filepath.Join(dir, name), &artifact.File{Tensors: part, Metadata: file.Metadata}); err != nil {
			t.Fatal(err)
		}
		for _, tensor := range part {
			where[tensor.Name] = name
		}
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]int{"total_size": 1}, "weight_map": where})
	if err != nil {
		t.Fatal(err)
	}
	index = filepath.Join(dir, "model.safetensors.index.json")
	if err := os.WriteFile(index, append([]byte("\ufeff"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	return index
}

// However a wrapper, another precision or several files have changed a checkpoint, it is imported
// as the plain one is.
func TestImport_asTheyExist(t *testing.T) {
	for what, path := range map[string]string{
		"double":       rewritten(t, edited(t, "recbole_sasrec", nil), inDouble),
		"buffers":      rewritten(t, edited(t, "recbole_sasrec", nil), withBuffers),
		"module.":      edited(t, "recbole_sasrec", renamed("module.")),
		"model.":       edited(t, "recbole_sasrec", renamed("model.")),
		"_orig_mod.":   edited(t, "recbole_sasrec", renamed("_orig_mod.")),
		"model.net.":   edited(t, "recbole_sasrec", renamed("model.net.")),
		"compiled":     edited(t, "recbole_sasrec", renamed("module._orig_mod.")),
		"in two files": sharded(t, edited(t, "recbole_sasrec", nil)),
	} {
		t.Run(what, func(t *testing.T) {
			var notes []string
			r, err := Import(testllm.Engine(t), path, ImportOptions{Note: func(text string) { notes = append(notes, text) }})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			histories, hidden, _ := expected(t, "recbole_sasrec")
			compare(t, "state", states(t, r, histories), hidden, 2e-5)
			if said := strings.Join(notes, "\n"); (what != "double" && what != "in two files") != (said != "") {
				t.Errorf("notes %q", said)
			}
		})
	}
}

// A file with tensors that the model lacks is of another model, and is refused by their names.
func TestImport_unknownTensors(t *testing.T) {
	extra := func(names ...string) func(f *artifact.File) {
		return func(f *artifact.File) {
			for _, name := range names {
				f.Tensors = append(f.Tensors, artifact.Tensor{Name: name, DType: "F32", Shape: []int{1}, F32: []float32{1}})
			}
		}
	}
	for name, c := range map[string]struct {
		path string
		says []string
	}{
		"another": {edited(t, "recbole_sasrec", extra("output_ffn.weight", "output_ffn.bias")),
			[]string{`"output_ffn.weight"`, `"output_ffn.bias"`, "another model"}},
		"bidirectional": {edited(t, "recbole_gru4rec", extra("gru_layers.weight_ih_l0_reverse")), []string{"weight_ih_l0_reverse"}},
		"position bias": {edited(t, "pmixer_sasrec", extra("attention_layers.0.position_bias")), []string{"position_bias"}},
		"out_proj":      {edited(t, "recbole_sasrec", extra("out_proj.weight")), []string{"out_proj.weight"}},
		"half a bias": {edited(t, "recbole_gru4rec", func(f *artifact.File) {
			f.Tensors = append(f.Tensors, artifact.Tensor{Name: "gru_layers.bias_ih_l0", DType: "F32", Shape: []int{36}, F32: make([]float32, 36)})
		}), []string{"bias_hh_l0"}},
		"beside a prefix": {edited(t, "recbole_sasrec", func(f *artifact.File) { renamed("model.")(f); extra("loss.weight")(f) }),
			[]string{`"loss.weight"`, `"model."`}},
	} {
		_, err := Import(testllm.Engine(t), c.path, ImportOptions{})
		for _, says := range c.says {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want %q", name, err, says)
			}
		}
	}
}

// A shard alone, an index with a file missing and one that names files elsewhere are refused.
func TestImport_shards(t *testing.T) {
	index := sharded(t, edited(t, "recbole_sasrec", nil))
	first := filepath.Join(filepath.Dir(index), "model-00001-of-00002.safetensors")
	if _, err := Import(testllm.Engine(t), first, ImportOptions{}); err == nil || !strings.Contains(err.Error(), "index") {
		t.Errorf("a shard alone: %v", err)
	}
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(testllm.Engine(t), index, ImportOptions{}); err == nil || !strings.Contains(err.Error(), "00001-of-00002") {
		t.Errorf("without the first file: %v", err)
	}
	if err := os.WriteFile(index, []byte(`{"weight_map": {"a": "../a.safetensors"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(testllm.Engine(t), index, ImportOptions{}); err == nil || !strings.Contains(err.Error(), "outside") {
		t.Errorf("a file elsewhere: %v", err)
	}
}

// A GRU with biases, against its formulas (PyTorch's torch.nn.GRU) in float64.
func TestImport_gruWithBiases(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	w := map[string][]float32{}
	path := edited(t, "recbole_gru4rec", func(f *artifact.File) {
		hidden, err := f.Find("gru_layers.weight_hh_l0")
		if err != nil {
			t.Fatal(err)
		}
		for layer := 0; ; layer++ {
			if _, err := f.Find(fmt.Sprintf("gru_layers.weight_hh_l%d", layer)); err != nil {
				break
			}
			for _, name := range []string{"bias_ih", "bias_hh"} {
				values := make([]float32, hidden.Shape[0])
				for i := range values {
					values[i] = float32(random.NormFloat64())
				}
				f.Tensors = append(f.Tensors, artifact.Tensor{Name: fmt.Sprintf("gru_layers.%s_l%d", name, layer), DType: "F32",
					Shape: []int{len(values)}, F32: values})
			}
		}
		for _, tensor := range f.Tensors {
			w[tensor.Name] = tensor.F32
		}
	})
	r, err := Import(testllm.Engine(t), path, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	product := func(matrix, bias []float32, x []float64) []float64 {
		y := make([]float64, len(matrix)/len(x))
		for i := range y {
			y[i] = float64(bias[i])
			for j, v := range x {
				y[i] += float64(matrix[i*len(x)+j]) * v
			}
		}
		return y
	}
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	width := r.Config().Width
	histories, _, _ := expected(t, "recbole_gru4rec")
	var want []float32
	for _, history := range histories {
		var inputs [][]float64
		for _, item := range history {
			x := make([]float64, width)
			for d := range x {
				x[d] = float64(w["item_embedding.weight"][(1+int(item))*width+d])
			}
			inputs = append(inputs, x)
		}
		for layer := range r.Config().Settings.Int("layers") {
			of := func(name string) []float32 { return w[fmt.Sprintf("gru_layers.%s_l%d", name, layer)] }
			h := make([]float64, r.Config().Settings.Int("hidden"))
			for i, x := range inputs {
				a, b := product(of("weight_ih"), of("bias_ih"), x), product(of("weight_hh"), of("bias_hh"), h)
				next := make([]float64, len(h))
				for u := range h {
					reset, update := sigmoid(a[u]+b[u]), sigmoid(a[len(h)+u]+b[len(h)+u])
					fresh := math.Tanh(a[2*len(h)+u] + reset*b[2*len(h)+u])
					next[u] = (1-update)*fresh + update*h[u]
				}
				h, inputs[i] = next, next
			}
		}
		for _, v := range product(w["dense.weight"], w["dense.bias"], inputs[len(inputs)-1]) {
			want = append(want, float32(v))
		}
	}
	compare(t, "state", states(t, r, histories), want, 2e-5)
	back := savedAndLoaded(t, r)
	if back.Config().Settings["biases"] != true || !slices.Equal(states(t, back, histories), states(t, r, histories)) {
		t.Error("the loaded weights have other states")
	}
}

// What --positions cuts off the table makes no difference to the model that the project itself
// would run with that --maxlen.
func TestImport_positions(t *testing.T) {
	whole := importCase(t, "pmixer_sasrec", cases["pmixer_sasrec"])
	positions := whole.Config().Positions
	longer := edited(t, "pmixer_sasrec", func(f *artifact.File) {
		table, err := f.Find("pos_emb.weight")
		if err != nil {
			t.Fatal(err)
		}
		for len(table.F32) < 201*table.Shape[1] {
			table.F32 = append(table.F32, 5)
		}
		table.Shape = []int{201, table.Shape[1]}
	})
	opts := cases["pmixer_sasrec"]
	opts.Positions = positions
	r, err := Import(testllm.Engine(t), longer, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	histories, hidden, _ := expected(t, "pmixer_sasrec")
	compare(t, "state", states(t, r, histories), hidden, 2e-5)

	var note string
	opts.Positions, opts.Note = 0, func(text string) { note = text }
	r, err = Import(testllm.Engine(t), longer, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Config().Positions != 200 || !strings.Contains(note, "the number of positions") {
		t.Errorf("%d positions, note %q", r.Config().Positions, note)
	}

	gru := edited(t, "recbole_gru4rec", nil)
	for asked, want := range map[int]int{0: 10, 3: 3, 120: 120} {
		r, err := Import(testllm.Engine(t), gru, ImportOptions{Positions: asked})
		if err != nil {
			t.Fatal(err)
		}
		if r.Config().Positions != want {
			t.Errorf("asked for %d positions: %d, want %d", asked, r.Config().Positions, want)
		}
		r.Close()
	}
	for name, c := range map[string]struct {
		path      string
		positions int
		says      string
	}{
		"more than the table": {longer, 201, "allows 1 to 200"},
		"negative":            {gru, -1, "positions is -1"},
		"Caser":               {edited(t, "recbole_caser", nil), 3, "span 5 items"},
	} {
		if _, err := Import(testllm.Engine(t), c.path, ImportOptions{Positions: c.positions}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// As many ids as the table has items, or the rows would shift.
func TestImport_rows(t *testing.T) {
	path := edited(t, "recbole_gru4rec", nil)
	for rows, says := range map[int]string{20: "", 21: "one too many; is the first one padding?", 19: "one too few", 7: "20 items"} {
		r, err := Import(testllm.Engine(t), path, ImportOptions{Places: []int{4, 5}, Rows: rows})
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%d rows: %v, want %q", rows, err, says)
		}
		if err == nil {
			r.Close()
		}
	}
}

// Checkpoints of RecBole hold objects, so that the lines which convert others would fail on them.
func TestImport_pickles(t *testing.T) {
	for content, says := range map[string]string{
		"PK\x03\x04 archive/data.pkl \x80\x02}q":                                                          "weights_only=True",
		"PK\x03\x04 archive/data.pkl \x80\x02}q\x00(X\x06configq\x01crecbole.config.configurator\nConfig": "weights_only=False",
	} {
		path := filepath.Join(t.TempDir(), "a.pth")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Import(testllm.Engine(t), path, ImportOptions{})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), `"state_dict"`) {
			t.Errorf("%q: %v, want %q", content, err, says)
		}
	}
}
