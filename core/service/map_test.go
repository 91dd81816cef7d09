package service

import (
	"math"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// The sums that a principal component analysis leaves: places are centred, x and y uncorrelated and
// in order, and no other way to look at the vectors shows a greater share.
func TestMap(t *testing.T) {
	for dir, states := range map[string]bool{residual: true, dreams: false} {
		s := open(t, dir, Options{})
		m, err := s.Map()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Items) != 30 || len(m.Places) != 30 || m.States != states {
			t.Fatalf("%d items at %d places, states %v", len(m.Items), len(m.Places), m.States)
		}
		var x, y, xx, yy, xy float64
		for _, p := range m.Places {
			x, y = x+float64(p.X), y+float64(p.Y)
			xx, yy, xy = xx+float64(p.X*p.X), yy+float64(p.Y*p.Y), xy+float64(p.X*p.Y)
		}
		if math.Abs(x) > 1e-4*xx || math.Abs(y) > 1e-4*xx || math.Abs(xy) > 1e-4*xx || yy > xx || yy == 0 {
			t.Errorf("sums %g %g, of squares %g %g, of products %g", x, y, xx, yy, xy)
		}
		if ratio := yy / xx; math.Abs(ratio-m.Shares[1]/m.Shares[0]) > 1e-4 || m.Shares[0]+m.Shares[1] > 1 {
			t.Errorf("shares %v, and the places' %g", m.Shares, ratio)
		}
		if again, err := s.Map(); again != m || err != nil {
			t.Error("the map is made twice")
		}
	}
}

// Of a large catalogue the map shows a sample that is spread evenly over it.
func TestMap_sample(t *testing.T) {
	const items = 2*mostPlaces + 5
	c, err := recommender.Default("sasrec", items)
	if err != nil {
		t.Fatal(err)
	}
	c.Width = 4
	r, err := recommender.New(testllm.Engine(t), c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, err := newMap(r)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.Items); n != len(m.Places) || n < mostPlaces/2 || n > mostPlaces {
		t.Fatalf("%d items at %d places", n, len(m.Places))
	}
	for i, item := range m.Items {
		if item != int32(3*i) {
			t.Fatalf("item %d at place %d, want every third one", item, i)
		}
	}
}

// A state has the place of the vector from which its scores come.
func TestPath(t *testing.T) {
	history := []int32{1, 8, 15, 22, 29, 6, 13, 20, 27, 4, 11, 18} // two more than count
	s := open(t, residual, Options{})
	m, err := s.Map()
	if err != nil {
		t.Fatal(err)
	}
	path, err := s.Path(t.Context(), history)
	if err != nil || len(path) != 10 {
		t.Fatalf("%v, %v", path, err)
	}
	state := make([]float32, 16)
	for i, p := range path {
		if err := s.State(state, history[:3+i]); err != nil {
			t.Fatal(err)
		}
		length := norm(state)
		for k := range state {
			state[k] *= float32(m.length / length)
		}
		if want := m.item(state); math.Abs(float64(p.X-want.X))+math.Abs(float64(p.Y-want.Y)) > 1e-5 {
			t.Errorf("state %d at %v, want %v", i, p, want)
		}
	}

	d := open(t, dreams, Options{})
	if m, err = d.Map(); err != nil {
		t.Fatal(err)
	}
	path, err = d.Path(t.Context(), history)
	if err != nil || len(path) != 10 {
		t.Fatalf("%v, %v", path, err)
	}
	for i, p := range path {
		if want := m.Places[history[2+i]]; math.Abs(float64(p.X-want.X))+math.Abs(float64(p.Y-want.Y)) > 1e-4 {
			t.Errorf("item %d at %v, want %v", i, p, want)
		}
	}
	for _, none := range [][]int32{nil, {30}} {
		if _, err := s.Path(t.Context(), none); err == nil {
			t.Errorf("%v has a path", none)
		}
	}
}

// Places come from vectors that score items: the products with a state, and the biases, are what
// the recommender says.
func TestMap_scores(t *testing.T) {
	s := open(t, residual, Options{})
	width, state := 16, make([]float32, 16)
	if err := s.State(state, []int32{1, 8}); err != nil {
		t.Fatal(err)
	}
	score := func(state []float32) []recommender.Scored {
		best, err := s.RecommendState(state, nil, 30)
		if err != nil {
			t.Fatal(err)
		}
		byItem := make([]recommender.Scored, 30)
		for _, b := range best {
			byItem[b.Item] = b
		}
		return byItem
	}
	zeros, want := score(make([]float32, width)), score(state)
	for item := range 30 {
		sum := float64(zeros[item].Score)
		for k := range width {
			unit := make([]float32, width)
			unit[k] = 1
			sum += float64(state[k]) * float64(score(unit)[item].Score-zeros[item].Score)
		}
		if math.Abs(sum-float64(want[item].Score)) > 1e-4 {
			t.Errorf("item %d: %g, want %g", item, sum, want[item].Score)
		}
	}
}
