package recommender

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Recommender is a trained model on an engine. It does not change and may be used by many goroutines; Close it once.
type Recommender struct {
	model  *cgo.Model
	config Config
	origin Origin
	hash   string
}

// Origin says where a recommender's weights came from.
type Origin struct {
	Dataset    string   // content hash of the data set; "" where the file does not say
	Validation *Metrics // of the chosen epoch; nil where the file does not say
	Epoch      int      // the chosen one; 0 where the file does not say
}

// atOnce is the number of histories in one native call: large enough for speed, small enough to stop soon.
const atOnce = 256

// New makes an untrained recommender, the same for the same configuration.
func New(engine *cgo.Engine, c Config) (*Recommender, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	model, err := cgo.NewSASRec(engine, c.params())
	if err != nil {
		return nil, err
	}
	if err := initialise(model, c); err != nil {
		model.Close()
		return nil, err
	}
	return &Recommender{model: model, config: c}, nil
}

// Close releases the model. A second Close does nothing; calls after it fail with cgo.ErrClosed.
func (r *Recommender) Close() error { return r.model.Close() }

// Config is what the recommender is and how it was trained.
func (r *Recommender) Config() Config { return r.config }

// Origin says where the weights came from.
func (r *Recommender) Origin() Origin { return r.origin }

// Hash is the content hash of the file that the recommender was loaded from or last saved to; "" if there is none.
func (r *Recommender) Hash() string { return r.hash }

// TrainedOn refuses a data set other than the one that the weights were trained on, or, where the file does not say which
// that was, one with another number of items.
func (r *Recommender) TrainedOn(d *dataset.Dataset) error {
	if hash := d.Hash(); r.origin.Dataset != "" && r.origin.Dataset != hash {
		return &artifact.Mismatch{What: "recommender", On: "data set", Want: r.origin.Dataset, Got: hash}
	}
	if len(d.Items) != r.config.Items {
		return fmt.Errorf("recommender: it knows %d items, data set %q has %d; give the data set it was trained on",
			r.config.Items, d.Name, len(d.Items))
	}
	return nil
}

// States writes the state after the last item of each history to dst [len(histories), D]. Histories are dense item ids,
// oldest first, at least one each; of a longer one than the model's Positions the last items count. The context is
// looked at between batches. A state that is not finite is an error.
func (r *Recommender) States(ctx context.Context, dst []float32, histories [][]int32) error {
	return r.run(ctx, dst, r.config.Width, histories, func(dst []float32, h cgo.Histories) error {
		return r.model.States(dst, h, false)
	})
}

// Scores writes the scores of all items to dst [len(histories), V]. Histories are as for States; items of the history
// are scored like all others.
func (r *Recommender) Scores(ctx context.Context, dst []float32, histories [][]int32) error {
	return r.run(ctx, dst, r.config.Items, histories, r.model.Scores)
}

// Encode binds States to a context: the function that the alignment asks for states, [len(histories), D].
func (r *Recommender) Encode(ctx context.Context) func(histories [][]int32) ([]float32, error) {
	return func(histories [][]int32) ([]float32, error) {
		dst := make([]float32, len(histories)*r.config.Width)
		return dst, r.States(ctx, dst, histories)
	}
}

// Histories gives the history of each sequence.
func Histories(sequences []dataset.Sequence) [][]int32 {
	histories := make([][]int32, len(sequences))
	for i, s := range sequences {
		histories[i] = s.History
	}
	return histories
}

// Extended gives each sequence's history with the next item at its end.
func Extended(sequences []dataset.Sequence) [][]int32 {
	histories := make([][]int32, len(sequences))
	for i, s := range sequences {
		histories[i] = append(slices.Clip(s.History), s.Next)
	}
	return histories
}

// run computes width numbers for each history, batch by batch.
func (r *Recommender) run(ctx context.Context, dst []float32, width int, histories [][]int32,
	compute func(dst []float32, h cgo.Histories) error) error {
	if len(dst) != len(histories)*width {
		return fmt.Errorf("recommender: dst has %d numbers; %d histories need %d for each", len(dst), len(histories), width)
	}
	for from := 0; from < len(histories); from += atOnce {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := min(from+atOnce, len(histories))
		batch, err := r.config.pad(histories[from:to], from)
		if err != nil {
			return err
		}
		part := dst[from*width : to*width]
		if err := compute(part, batch); err != nil {
			return err
		}
		for i, x := range part {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf("recommender: the model gives NaN or infinity for history %d; its weights are broken, "+
					"train it again: %w", from+i/width, cgo.ErrNumeric)
			}
		}
	}
	return nil
}

// pad lays out histories for the core. first is the number of the first one, for messages.
func (c Config) pad(histories [][]int32, first int) (cgo.Histories, error) {
	h := cgo.Histories{Items: make([]int32, 0, len(histories)*c.Positions), Lengths: make([]int32, len(histories))}
	for i, history := range histories {
		history = history[max(0, len(history)-c.Positions):]
		if len(history) == 0 {
			return h, fmt.Errorf("recommender: history %d is empty; at least one item is needed", first+i)
		}
		for _, item := range history {
			if err := c.checkItem(item); err != nil {
				return h, fmt.Errorf("recommender: history %d: %w", first+i, err)
			}
		}
		h.Lengths[i] = int32(len(history))
		h.Items = append(h.Items, history...)
		for range c.Positions - len(history) {
			h.Items = append(h.Items, int32(c.Items))
		}
	}
	return h, nil
}

// checkItem refuses an id outside the catalogue.
func (c Config) checkItem(item int32) error {
	if item < 0 || int(item) >= c.Items {
		return fmt.Errorf("item %d; the catalogue has items 0 to %d, is it another data set's?", item, c.Items-1)
	}
	return nil
}
