package conformance

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// layoutCase is a weight file of another project with what its model computes: written by
// bench/peers/import_layouts.py and held there against the project's own classes.
type layoutCase struct {
	name  string
	table string // the items'
	fixed string // a row of this tensor stands for padding, which no gradient reaches; "": of none but the table
	build func(engine *cgo.Engine, number func(key string) int) (*cgo.Recommender, error)
}

func recboleSASRec(engine *cgo.Engine, number func(string) int) (*cgo.Recommender, error) {
	return newSASRec(engine, sasRecParams{
		Layout: "recbole", Items: number("item_num"), Width: number("hidden_size"), Positions: number("max_seq_length"),
		Blocks: number("n_layers"), Heads: number("n_heads"), Inner: number("inner_size"),
	})
}

func recboleBERT4Rec(engine *cgo.Engine, number func(string) int) (*cgo.Recommender, error) {
	params := sasRecParams{
		Items: number("item_num"), Width: number("hidden_size"), Positions: number("max_seq_length") - 1, // one is the mask's
		Blocks: number("n_layers"), Heads: number("n_heads"), Inner: number("inner_size"),
	}
	return cgo.NewRecommender(engine, cgo.RecommenderParams{Model: "bert4rec", Settings: params.settings()})
}

func recboleGRU4Rec(engine *cgo.Engine, number func(string) int) (*cgo.Recommender, error) {
	return newGRU4Rec(engine, gru4RecParams{
		Layout: "recbole", Items: number("item_num"), Width: number("embedding_size"), Positions: number("max_seq_length"),
		Hidden: number("hidden_size"), Layers: number("num_layers"),
	})
}

func recboleCaser(engine *cgo.Engine, number func(string) int) (*cgo.Recommender, error) {
	return newCaser(engine, caserParams{
		Layout: "recbole", Items: number("item_num"), Width: number("embedding_size"), Positions: number("max_seq_length"),
		Horizontal: number("nh"), Vertical: number("nv"),
	})
}

func pmixerSASRec(layout string) func(*cgo.Engine, func(string) int) (*cgo.Recommender, error) {
	return func(engine *cgo.Engine, number func(string) int) (*cgo.Recommender, error) {
		return newSASRec(engine, sasRecParams{
			Layout: layout, Items: number("item_num"), Width: number("hidden_units"), Positions: number("maxlen"),
			Blocks: number("num_blocks"), Heads: number("num_heads"), Inner: number("hidden_units"),
		})
	}
}

var layoutCases = []layoutCase{
	{"recbole_sasrec", "item_embedding.weight", "", recboleSASRec},
	{"recbole_bert4rec", "item_embedding.weight", "", recboleBERT4Rec},
	{"recbole_gru4rec", "item_embedding.weight", "", recboleGRU4Rec},
	{"recbole_caser", "item_embedding.weight", "", recboleCaser},
	{"pmixer_sasrec", "item_emb.weight", "pos_emb.weight", pmixerSASRec("pmixer")},
	{"pmixer_sasrec_norm_first", "item_emb.weight", "pos_emb.weight", pmixerSASRec("pmixer-norm-first")},
	{"pmixer_sasrec_original", "item_emb.weight", "", pmixerSASRec("pmixer-original")},
}

