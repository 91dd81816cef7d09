package recommender

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Options are what training may need beside its configuration and data.
type Options struct {
	Dataset        string         // content hash of the data set, recorded in what is saved
	CheckpointPath string         // written after each epoch, and taken up again if it exists; "": none
	Log            io.Writer      // gets one JSON line for each epoch; may be nil
	Progress       func(Progress) // may be nil; called on the caller's goroutine
}

// Progress is told between steps.
type Progress struct {
	Epoch, MaxEpochs int // the current epoch, counted from 1
	Step, Steps      int // within the epoch
	Loss             float64
	Best             *Epoch // so far; nil in the first epoch
}

// Epoch is one line of the log.
type Epoch struct {
	Epoch   int     `json:"epoch"`
	Loss    float64 `json:"loss"` // mean over the steps, in nats, with dropout
	HR10    float64 `json:"hr10"` // on validation
	NDCG10  float64 `json:"ndcg10"`
	Best    bool    `json:"best"`    // the best HR@10 so far; of equal ones the higher NDCG@10
	Seconds float64 `json:"seconds"` // of training so far, earlier sittings included
}

// Train learns from split.Train and gives the weights of the epoch with the best HR@10 on split.Validation, of equal
// ones the higher NDCG@10. split.Test is not looked at. It ends after MaxEpochs epochs, or Patience epochs without a
// better one.
//
// A run that is cancelled, or killed at any moment, goes on from the last whole epoch when it is started again with the
// same checkpoint path, and gives bit for bit what an uninterrupted run gives. Only max_epochs and patience may then
// differ from the configuration it was started with. The context is looked at between native calls; its error is
// returned. The caller closes the recommender.
func Train(ctx context.Context, engine *cgo.Engine, c Config, split dataset.Split, opts Options) (*Recommender, error) {
	t, err := newTrainer(engine, c, split, opts)
	if err != nil {
		return nil, err
	}
	if err := t.train(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return t.finish()
}

// trainer is a run under way.
type trainer struct {
	*Recommender // the current weights
	cursor       cursor
	best         weights
	split        dataset.Split
	opts         Options
	data         string // fingerprint of the split
	order        []int
}

// newTrainer starts a run or takes it up again.
func newTrainer(engine *cgo.Engine, c Config, split dataset.Split, opts Options) (*trainer, error) {
	if len(split.Train) == 0 || len(split.Validation) == 0 {
		return nil, fmt.Errorf("recommender: %d sequences to learn from and %d to choose by; both are needed",
			len(split.Train), len(split.Validation))
	}
	r, err := New(engine, c)
	if err != nil {
		return nil, err
	}
	t := &trainer{Recommender: r, split: split, opts: opts, data: fingerprint(split), order: make([]int, len(split.Train))}
	if err := t.restore(); err != nil {
		r.Close()
		return nil, err
	}
	return t, nil
}

func (t *trainer) train(ctx context.Context) error {
	c := t.config
	for !t.cursor.done(c) {
		began := time.Now()
		epoch := len(t.cursor.Epochs) + 1
		random := rand.New(rand.NewPCG(c.Seed, uint64(epoch)))
		for i := range t.order {
			t.order[i] = i
		}
		random.Shuffle(len(t.order), func(i, j int) { t.order[i], t.order[j] = t.order[j], t.order[i] })
		steps := (len(t.order) + c.BatchSize - 1) / c.BatchSize
		sum := 0.0
		for step := range steps {
			if err := ctx.Err(); err != nil {
				return t.stopped(err)
			}
			batch, err := t.batch(t.order[step*c.BatchSize : min((step+1)*c.BatchSize, len(t.order))])
			if err != nil {
				return err
			}
			batch.Seed = random.Uint64()
			loss, err := t.step(batch)
			if err != nil {
				return fmt.Errorf("recommender: epoch %d, step %d: %w", epoch, step+1, err)
			}
			sum += loss
			if t.opts.Progress != nil {
				t.opts.Progress(Progress{epoch, c.MaxEpochs, step + 1, steps, sum / float64(step+1), t.cursor.best()})
			}
		}
		metrics, err := Evaluate(ctx, t.Recommender, t.split.Validation, nil)
		if ctx.Err() != nil {
			return t.stopped(ctx.Err())
		}
		if err != nil {
			return err
		}
		if err := t.endEpoch(sum/float64(steps), metrics, time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// step learns from one batch.
func (t *trainer) step(batch cgo.RecommenderBatch) (loss float64, err error) {
	c := t.config
	if loss, err = t.model.RecommenderBackward(batch); err != nil {
		return 0, err
	}
	_, err = t.model.Update(cgo.AdamW{
		LearningRate: float32(c.LearningRate), Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8,
		WeightDecay: float32(c.WeightDecay), MaxNorm: float32(c.MaxNorm), Step: t.cursor.Step + 1,
	})
	if err == nil && (math.IsNaN(loss) || math.IsInf(loss, 0)) {
		err = cgo.ErrNumeric
	}
	if err != nil {
		return 0, fmt.Errorf("training failed at a loss of %g; where numbers are not finite, try a lower learning_rate: %w",
			loss, err)
	}
	t.cursor.Step++
	return loss, nil
}

// batch gathers training sequences.
func (t *trainer) batch(indices []int) (cgo.RecommenderBatch, error) {
	c := t.config
	histories := make([][]int32, len(indices))
	targets := make([]int32, len(indices)*c.Positions)
	for i := range targets {
		targets[i] = -1
	}
	for b, index := range indices {
		s := t.split.Train[index]
		if err := c.checkItem(s.Next); err != nil {
			return cgo.RecommenderBatch{}, fmt.Errorf("recommender: next of training sequence %d: %w", index, err)
		}
		histories[b] = s.History[max(0, len(s.History)-c.Positions):]
		row := targets[b*c.Positions:]
		last := len(histories[b]) - 1
		if last >= 0 {
			row[last] = s.Next
		}
		if c.AllPositions {
			copy(row[:max(last, 0)], histories[b][min(1, len(histories[b])):])
		}
	}
	h, err := c.pad(histories, 0)
	return cgo.RecommenderBatch{Histories: h, Targets: targets, Dropout: float32(c.Dropout)}, err
}

// endEpoch notes how an epoch went, keeps its weights if they are the best, and saves and logs the state of the run.
func (t *trainer) endEpoch(loss float64, metrics Metrics, took time.Duration) error {
	e := Epoch{Epoch: len(t.cursor.Epochs) + 1, Loss: loss, HR10: metrics.HR[10], NDCG10: metrics.NDCG[10],
		Seconds: took.Seconds()}
	if n := len(t.cursor.Epochs); n > 0 {
		e.Seconds += t.cursor.Epochs[n-1].Seconds
	}
	best := t.cursor.best()
	e.Best = best == nil || e.HR10 > best.HR10 || e.HR10 == best.HR10 && e.NDCG10 > best.NDCG10
	t.cursor.Epochs = append(t.cursor.Epochs, e)
	if e.Best {
		var err error
		if t.best, err = readSlot(t.model, cgo.Value, bestPrefix); err != nil {
			return err
		}
		t.cursor.Metrics = metrics
	}
	if err := t.save(); err != nil {
		return err
	}
	if t.opts.Log == nil {
		return nil
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := t.opts.Log.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("recommender: the log cannot be written: %w", err)
	}
	return nil
}

// finish puts the best weights in place.
func (t *trainer) finish() (*Recommender, error) {
	if err := t.best.write(t.model); err != nil {
		t.Close()
		return nil, err
	}
	metrics := t.cursor.Metrics
	t.origin = Origin{Dataset: t.opts.Dataset, Validation: &metrics, Epoch: t.cursor.best().Epoch}
	return t.Recommender, nil
}

// stopped says how to go on after a cancellation.
func (t *trainer) stopped(err error) error {
	if t.opts.CheckpointPath == "" {
		return fmt.Errorf("recommender: stopped in epoch %d: %w", len(t.cursor.Epochs)+1, err)
	}
	if len(t.cursor.Epochs) == 0 {
		return fmt.Errorf("recommender: stopped before the first epoch was whole, so nothing is kept; the same command starts "+
			"again: %w", err)
	}
	return fmt.Errorf("recommender: stopped; the same command goes on after epoch %d: %w", len(t.cursor.Epochs), err)
}
