package run

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/dataset/datasettest"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

// parts are those of a new world, closed at the end of the test.
func parts(t *testing.T) *Parts {
	t.Helper()
	engine := testllm.Engine(t)
	p, err := openParts(engine, engine, newWorld(t).spec())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Of 211 sequences and a share of a half 211 more are made, which end in every one of 30 items
// seven times and in one an eighth.
func TestLessons(t *testing.T) {
	p := parts(t)
	train := p.Split.Train
	same := func(lessons []dataset.Sequence) bool {
		return slices.EqualFunc(lessons, train, func(a, b dataset.Sequence) bool {
			return slices.Equal(a.History, b.History) && a.Next == b.Next
		})
	}
	if lessons := p.lessons(0, 1); !same(lessons) {
		t.Errorf("%d lessons where none is drawn, want the training part", len(lessons))
	}
	lessons := p.lessons(0.5, 1)
	if len(lessons) != 422 || !same(lessons[:211]) {
		t.Fatalf("%d lessons, want the training part and as many", len(lessons))
	}
	times := map[int32]int{}
	for _, l := range lessons[211:] {
		times[l.Next]++
		if !slices.ContainsFunc(train, func(s dataset.Sequence) bool { return slices.Equal(s.History, l.History) }) {
			t.Fatalf("a drawn lesson has the history %v, which nobody has", l.History)
		}
	}
	eighth := 0
	for item, n := range times {
		if n == 8 {
			eighth++
		} else if n != 7 {
			t.Errorf("item %d is drawn %d times", item, n)
		}
	}
	if len(times) != 30 || eighth != 1 {
		t.Errorf("%d items are drawn, %d an eighth time; want 30 and 1", len(times), eighth)
	}
	if other := p.lessons(0.5, 2); slices.EqualFunc(lessons, other, func(a, b dataset.Sequence) bool { return a.Next == b.Next }) {
		t.Error("another seed draws the same")
	}
}

// Of a large part a sample is drawn by the seed, in the part's order; a small one stays as it is.
func TestThin(t *testing.T) {
	all := make([]dataset.Sequence, 1000)
	for i := range all {
		all[i].Time = int64(i)
	}
	if same := thin(all, 1000, 1); len(same) != 1000 || &same[0] != &all[0] {
		t.Errorf("%d of 1,000 sequences where all are wanted", len(same))
	}
	times := func(seed uint64) (times []int64) {
		for _, s := range thin(all, 100, seed) {
			times = append(times, s.Time)
		}
		return times
	}
	one := times(1)
	if len(one) != 100 || len(slices.Compact(slices.Clone(one))) != 100 || !slices.IsSorted(one) {
		t.Errorf("%d sequences at %v", len(one), one)
	}
	if !slices.Equal(one, times(1)) || slices.Equal(one, times(2)) {
		t.Error("the seed alone should decide")
	}
}

// A lookup is refused for a large catalogue; an mlp is not.
func TestPlan_largeCatalogue(t *testing.T) {
	w := newWorld(t)
	d := datasettest.Walks()
	for len(d.Items) <= dataset.LargeCatalogue {
		id := strconv.Itoa(len(d.Items))
		d.Items = append(d.Items, dataset.Item{ID: id, Title: "Film " + id, RawTitle: "Film " + id})
	}
	s := w.spec()
	s.Dataset = filepath.Join(t.TempDir(), "large")
	if err := d.Save(s.Dataset); err != nil {
		t.Fatal(err)
	}
	saveRecommender(t, s.Recommender, d, "", 1)
	for _, kind := range []adapter.Kind{"memory", "mlp"} {
		s.Adapter = kind
		_, err := Plan(testllm.Engine(t), s)
		if kind == "mlp" && err != nil || kind == "memory" && (err == nil || !strings.Contains(err.Error(), "choose mlp")) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// A vector with noise keeps its share along the item's own, and all angles up to the widest come
// about.
func TestNoisy(t *testing.T) {
	p := parts(t)
	histories := slices.Repeat([][]int32{{4, 9}}, 400)
	width := p.Recommender.ItemWidth()
	own, turned := make([]float32, len(histories)*width), make([]float32, len(histories)*width)
	if err := p.Recommender.Items(t.Context(), own, histories); err != nil {
		t.Fatal(err)
	}
	if err := (noisy{p.Recommender, rand.New(rand.NewPCG(1, 1))}).Items(t.Context(), turned, histories); err != nil {
		t.Fatal(err)
	}
	least, most := 1.0, 0.0
	for i := range histories {
		var dot, a, b float64
		for k := i * width; k < (i+1)*width; k++ {
			dot += float64(own[k]) * float64(turned[k])
			a += float64(own[k]) * float64(own[k])
			b += float64(turned[k]) * float64(turned[k])
		}
		if math.Abs(dot/a-1) > 1e-4 {
			t.Fatalf("vector %d goes %g times along the item's", i, dot/a)
		}
		cosine := dot / math.Sqrt(a*b)
		least, most = min(least, cosine), max(most, cosine)
	}
	if least < minCosine-1e-4 || least > minCosine+0.02 || most < 0.98 {
		t.Errorf("cosines from %g to %g, want %g to 1", least, most, minCosine)
	}
}

// A run of the item prompt is trained, evaluated and reads oracles like any other.
func TestItemPrompt(t *testing.T) {
	w := dreams(t)
	s := w.spec()
	s.Template, s.Drawn = promptOf(t, "item"), 0.5
	dir := w.run() + "-item"
	if _, err := Train(t.Context(), testllm.Engine(t), dir, s, nil, nil); err != nil {
		t.Fatal(err)
	}
	r := openAt(t, dir)
	embeddings, err := r.Recommender.ItemEmbeddings()
	if err != nil {
		t.Fatal(err)
	}
	// The vector of an item, twice as long, says what the item says, whatever came before it.
	width := r.Recommender.ItemWidth()
	vector := slices.Clone(embeddings[22*width : 23*width])
	for i := range vector {
		vector[i] *= 2
	}
	want, err := r.Interpret(t.Context(), [][]int32{{1, 22}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.describe(t.Context(), [][]int32{{2, 9}}, vector)
	if err != nil || got[0].Words != want[0].Text {
		t.Errorf("%+v, want %q: %v", got, want[0].Text, err)
	}
	result, err := r.Evaluate(t.Context(), 5, evaluate.Options{Seed: 1})
	if err != nil || result.About().N != 5 {
		t.Errorf("%+v, %v", result, err)
	}
}
