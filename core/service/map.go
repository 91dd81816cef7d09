package service

import (
	"context"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// mostPlaces is the largest number of items on a map; of a larger catalogue it shows about as many,
// spread evenly.
const mostPlaces = 4000

// Point is a place on a map.
type Point struct {
	X float32 `json:"x" doc:"Along the first component."`
	Y float32 `json:"y" doc:"Along the second one."`
}

// Map shows a catalogue in the plane: the two principal components of the vectors by which items
// are scored. An item's score is the product of its vector [W] with the state, and a bias, so that
// states have places on the map, too. A recommender that generates scores items by products of
// their embeddings [D] with the oracle; its states are in another space.
type Map struct {
	Items  []int32    // shown on the map, dense ids
	Places []Point    // of these
	Shares [2]float64 // of the vectors' variance, along x and y
	States bool       // states have places

	mean   []float64  // of the vectors
	axes   *mat.Dense // [W, 2]
	length float64    // of a vector, root mean square
}

// Map returns the run's map, which is computed at the first call.
func (s *Service) Map() (*Map, error) {
	if err := s.weights(); err != nil {
		return nil, err
	}
	m, err := s.chart()
	return m, closing(err)
}

// Path returns the places of the states after each of the last T items of a history, or, on a map
// without states, of these items. States are scaled as by Place.
func (s *Service) Path(ctx context.Context, history []int32) ([]Point, error) {
	if err := s.checkHistory(history, 1); err != nil {
		return nil, err
	}
	m, err := s.Map()
	if err != nil {
		return nil, err
	}
	var ends [][]int32
	for n := max(1, len(history)-s.info.Positions+1); n <= len(history); n++ {
		ends = append(ends, history[:n])
	}
	width, compute, place := s.info.ItemWidth, s.run.Recommender.Items, m.item
	if m.States {
		width, compute, place = s.info.StateWidth, s.run.Recommender.States, m.Place
	}
	vectors, path := make([]float32, len(ends)*width), make([]Point, len(ends))
	if err := compute(ctx, vectors, ends); err != nil {
		return nil, closing(err)
	}
	for i := range path {
		path[i] = place(vectors[i*width : (i+1)*width])
	}
	return path, nil
}

// newMap computes the map of a recommender. Its scores are linear in the state: the scores of the
// zero state are the biases, and the scores of the unit vectors minus the biases are the columns of
// the items' vectors.
func newMap(r *recommender.Recommender) (*Map, error) {
	config, width := r.Config(), r.StateWidth()
	m := &Map{States: !r.Generates(), mean: make([]float64, width)}
	for item := 0; item < config.Items; item += (config.Items + mostPlaces - 1) / mostPlaces {
		m.Items = append(m.Items, int32(item))
	}
	if len(m.Items) < 2 || width < 2 {
		return nil, fmt.Errorf("service: %d items with vectors of %d numbers have no map; it needs two of both", len(m.Items), width)
	}
	vectors := mat.NewDense(len(m.Items), width, nil)
	biases, scores, unit := make([]float32, config.Items), make([]float32, config.Items), make([]float32, width)
	if err := r.ScoreStates(biases, unit); err != nil {
		return nil, err
	}
	squares := 0.0
	for k := range width {
		unit[k] = 1
		if err := r.ScoreStates(scores, unit); err != nil {
			return nil, err
		}
		unit[k] = 0
		for i, item := range m.Items {
			x := float64(scores[item] - biases[item])
			vectors.Set(i, k, x)
			m.mean[k] += x / float64(len(m.Items))
			squares += x * x
		}
	}
	m.length = math.Sqrt(squares / float64(len(m.Items)))

	var analysis stat.PC
	if !analysis.PrincipalComponents(vectors, nil) {
		return nil, fmt.Errorf("service: the vectors of %d items have no principal components", len(m.Items))
	}
	var axes mat.Dense
	analysis.VectorsTo(&axes)
	m.axes = mat.DenseCopyOf(axes.Slice(0, width, 0, 2))
	variances, all := analysis.VarsTo(nil), 0.0
	for _, v := range variances {
		all += v
	}
	if all > 0 {
		m.Shares = [2]float64{variances[0] / all, variances[1] / all}
	}
	vector := make([]float32, width)
	for i := range m.Items {
		for k := range vector {
			vector[k] = float32(vectors.At(i, k))
		}
		m.Places = append(m.Places, m.item(vector))
	}
	return m, nil
}

// Place returns the place of a state or an oracle, scaled to the length of an item's vector: only
// its direction ranks the items.
func (m *Map) Place(vector []float32) Point {
	return m.project(vector, m.length/max(norm(vector), math.SmallestNonzeroFloat32))
}

// item gives the place of an item's vector.
func (m *Map) item(vector []float32) Point { return m.project(vector, 1) }

// project projects a vector [W] times a number.
func (m *Map) project(vector []float32, scale float64) Point {
	var x, y float64
	for k, v := range vector {
		centred := scale*float64(v) - m.mean[k]
		x += centred * m.axes.At(k, 0)
		y += centred * m.axes.At(k, 1)
	}
	return Point{float32(x), float32(y)}
}

func norm(vector []float32) float64 {
	sum := 0.0
	for _, x := range vector {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}
