package verify

import (
	"context"
	"fmt"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// verifySASRec runs the histories of the expected file through the weights. Tolerances: a float32 encoder agrees to
// 2e-5 in its states and to 2e-4 in its scores, which sum 64 products of them.
func verifySASRec(ctx context.Context, engine *cgo.Engine, path string, weights *artifact.File, opts Options) (
	[]Figure, error) {
	expected, err := artifact.ReadSafetensors(stem(path) + ".expected.safetensors")
	if err != nil {
		return nil, fmt.Errorf("verify: the inputs and outputs of %s: %w", path, err)
	}
	if err := finite(path, expected); err != nil {
		return nil, err
	}
	model, params, err := loadSASRec(engine, weights)
	if err != nil {
		return nil, fmt.Errorf("verify: %s: %w", path, err)
	}
	defer model.Close()
	var h cgo.Histories
	if h.Lengths, err = expected.Int32("len"); err != nil {
		return nil, err
	}
	n := len(h.Lengths)
	if h.Items, err = expected.Int32("seq", n, params.Positions); err != nil {
		return nil, err
	}
	hidden, err := expected.Float32("hidden", n, params.Width)
	if err != nil {
		return nil, err
	}
	scores, err := expected.Float32("scores", n, params.Items)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	gotHidden, gotScores := make([]float32, len(hidden)), make([]float32, len(scores))
	if err := model.States(gotHidden, h, false); err != nil {
		return nil, err
	}
	if err := model.Scores(gotScores, h); err != nil {
		return nil, err
	}
	err = write(opts, path, ".computed", []artifact.Tensor{
		{Name: "hidden", DType: "F32", Shape: []int{n, params.Width}, F32: gotHidden},
		{Name: "scores", DType: "F32", Shape: []int{n, params.Items}, F32: gotScores},
	})
	return []Figure{
		maxAbs("hidden", gotHidden, hidden, 2e-5),
		maxAbs("scores", gotScores, scores, 2e-4),
	}, err
}

// loadSASRec makes the model that the tensors' shapes describe: one block, one head, as the paper's authors trained it.
func loadSASRec(engine *cgo.Engine, weights *artifact.File) (*cgo.Model, cgo.SASRecParams, error) {
	params := cgo.SASRecParams{Blocks: 1, Heads: 1}
	items, err := weights.Find("item_embeddings.weight")
	if err != nil {
		return nil, params, err
	}
	positions, err := weights.Find("positional_embeddings.weight")
	if err != nil {
		return nil, params, err
	}
	if len(items.Shape) != 2 || len(positions.Shape) != 2 {
		return nil, params, fmt.Errorf("embeddings of shape %v and %v are not tables", items.Shape, positions.Shape)
	}
	params.Items, params.Width, params.Positions = items.Shape[0]-1, items.Shape[1], positions.Shape[0]
	params.Inner = params.Width
	model, err := cgo.NewSASRec(engine, params)
	if err != nil {
		return nil, params, err
	}
	infos, err := model.Tensors()
	for i := 0; i < len(infos) && err == nil; i++ {
		var values []float32 // of as many elements as the tensor has: a 1×1 convolution is a matrix
		if values, err = weights.Float32(infos[i].Name); err == nil {
			err = model.Write(i, cgo.Value, values)
		}
	}
	if err != nil {
		model.Close()
		return nil, params, err
	}
	return model, params, nil
}
