package recommender

import (
	"context"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx"
)

// Live encodes and ranks any history: a Recommender, whose weights are at hand, or an ONNX encoder.
type Live interface {
	adapter.Source
	// Name says which model it is.
	Name() string
	// Catalogue is V, the number of items.
	Catalogue() int
	// Generates reports whether it draws oracles and scores these.
	Generates() bool
	// Scores writes the scores of all items to dst [len(histories), V].
	Scores(ctx context.Context, dst []float32, histories [][]int32) error
}

var (
	_ Live = (*Recommender)(nil)
	_ Live = (*onnx.Encoder)(nil)
)

// Open opens a file of weights (see Load) or an imported ONNX model.
func Open(engine *cgo.Engine, path string) (Live, error) {
	if !onnx.Is(path) {
		return Load(engine, path)
	}
	threads := 0
	if info, err := engine.Describe(); err == nil {
		threads = info.Threads
	}
	return onnx.Open(path, threads)
}

// Recommend gives the k items with the highest scores after each history, best first, without those
// of the history; of equal ones the lower id.
func Recommend(ctx context.Context, r Live, histories [][]int32, k int) ([][]Scored, error) {
	const most = 1 << 24 // scores in memory
	items := r.Catalogue()
	together := min(max(1, most/items), len(histories))
	scores := make([]float32, together*items)
	best := make([][]Scored, 0, len(histories))
	for part := range slices.Chunk(histories, max(1, together)) {
		scores := scores[:len(part)*items]
		if err := r.Scores(ctx, scores, part); err != nil {
			return nil, err
		}
		for i, history := range part {
			best = append(best, Highest(scores[i*items:(i+1)*items], k, history))
		}
	}
	return best, nil
}