// read gives a file of the case.
func (c layoutCase) read(t *testing.T, suffix string) *artifact.File {
	t.Helper()
	f, err := artifact.ReadSafetensors(filepath.Join("..", "..", "recommender", "testdata", "import", c.name+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// ours is a tensor in our form: padding's row, their first, follows the items in our table, padding
// has no bias of scores, and there is one user, the mean.
func (c layoutCase) ours(w artifact.Tensor, items int) artifact.Tensor {
	switch w.Name {
	case c.table:
		width := w.Shape[1]
		items := width * (1 + items)
		w.F32 = slices.Concat(w.F32[width:items], w.F32[:width], w.F32[items:]) // a mask's row stays the last
	case "output_bias":
		w.F32, w.Shape = w.F32[1:], []int{items}
	case "user_embedding.weight":
		users, width := w.Shape[0]-1, w.Shape[1]
		mean := make([]float32, width)
		for d := range mean {
			sum := 0.0
			for u := range users {
				sum += float64(w.F32[(1+u)*width+d])
			}
			mean[d] = float32(sum / float64(users))
		}
		w.F32, w.Shape = mean, []int{1, width}
	}
	if n := len(w.Shape); n == 3 && w.Shape[2] == 1 { // a convolution that is a matrix
		w.Shape = w.Shape[:2]
	}
	return w
}

// load makes the model of the file.
func (c layoutCase) load(t *testing.T, engine *cgo.Engine) *cgo.Recommender {
	t.Helper()
	weights := c.read(t, ".safetensors")
	model, err := c.build(engine, func(key string) int {
		n, err := strconv.Atoi(weights.Metadata[key])
		if err != nil {
			t.Fatalf("metadata %s: %v", key, err)
		}
		return n
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	infos, err := model.Tensors()
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != len(weights.Tensors) {
		t.Fatalf("the model has %d tensors, the file %d", len(infos), len(weights.Tensors))
	}
	for i, info := range infos {
		w, err := weights.Find(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		own := c.ours(*w, model.Info().Items)
		if !slices.Equal(own.Shape, info.Shape) {
			t.Fatalf("%s has shape %v, in the model %v", info.Name, own.Shape, info.Shape)
		}
		if err := model.Write(i, cgo.Value, own.F32); err != nil {
			t.Fatal(err)
		}
	}
	return model
}

// expected are histories with their states and scores.
func (c layoutCase) expected(t *testing.T) (h cgo.Histories, hidden, scores []float32) {
	t.Helper()
	f := c.read(t, ".expected.safetensors")
	var err [4]error
	h.Items, err[0] = f.Int32("seq")
	h.Lengths, err[1] = f.Int32("len")
	hidden, err[2] = f.Float32("hidden")
	scores, err[3] = f.Float32("scores")
	if err := errors.Join(err[:]...); err != nil {
		t.Fatal(err)
	}
	return h, hidden, scores
}

// within fails unless got is want but for an absolute error.
func within(t *testing.T, what string, got, want []float32, allowed float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, expected %d", what, len(got), len(want))
	}
	worst := 0.0
	for i := range got {
		if e := math.Abs(float64(got[i]) - float64(want[i])); !(e <= worst) { // NaN stays the worst
			worst = e
		}
	}
	if !(worst <= allowed) {
		t.Errorf("%s: largest error %.3g, allowed is %.3g", what, worst, allowed)
	}
}

func TestLayouts_vsProjects(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, engine *cgo.Engine) {
		for _, c := range layoutCases {
			t.Run(c.name, func(t *testing.T) {
				model := c.load(t, engine)
				info := model.Info()
				h, hidden, scores := c.expected(t)
				positions, width := info.Positions, info.StateWidth

				states := make([]float32, len(hidden))
				if err := model.States(states, h, false); err != nil {
					t.Fatal(err)
				}
				within(t, "states", states, hidden, 2e-5)
				scored := make([]float32, len(scores))
				if err := model.Scores(scored, h); err != nil {
					t.Fatal(err)
				}
				within(t, "scores", scored, scores, 2e-4)
				if err := model.ScoreStates(scored, hidden, len(h.Lengths)); err != nil {
					t.Fatal(err)
				}
				within(t, "scores of states", scored, scores, 2e-4)

				all := make([]float32, len(h.Lengths)*positions*width)
				if err := model.States(all, h, true); err != nil {
					t.Fatal(err)
				}
				for b, length := range h.Lengths {
					at := func(position int) []float32 { return all[(b*positions+position)*width:][:width] }
					within(t, fmt.Sprintf("the last state of history %d", b), at(int(length)-1), hidden[b*width:][:width], 2e-5)
					for position := range positions {
						want := make([]float32, width) // zero at padding
						if position < int(length) {
							cut := cgo.Histories{Lengths: []int32{int32(position + 1)}}
							cut.Items = slices.Clone(h.Items[b*positions:][:positions])
							for i := position + 1; i < positions; i++ {
								cut.Items[i] = int32(info.Items)
							}
							if err := model.States(want, cut, false); err != nil {
								t.Fatal(err)
							}
						}
						within(t, fmt.Sprintf("history %d, state %d", b, position), at(position), want, 2e-5)
					}
				}

				// An item's own embedding in its place is the item.
				vectors := cgo.Histories{Items: slices.Clone(h.Items), Lengths: h.Lengths}
				vectors.Vectors = readTensor(t, &model.Model, c.table, cgo.Value)[:info.Items*info.Width]
				for i, item := range vectors.Items {
					if int(item) < info.Items {
						vectors.Items[i] = -1 - item
					}
				}
				if err := model.States(states, vectors, false); err != nil {
					t.Fatal(err)
				}
				within(t, "states from vectors", states, hidden, 2e-5)
			})
		}
	})
}

// tensorIndex finds a tensor of a model.
func tensorIndex(t *testing.T, model *cgo.Model, name string) (index, size int) {
	t.Helper()
	infos, err := model.Tensors()
	if err != nil {
		t.Fatal(err)
	}
	index = slices.IndexFunc(infos, func(i cgo.TensorInfo) bool { return i.Name == name })
	if index < 0 {
		t.Fatalf("the model has no tensor %s", name)
	}
	return index, count(infos[index].Shape)
}

func readTensor(t *testing.T, model *cgo.Model, name string, slot cgo.Slot) []float32 {
	t.Helper()
	index, size := tensorIndex(t, model, name)
	values := make([]float32, size)
	if err := model.Read(values, index, slot); err != nil {
		t.Fatal(err)
	}
	return values
}

// slopeAlong is the slope of a loss along a direction of a tensor, of length 1, from losses a step
// to both sides.
func slopeAlong(t *testing.T, model *cgo.Model, index int, direction []float64, step float64, loss func() float64) float64 {
	t.Helper()
	values := make([]float32, len(direction))
	if err := model.Read(values, index, cgo.Value); err != nil {
		t.Fatal(err)
	}
	around := func(sign float64) float64 {
		moved := make([]float32, len(values))
		for j, v := range values {
			moved[j] = v + float32(sign*step*direction[j])
		}
		if err := model.Write(index, cgo.Value, moved); err != nil {
			t.Fatal(err)
		}
		return loss()
	}
	slope := (around(1) - around(-1)) / (2 * step)
	if err := model.Write(index, cgo.Value, values); err != nil {
		t.Fatal(err)
	}
	return slope
}

// direction is a random one of length 1, without the rows of padding, which are frozen.
func (c layoutCase) direction(tensor cgo.TensorInfo, info cgo.RecommenderInfo, seed uint64) []float64 {
	random := rand.New(rand.NewPCG(seed, uint64(tensor.Elements())))
	values, square := make([]float64, tensor.Elements()), 0.0
	for i := range values {
		values[i] = random.NormFloat64()
	}
	switch tensor.Name {
	case c.table:
		clear(values[info.Items*info.Width:][:info.Width])
	case c.fixed:
		clear(values[:info.Width])
	}
	for _, v := range values {
		square += v * v
	}
	for i := range values {
		values[i] /= math.Sqrt(square)
	}
	return values
}

// The gradient of each tensor is compared with the slope of the loss. The loss is a float32 around
// 4, exact to about 5e-7; 1% of the slope allows for its curvature. Where a step crosses the kink
// of a ReLU or a maximum, a shorter one does not.
func TestLayouts_gradients(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, engine *cgo.Engine) {
		for _, c := range layoutCases {
			for _, all := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, all targets %t", c.name, all), func(t *testing.T) {
					model := c.load(t, engine)
					info := model.Info()
					h, _, _ := c.expected(t)
					batch := cgo.RecommenderBatch{Histories: h, Targets: make([]int32, len(h.Items))}
					for i := range h.Items {
						position, length := i%info.Positions, int(h.Lengths[i/info.Positions])
						batch.Targets[i] = -1
						if position < length && (all || position == length-1) {
							batch.Targets[i] = int32(7 * i % info.Items)
						}
						if !all { // the other loss
							batch.Negatives = append(batch.Negatives, int32(5*i%info.Items), int32(3*i%info.Items))
						}
					}
					backward := func() float64 {
						t.Helper()
						loss, err := model.Backward(batch)
						if err != nil {
							t.Fatal(err)
						}
						return loss
					}
					loss := backward()
					infos, err := model.Tensors()
					if err != nil {
						t.Fatal(err)
					}
					gradients := map[string][]float32{}
					for _, i := range infos {
						gradients[i.Name] = readTensor(t, &model.Model, i.Name, cgo.Gradient)
					}
					for i, tensor := range infos {
						gradient, square := gradients[tensor.Name], 0.0
						for _, g := range gradient {
							square += float64(g) * float64(g)
						}
						norm := math.Sqrt(square)
						if norm == 0 {
							if !strings.HasSuffix(tensor.Name, "key.bias") { // which shifts all scores of a query alike
								t.Errorf("%s has no gradient", tensor.Name)
							}
							continue
						}
						along := make([]float64, len(gradient))
						for j, g := range gradient {
							along[j] = float64(g) / norm
						}
						// Along itself a gradient with parts missing would look whole; along other
						// directions it does not.
						for _, direction := range [][]float64{along, c.direction(tensor, info, 1), c.direction(tensor, info, 2)} {
							want := 0.0
							for j, g := range gradient {
								want += float64(g) * direction[j]
							}
							var slopes []float64
							agrees := false
							for _, step := range []float64{1e-3, 3e-4, 1e-4} {
								slope := slopeAlong(t, &model.Model, i, direction, step, backward)
								slopes = append(slopes, slope)
								if agrees = math.Abs(slope-want) <= 1e-2*norm+5e-7*max(1, loss/4)/step; agrees {
									break
								}
							}
							if !agrees {
								t.Errorf("%s: slope %g where the gradient, of norm %g, gives %g", tensor.Name, slopes, norm, want)
							}
						}
					}
					zero := func(name string, row []float32) {
						if slices.ContainsFunc(row, func(g float32) bool { return g != 0 }) {
							t.Errorf("%s: the row of padding has the gradient %v", name, row)
						}
					}
					zero(c.table, gradients[c.table][info.Items*info.Width:][:info.Width])
					if c.fixed != "" {
						zero(c.fixed, gradients[c.fixed][:info.Width])
					}
				})
			}
		}
	})
}

