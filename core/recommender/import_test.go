package recommender

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// cases are small models of other projects, with what their own code computes
// (bench/peers/import_layouts.py).
var cases = map[string]ImportOptions{
	"recbole_sasrec": {}, "recbole_bert4rec": {}, "recbole_gru4rec": {}, "recbole_caser": {},
	"pmixer_sasrec":            {Heads: 2},
	"pmixer_sasrec_norm_first": {Heads: 2, Layout: models.PmixerNormFirst},
	"pmixer_sasrec_original":   {Heads: 2, Layout: models.PmixerOriginal},
}

func importCase(t *testing.T, name string, opts ImportOptions) *Recommender {
	t.Helper()
	r, err := Import(testllm.Engine(t), filepath.Join("testdata", "import", name+".safetensors"), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// expected gives a case's histories, states and scores.
func expected(t *testing.T, name string) (histories [][]int32, hidden, scores []float32) {
	t.Helper()
	file, err := artifact.ReadSafetensors(filepath.Join("testdata", "import", name+".expected.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	lengths, err := file.Int32("len")
	if err != nil {
		t.Fatal(err)
	}
	items, err := file.Int32("seq")
	if err != nil {
		t.Fatal(err)
	}
	positions := len(items) / len(lengths)
	for i, n := range lengths {
		histories = append(histories, items[i*positions:i*positions+int(n)])
	}
	if hidden, err = file.Float32("hidden"); err != nil {
		t.Fatal(err)
	}
	if scores, err = file.Float32("scores"); err != nil {
		t.Fatal(err)
	}
	return histories, hidden, scores
}

func compare(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i := range want {
		if d := math.Abs(float64(got[i] - want[i])); !(d <= tolerance) {
			t.Fatalf("%s[%d] = %g, want %g within %g", what, i, got[i], want[i], tolerance)
		}
	}
}

// States and scores are those of the projects' own code; saved and loaded they stay so.
func TestImport_vsOtherProjects(t *testing.T) {
	for name, opts := range cases {
		t.Run(name, func(t *testing.T) {
			r := importCase(t, name, opts)
			histories, hidden, want := expected(t, name)
			compare(t, "state", states(t, r, histories), hidden, 2e-5)
			compare(t, "score", scores(t, r, histories), want, 2e-4)
			back := savedAndLoaded(t, r)
			if !slices.Equal(states(t, r, histories), states(t, back, histories)) {
				t.Error("the loaded weights give other states")
			}
		})
	}
}

// What is exported is what was imported, but for the users of a Caser.
func TestExportGivesBackTheImport(t *testing.T) {
	for name, opts := range cases {
		r := importCase(t, name, opts)
		path := filepath.Join(t.TempDir(), "out.safetensors")
		if err := r.Export(path); err != nil {
			t.Fatal(err)
		}
		got, err := artifact.ReadSafetensors(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := artifact.ReadSafetensors(filepath.Join("testdata", "import", name+".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Tensors) != len(want.Tensors) {
			t.Errorf("%s: %d tensors, want %d", name, len(got.Tensors), len(want.Tensors))
		}
		for _, w := range want.Tensors {
			g, err := got.Find(w.Name)
			if err != nil {
				t.Fatal(err)
			}
			if w.Name == "user_embedding.weight" {
				again := importCase(t, name, opts)
				if !slices.Equal(g.F32[r.Config().Width:], values(t, again)[slices.IndexFunc(values(t, again),
					func(t artifact.Tensor) bool { return t.Name == w.Name })].F32) || g.Shape[0] != 2 {
					t.Errorf("%s: users %v", name, g)
				}
				continue
			}
			if !slices.Equal(g.Shape, w.Shape) || !slices.Equal(g.F32, w.F32) {
				t.Errorf("%s: tensor %s of shape %v differs from the original's %v", name, w.Name, g.Shape, w.Shape)
			}
		}
	}
}

// The authors' own file comes back as well, its convolutions as such.
func TestExport_authorsShapes(t *testing.T) {
	r := newRecommender(t, small())
	path := filepath.Join(t.TempDir(), "out.safetensors")
	if err := r.Export(path); err != nil {
		t.Fatal(err)
	}
	file, err := artifact.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Float32("feed_forward.w_1.weight", 16, 16, 1); err != nil {
		t.Error(err)
	}
	back, err := Import(testllm.Engine(t), path, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	histories := Histories(rule(5, 1))
	compare(t, "state", states(t, back, histories), states(t, r, histories), 0)
}

// With places items are taken in another order, and some are left out.
func TestImport_places(t *testing.T) {
	for _, name := range []string{"recbole_gru4rec", "pmixer_sasrec"} {
		opts := cases[name]
		whole := importCase(t, name, opts)
		opts.Places = []int{9, 2, 15}
		part := importCase(t, name, opts)
		compare(t, name+": state", states(t, part, [][]int32{{0, 2, 1}}), states(t, whole, [][]int32{{9, 15, 2}}), 0)
		all := scores(t, whole, [][]int32{{9}})
		compare(t, name+": score", scores(t, part, [][]int32{{0}}), []float32{all[9], all[2], all[15]}, 1e-6)
	}
	r := newRecommender(t, smallOf(t, models.GRU4Rec)) // which has an output layer of its own
	path := filepath.Join(t.TempDir(), "out.safetensors")
	if err := r.Export(path); err != nil {
		t.Fatal(err)
	}
	part, err := Import(testllm.Engine(t), path, ImportOptions{Places: []int{5, 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	all := scores(t, r, [][]int32{{1, 5}})
	compare(t, "score", scores(t, part, [][]int32{{1, 0}}), []float32{all[5], all[1]}, 1e-6)
}

func TestImportRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sasrec := filepath.Join("testdata", "import", "recbole_sasrec.safetensors")
	gru := filepath.Join("testdata", "import", "recbole_gru4rec.safetensors")
	for name, c := range map[string]struct {
		path string
		opts ImportOptions
		says string
	}{
		"zip of PyTorch": {write("a.pt", "PK\x03\x04 and more"), ImportOptions{}, "weights_only=True"},
		"pickle":         {write("a.bin", "\x80\x02}q\x00."), ImportOptions{}, "save_file"},
		"other layout":   {sasrec, ImportOptions{Layout: models.Pmixer}, `"recbole", not "pmixer"`},
		"no layout":      {sasrec, ImportOptions{Layout: "mine"}, "mine"},
		"odd heads":      {sasrec, ImportOptions{Heads: 3}, "heads is 3"},
		"heads of a GRU": {gru, ImportOptions{Heads: 2}, "no attention heads"},
		"place":          {gru, ImportOptions{Places: []int{1, 20}}, "items 0 to 19"},
		"inputs":         {filepath.Join("testdata", "import", "recbole_sasrec.expected.safetensors"), ImportOptions{}, "not those of a model"},
	} {
		if _, err := Import(testllm.Engine(t), c.path, c.opts); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if _, err := Load(testllm.Engine(t), sasrec); err == nil || !strings.Contains(err.Error(), "import") {
		t.Errorf("loaded without an import: %v", err)
	}
}
