package explain

import (
	"context"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// votes is a recommender of ten items that adds up what each item of a history says for the others.
type votes [10][10]float32

func (v votes) Scores(_ context.Context, dst []float32, histories [][]int32) error {
	clear(dst)
	for i, history := range histories {
		for _, item := range history {
			for other, says := range v[item] {
				dst[i*10+other] += says
			}
		}
	}
	return nil
}

func find(t *testing.T, v votes, top int, history ...int32) *Explanation {
	t.Helper()
	e, err := Find(t.Context(), v, history, Options{Items: 10, Top: top, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Only one item supports the recommendation: it is the one that is removed.
func TestFind_oneItem(t *testing.T) {
	v := votes{0: {5: 1}, 1: {6: 3}, 2: {5: 1}}
	e := find(t, v, 1, 0, 1, 2)
	if e.Before[0].Item != 6 || !reflect.DeepEqual(e.Changes, []Change{{1, Removed}}) || e.After[0].Item != 5 {
		t.Errorf("%+v", e)
	}
}

// Two items are for it, each strongly enough alone, so that both must go: the search does not stop
// at one, and does not take three.
func TestFind_twoItems(t *testing.T) {
	var v votes
	v[0][6], v[2][6] = 9, 9
	for item := range v {
		v[item][5] += 2
	}
	e := find(t, v, 1, 0, 1, 2, 3)
	if e.Before[0].Item != 6 || !reflect.DeepEqual(e.Changes, []Change{{0, Removed}, {2, Removed}}) || e.After[0].Item != 5 {
		t.Errorf("%+v", e)
	}
}

// A history of one item cannot lose it: it is replaced.
func TestFind_replaces(t *testing.T) {
	v := votes{0: {6: 3}}
	for item := 1; item < 10; item++ {
		v[item][5] = 2
		v[item][4] = 3
	}
	e := find(t, v, 1, 0)
	if len(e.Changes) != 1 || e.Changes[0].By == Removed || e.After[0].Item == 6 {
		t.Errorf("%+v", e)
	}
}

// What no change to the history changes is not explained.
func TestFind_nothing(t *testing.T) {
	var v votes
	for item := range v {
		v[item][6] = 1
	}
	if e := find(t, v, 1, 0, 1, 2); e.Changes != nil || e.After != nil || e.Tried == 0 {
		t.Errorf("%+v", e)
	}
	m, err := Measure(t.Context(), v, [][]int32{{0, 1}, {2, 3}}, []int{1, 2}, Options{Items: 10}, nil)
	if err != nil || len(m) != 2 || m[0].Fidelity.Hits != 0 || m[0].Fidelity.N != 2 {
		t.Errorf("%+v, %v", m, err)
	}
}

// Of a top 2 the second item may stay: 1/log2(3) of 1 + 1/log2(3).
func TestFind_topOfTwo(t *testing.T) {
	v := votes{0: {5: 5, 6: 4}, 1: {6: 1, 7: 2}}
	e := find(t, v, 2, 0, 1)
	if !reflect.DeepEqual(e.Changes, []Change{{0, Removed}}) || e.After[0].Item != 7 || e.After[1].Item != 6 {
		t.Errorf("%+v", e)
	}
}

func TestLikeness_byHand(t *testing.T) {
	list := func(items ...int32) (scored []recommender.Scored) {
		for _, item := range items {
			scored = append(scored, recommender.Scored{Item: item})
		}
		return scored
	}
	second, third := 1/math.Log2(3), 0.5
	most := 1 + second + third
	for _, c := range []struct {
		after []recommender.Scored
		want  float64
	}{
		{list(1, 2, 3), 1}, {list(4, 5, 6), 0}, {list(1, 5, 6), 1 / most}, {list(2, 1, 3), (0.5 + second/2 + third) / most},
		{list(3, 5, 1), (1./3 + third/3) / most},
	} {
		if got := likeness(list(1, 2, 3), c.after); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v: %g, want %g", c.after, got, c.want)
		}
	}
}

// Without item 1 the first two recommendations change places, which leaves the top 3 more than half
// alike.
func TestMeasure_byTheFirst(t *testing.T) {
	v := votes{0: {6: 5, 5: 4.5, 7: 3}, 1: {5: 1}}
	m, err := Measure(t.Context(), v, [][]int32{{0, 1}}, []int{1, 3}, Options{Items: 10, Seed: 1}, nil)
	if err != nil || m[0].ByFirst.Hits != 1 || m[1].ByFirst.Hits != 0 || m[1].Fidelity.Hits != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestFind_refuses(t *testing.T) {
	for _, c := range []struct {
		history []int32
		top     int
	}{{nil, 1}, {[]int32{1}, 0}, {[]int32{1}, 9}} {
		if _, err := Find(t.Context(), votes{}, c.history, Options{Items: 10, Top: c.top}); err == nil || !strings.Contains(err.Error(), "explain: ") {
			t.Errorf("%+v: error %v", c, err)
		}
	}
}