// Dropout draws from the seed, and from nothing else.
func TestLayouts_dropout(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, engine *cgo.Engine) {
		for _, c := range layoutCases {
			t.Run(c.name, func(t *testing.T) {
				model := c.load(t, engine)
				h, _, _ := c.expected(t)
				targets := make([]int32, len(h.Items))
				for i := range targets {
					targets[i] = min(h.Items[i], int32(model.Info().Items-1))
					if i%model.Info().Positions >= int(h.Lengths[i/model.Info().Positions]) {
						targets[i] = -1
					}
				}
				loss := func(dropout float32, seed uint64) float64 {
					loss, err := model.Backward(
						cgo.RecommenderBatch{Histories: h, Targets: targets, Dropout: dropout, Seed: seed})
					if err != nil {
						t.Fatal(err)
					}
					return loss
				}
				if a, b := loss(0.3, 1), loss(0.3, 1); a != b {
					t.Errorf("losses %g and %g for the same seed", a, b)
				}
				if a, b := loss(0.3, 1), loss(0.3, 2); a == b {
					t.Errorf("loss %g for two seeds", a)
				}
			})
		}
	})
}

func TestLayouts_refused(t *testing.T) {
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	sasrec := func(layout string, inner int) error {
		_, err := newSASRec(engine, sasRecParams{
			Layout: layout, Items: 9, Width: 8, Positions: 4, Blocks: 1, Heads: 1, Inner: inner,
		})
		return err
	}
	gru4rec := func(layout string) error {
		_, err := newGRU4Rec(engine, gru4RecParams{
			Layout: layout, Items: 9, Width: 8, Positions: 4, Hidden: 8, Layers: 1,
		})
		return err
	}
	caser := func(layout string, positions int, heights ...int) error {
		_, err := newCaser(engine, caserParams{
			Layout: layout, Items: 9, Width: 8, Positions: positions, Heights: heights, Horizontal: 1, Vertical: 1,
		})
		return err
	}
	for _, c := range []struct {
		err  error
		text string
	}{
		{sasrec("mine", 8), `sasrec has no layout "mine"; it has authors, recbole`},
		{sasrec("pmixer", 16), "inner is 16; it must be the width, 8"},
		{gru4rec("pmixer"), `gru4rec has no layout "pmixer"; it has authors, recbole`},
		{caser("pmixer-norm-first", 4), `caser has no layout "pmixer-norm-first"`},
		{caser("recbole", 4, 1, 2, 4), "heights is 1, 2, 4; it must be 1 to 4 in this layout"},
		{caser("recbole", 129), "positions is 129; it must be 1 to 128"},
		{caser("authors", 4), "it must be 1 to 16 heights"},
	} {
		if !errors.Is(c.err, cgo.ErrInvalid) || !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("got %v, expected an invalid argument: %s", c.err, c.text)
		}
	}
	if err := caser("recbole", 3, 1, 2, 3); err != nil {
		t.Errorf("the heights of RecBole's layout, written out: %v", err)
	}
}
