package run

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// dreams makes a world whose recommender is a DreamRec, with a trained run.
func dreams(t *testing.T) world {
	t.Helper()
	w := newWorld(t)
	d, err := dataset.Load(w.spec().Dataset)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(w.spec().Recommender); err != nil {
		t.Fatal(err)
	}
	saveModel(t, w.spec().Recommender, models.DreamRec, d, d.Hash(), 1)
	train(t, w)
	return w
}

// An item's embedding in the oracle's place says what the item itself says, and oracles are told as
// what they are.
func TestOracles(t *testing.T) {
	w := dreams(t)
	r := open(t, w)
	embeddings, err := r.Recommender.ItemEmbeddings()
	if err != nil {
		t.Fatal(err)
	}
	width := r.Recommender.Config().Width
	if len(embeddings) != len(r.Data.Items)*width {
		t.Fatalf("%d numbers in the table of items", len(embeddings))
	}
	histories := [][]int32{{1, 8, 15}, {2, 9}, {4}}
	items := []int32{22, 16, 11}
	var vectors []float32
	var whole [][]int32
	for i, item := range items {
		vectors = append(vectors, embeddings[int(item)*width:int(item+1)*width]...)
		whole = append(whole, append(slices.Clone(histories[i]), item))
	}
	want, err := r.Interpret(t.Context(), whole)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.describe(t.Context(), histories, vectors)
	if err != nil {
		t.Fatal(err)
	}
	titles := r.catalogue()
	for i, o := range got {
		if o.Words != want[i].Text || !reflect.DeepEqual(o.History, r.Titles(histories[i])) {
			t.Errorf("oracle %d: %+v, want the words %q", i, o, want[i].Text)
		}
		if len(o.Titles) != Places || len(o.Nearest) != Places || !slices.Contains(titles, o.Titles[0].Title) ||
			!(o.Titles[0].Score > 0 && o.Titles[0].Score >= o.Titles[1].Score) || !(o.Nearest[0].Score >= o.Nearest[1].Score) {
			t.Errorf("oracle %d: %+v", i, o)
		}
		// The nearest item by its formula: the largest product of embeddings.
		best, most := "", math.Inf(-1)
		for item := range r.Data.Items {
			dot := 0.0
			for k := range width {
				dot += float64(vectors[i*width+k]) * float64(embeddings[item*width+k])
			}
			if dot > most {
				best, most = r.Data.Items[item].Title, dot
			}
		}
		if o.Nearest[0].Title != best || math.Abs(o.Nearest[0].Score-most) > 1e-4 {
			t.Errorf("oracle %d: nearest %+v, want %q at %g", i, o.Nearest[0], best, most)
		}
	}

	drawn, err := r.Oracles(t.Context(), histories, 7)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Oracles(t.Context(), histories[:1], 7)
	if err != nil || !reflect.DeepEqual(again[0].Nearest, drawn[0].Nearest) {
		t.Errorf("%+v alone, %+v among others: %v", again, drawn[0], err)
	}

	done, path := 0, filepath.Join(w.run(), "oracles.json")
	result, err := r.EvaluateOracles(t.Context(), 9, 2, path, func(n, _ int) { done = n })
	if err != nil {
		t.Fatal(err)
	}
	if result.N != 9 || len(result.Oracles) != 9 || done != 9 || result.Sanity.N != 9 {
		t.Errorf("%+v", result)
	}
	kept, err := r.EvaluateOracles(t.Context(), 9, 2, path, func(int, int) { t.Error("read again") })
	if err != nil || !reflect.DeepEqual(kept, result) {
		t.Errorf("from the file: %+v, %v", kept, err)
	}
	// What is missing of a file is made up for, to the same oracles; another seed's is not
	// overwritten.
	kept.Oracles = kept.Oracles[:5]
	if err := kept.write(path); err != nil {
		t.Fatal(err)
	}
	if again, err := r.EvaluateOracles(t.Context(), 9, 2, path, nil); err != nil || !reflect.DeepEqual(again.Next, result.Next) ||
		len(again.Oracles) != 9 || again.Oracles[8].Words != result.Oracles[8].Words {
		t.Errorf("taken up: %+v, %v", again, err)
	}
	if _, err := r.EvaluateOracles(t.Context(), 9, 3, path, nil); err == nil || !strings.Contains(err.Error(), "other oracles") {
		t.Errorf("another seed: %v", err)
	}
	known, valid, next := evaluate.NewTitles(titles), 0, 0
	for i, at := range draw(len(r.Split.Test), 9, 2) {
		o := result.Oracles[i]
		if o.Next != titles[r.Split.Test[at].Next] {
			t.Errorf("oracle %d: next is %q", i, o.Next)
		}
		if known.Has(o.Words) {
			valid++
		}
		if evaluate.Exact(o.Words, o.Next) {
			next++
		}
	}
	if result.Valid.Hits != valid || result.Next.Hits != next {
		t.Errorf("%d valid and %d next, want %d and %d", result.Valid.Hits, result.Next.Hits, valid, next)
	}
}

func TestCases(t *testing.T) {
	w := dreams(t)
	r := open(t, w)
	oracles, err := r.EvaluateOracles(t.Context(), 4, 1, filepath.Join(w.run(), "oracles.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(string(w), "other.safetensors")
	saveRecommender(t, path, r.Data, r.Data.Hash(), 2)
	other, err := recommender.Load(testllm.Engine(t), path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	choices, err := r.Choices(t.Context(), oracles, other)
	if err != nil || len(choices) != 4 {
		t.Fatalf("%d choices, %v", len(choices), err)
	}
	for i, title := range choices {
		history := r.Split.Test[draw(len(r.Split.Test), 4, 1)[i]].History
		best, err := recommender.Recommend(t.Context(), other, [][]int32{history}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if title != r.Data.Items[best[0][0].Item].Title || !slices.Equal(oracles.Oracles[i].History, r.Titles(history)) {
			t.Errorf("%q, %+v", title, oracles.Oracles[i])
		}
	}
	saveRecommender(t, path, r.Data, "d00d", 2)
	stranger, err := recommender.Load(testllm.Engine(t), path)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := r.Choices(t.Context(), oracles, stranger); err == nil || !strings.Contains(err.Error(), "data set") {
		t.Errorf("a recommender of other data: %v", err)
	}
}

func TestOracles_refusals(t *testing.T) {
	r := open(t, trained(t))
	if _, err := r.Oracles(t.Context(), [][]int32{{1, 2}}, 1); err == nil || !strings.Contains(err.Error(), "draws no oracles") {
		t.Errorf("SASRec: %v", err)
	}
}
