package recommender

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/checkpoint"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// Options are what training may need beside its configuration and data.
type Options struct {
	Dataset        string          // content hash of the data set, recorded in what is saved
	Events         []dataset.Event // of the data set, in its order, by which a recommender that reads times finds these
	CheckpointPath string          // written each minute and after each epoch, and resumed from if it exists; "": none
	Within         time.Duration   // no epoch is begun that would probably end later, earlier sittings counted, but one is trained; 0: no limit
	LogPath        string          // one JSON line for each epoch, in a file; "" for none
	Progress       func(Progress)  // may be nil; called on the caller's goroutine

	mayLose time.Duration // to a kill; 0: a minute; tests have their own
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
	Loss    float64 `json:"loss"` // mean over the steps, with dropout: nats, or a diffusion's squared error
	HR10    float64 `json:"hr10"` // on validation
	NDCG10  float64 `json:"ndcg10"`
	Best    bool    `json:"best"`    // the best HR@10 so far; of equal ones the higher NDCG@10
	Seconds float64 `json:"seconds"` // of training so far, earlier sittings included
}

// Trained is what a training gives: the recommender of the epoch with the best HR@10 on validation,
// of equal ones the higher NDCG@10, and that of the last epoch.
type Trained struct {
	Best, Last *Recommender
	Epochs     []Epoch
}

// Close releases both recommenders.
func (t *Trained) Close() error { return errors.Join(t.Best.Close(), t.Last.Close()) }

// Train learns from split.Train and chooses by split.Validation. split.Test is not looked at. It
// ends after MaxEpochs epochs, or Patience epochs without a better one.
//
// A run that is cancelled, or killed at any moment, continues from its checkpoint, at most a minute
// old, when it is started again with the same path, and gives bit for bit what an uninterrupted run
// gives. Only max_epochs and patience may then differ from the configuration it was started with.
// The ranks of the context share the work, and rank 0 writes. The context is looked at between
// native calls; its error is returned. The caller closes what is returned.
func Train(ctx context.Context, engine *cgo.Engine, c Config, split dataset.Split, opts Options) (*Trained, error) {
	t, err := newTrainer(engine, c, split, opts)
	if err != nil {
		return nil, err
	}
	trained, err := t.run(ctx, engine)
	if err != nil {
		t.Close()
		return nil, err
	}
	return trained, nil
}

// run trains, and puts the best weights in a recommender of their own.
func (t *trainer) run(ctx context.Context, engine *cgo.Engine) (*Trained, error) {
	t.group = ranks.Of(ctx)
	if err := ranks.Enough(t.group, t.config.BatchSize, t.config.MicroBatch); err != nil {
		return nil, fmt.Errorf("recommender: %w", err)
	}
	at := fmt.Sprintf("step %d, of sequences %.12s", t.cursor.Step, t.data)
	if err := t.group.Agree(ctx, "the training", at); err != nil { // nobody writes before all have read
		return nil, err
	}
	if err := t.openLog(); err != nil {
		return nil, err
	}
	if t.log != nil {
		defer t.log.Close()
	}
	if err := t.train(ctx); err != nil {
		return nil, err
	}
	best, err := New(engine, t.config)
	if err != nil {
		return nil, err
	}
	if err := t.best.Restore(&best.model.Model); err != nil {
		best.Close()
		return nil, err
	}
	metrics, epochs := t.cursor.Metrics, t.cursor.Epochs
	best.origin = Origin{Dataset: t.opts.Dataset, Validation: &metrics, Epoch: t.cursor.best().Epoch}
	t.origin = Origin{Dataset: t.opts.Dataset, Epoch: len(epochs)}
	return &Trained{Best: best, Last: t.Recommender, Epochs: epochs}, nil
}

// trainer is a run under way.
type trainer struct {
	*Recommender      // the current weights
	encoder      Live // the same, of the split's sequences
	cursor       cursor
	best         checkpoint.Best
	split        dataset.Split
	opts         Options
	data         string          // fingerprint of the split
	log          *artifact.Lines // nil: none is asked for
	order        []int
	followed     []int32 // how many training sequences each item follows; nil: the softmax is not sampled
	clock        checkpoint.Clock
	validation   time.Duration // how long the last one took
	group        *ranks.Group
}

// newTrainer starts a run or takes it up again.
func newTrainer(engine *cgo.Engine, c Config, split dataset.Split, opts Options) (*trainer, error) {
	if len(split.Train) == 0 || len(split.Validation) == 0 {
		return nil, fmt.Errorf("recommender: %d sequences to learn from and %d to choose by; both are needed",
			len(split.Train), len(split.Validation))
	}
	if c.Timed() && len(opts.Events) == 0 {
		return nil, fmt.Errorf("recommender: times are those of events, and data that came as sequences has none; leave times out")
	}
	r, err := New(engine, c)
	if err != nil {
		return nil, err
	}
	t := &trainer{Recommender: r, encoder: of(r, opts.Events), split: split, opts: opts, data: fingerprint(split), order: make([]int, len(split.Train)),
		clock: checkpoint.Clock{MayLose: opts.mayLose}}
	if c.Sampled > 0 {
		t.followed = make([]int32, c.Items)
		for i, s := range split.Train {
			if err := checkItem(s.Next, c.Items); err != nil {
				r.Close()
				return nil, fmt.Errorf("next of training sequence %d: %w", i, err)
			}
			t.followed[s.Next]++
		}
	}
	if err := t.restore(); err != nil {
		r.Close()
		return nil, err
	}
	return t, nil
}

func (t *trainer) train(ctx context.Context) error {
	c, at := t.config, &t.cursor.Under
	t.clock.Restart()
	for !t.cursor.done(c) && t.cursor.fits(t.opts.Within) {
		epoch := len(t.cursor.Epochs) + 1
		source := rand.NewPCG(c.Seed, uint64(epoch))
		random := rand.New(source)
		for i := range t.order {
			t.order[i] = i
		}
		random.Shuffle(len(t.order), func(i, j int) { t.order[i], t.order[j] = t.order[j], t.order[i] })
		if at.Steps > 0 {
			if err := source.UnmarshalBinary(at.Random); err != nil {
				return fmt.Errorf("recommender: the checkpoint's random state: %w", err)
			}
		}
		steps := (len(t.order) + c.BatchSize - 1) / c.BatchSize
		for before := time.Now(); at.Steps < steps; {
			if err := ctx.Err(); err != nil {
				return t.stopped(err)
			}
			loss, err := t.step(ctx, t.order[at.Steps*c.BatchSize:min((at.Steps+1)*c.BatchSize, len(t.order))], random)
			if err != nil && (ctx.Err() != nil || errors.Is(err, ranks.ErrLeft)) {
				return t.stopped(err)
			}
			if err != nil {
				return fmt.Errorf("recommender: epoch %d, step %d: %w", epoch, at.Steps+1, err)
			}
			at.Steps, at.Loss = at.Steps+1, at.Loss+loss
			if at.Random, err = source.MarshalBinary(); err != nil {
				return err
			}
			took := time.Since(before)
			before, at.Seconds = before.Add(took), at.Seconds+took.Seconds()
			if t.opts.Progress != nil {
				t.opts.Progress(Progress{epoch, c.MaxEpochs, at.Steps, steps, at.Loss / float64(at.Steps), t.cursor.best()})
			}
			if err := t.saveBefore(took); err != nil {
				return err
			}
		}
		if err := t.saveBefore(t.validation); err != nil {
			return err
		}
		began := time.Now()
		metrics, err := Evaluate(ctx, t.encoder, t.split.Validation, nil)
		if ctx.Err() != nil {
			return t.stopped(ctx.Err())
		}
		if err != nil {
			return err
		}
		t.validation = time.Since(began)
		if err := t.endEpoch(ctx, metrics); err != nil {
			return err
		}
	}
	return nil
}

// EpochTime measures how long an epoch takes: from the steps of half a second, and from ranking a
// few of the validation sequences. The first steps are not counted, because they build what later
// ones use again.
func EpochTime(ctx context.Context, engine *cgo.Engine, c Config, split dataset.Split) (time.Duration, error) {
	t, err := newTrainer(engine, c, split, Options{})
	if err != nil {
		return 0, err
	}
	defer t.Close()
	for i := range t.order {
		t.order[i] = i
	}
	const unmeasured, least = 2, 8
	random := rand.New(rand.NewPCG(c.Seed, 0))
	var began time.Time
	var perStep time.Duration
	for step := 0; step < unmeasured+least || time.Since(began) < time.Second/2; step++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if step == unmeasured {
			began = time.Now()
		}
		if _, err := t.step(ctx, t.order[:min(c.BatchSize, len(t.order))], random); err != nil {
			return 0, err
		}
		if step >= unmeasured {
			perStep = time.Since(began) / time.Duration(step-unmeasured+1)
		}
	}
	some := split.Validation[:min(256, len(split.Validation))]
	began = time.Now()
	if _, err := Evaluate(ctx, t.encoder, some, nil); err != nil {
		return 0, err
	}
	perSequence := time.Since(began) / time.Duration(len(some))
	steps := (len(t.order) + c.BatchSize - 1) / c.BatchSize
	return perStep*time.Duration(steps) + perSequence*time.Duration(len(split.Validation)), nil
}

// step learns from the training sequences of these indices, each rank from some of their
// micro-batches.
func (t *trainer) step(ctx context.Context, indices []int, random *rand.Rand) (loss float64, err error) {
	c := t.config
	h, next, err := t.gather(indices)
	if err != nil {
		return 0, err
	}
	var backward func(from, to int, seed uint64) (float64, error) // of a part of the batch
	var targets func(from, to int) int
	if t.Generates() {
		batch := c.noised(h, next, random)
		backward = func(from, to int, seed uint64) (float64, error) {
			return t.model.Diffusion().Backward(c.partOfNoised(batch, from, to, seed))
		}
		targets = func(from, to int) int { return to - from }
	} else {
		batch := c.targets(h, next, random)
		t.draw(&batch, random)
		backward = func(from, to int, seed uint64) (float64, error) {
			return t.model.Backward(c.part(batch, from, to, seed))
		}
		targets = func(from, to int) (n int) {
			for _, item := range batch.Targets[from*c.Positions : to*c.Positions] {
				if item >= 0 {
					n++
				}
			}
			return n
		}
	}
	size := cmp.Or(c.MicroBatch, len(next))
	leaves, seeds := make([]ranks.Leaf, (len(next)+size-1)/size), []uint64{random.Uint64()} // of dropout masks
	for i := range leaves {
		from, to := i*size, min(len(next), (i+1)*size)
		leaves[i].Cost, leaves[i].Weight = float64(to-from), float64(targets(from, to))/float64(targets(0, len(next)))
		if i > 0 {
			seeds = append(seeds, random.Uint64())
		}
	}
	losses, err := t.group.Sum(ctx, t.model, leaves, func(i int) (float64, error) {
		return backward(i*size, min(len(next), (i+1)*size), seeds[i])
	})
	if err != nil {
		return 0, err
	}
	for _, l := range losses {
		loss += l
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

// gather lays out training sequences: their histories and the items that follow.
func (t *trainer) gather(indices []int) (cgo.Histories, []int32, error) {
	histories, next := make([][]int32, len(indices)), make([]int32, len(indices))
	for b, index := range indices {
		s := t.split.Train[index]
		if err := checkItem(s.Next, t.config.Items); err != nil {
			return cgo.Histories{}, nil, fmt.Errorf("next of training sequence %d: %w", index, err)
		}
		histories[b], next[b] = t.encoder.Past(s, false), s.Next
	}
	var s standIns
	if by, ok := t.encoder.(timed); ok {
		s = by.standIns()
	}
	h, err := t.config.pad(histories, 0, s)
	return h, next, err
}

// targets makes a batch that predicts what follows: the next item, or with AllPositions every
// item's successor, or of a model that masks items the successors that are drawn. Negatives are
// drawn uniformly from the items that are neither in the history nor next; where there are none,
// from all.
func (c Config) targets(h cgo.Histories, next []int32, random *rand.Rand) cgo.RecommenderBatch {
	batch := cgo.RecommenderBatch{Histories: h, Targets: make([]int32, len(h.Items)), Dropout: float32(c.Dropout),
		TargetDiscount: c.targetDiscount()}
	masked := c.masked()
	if c.Negatives > 0 {
		batch.Negatives = make([]int32, len(h.Items)*c.Negatives)
	}
	for b, length := range h.Lengths {
		first, last := b*c.Positions, b*c.Positions+int(length)-1
		history := h.Items[first : last+1]
		for t := first; t < first+c.Positions; t++ {
			switch {
			case t == last:
				batch.Targets[t] = next[b]
			case t < last && (c.AllPositions || masked > 0 && random.Float64() < masked):
				batch.Targets[t] = h.Items[t+1]
			default:
				batch.Targets[t] = -1
				continue
			}
			for n := range c.Negatives {
				negative := random.Int32N(int32(c.Items))
				for len(history)+1 < c.Items && (negative == next[b] || slices.Contains(history, negative)) {
					negative = random.Int32N(int32(c.Items))
				}
				batch.Negatives[t*c.Negatives+n] = negative
			}
		}
	}
	return batch
}

// targetDiscount is 1 − β of gBCE (Petrov and Macdonald 2023, arXiv 2308.07192): with the share α
// of the other items that is drawn, β = α(t(1 − 1/α) + 1/α) = 1 − t(1 − α).
func (c Config) targetDiscount() float32 {
	share := min(1, float64(c.Negatives)/float64(max(1, c.Items-1)))
	return float32(c.Calibration * (1 - share))
}

// part is that of a batch's histories from one up to another.
func (c Config) part(b cgo.RecommenderBatch, from, to int, seed uint64) cgo.RecommenderBatch {
	first, end := from*c.Positions, to*c.Positions
	b.Histories.Items, b.Histories.Lengths = b.Histories.Items[first:end], b.Histories.Lengths[from:to]
	b.Targets, b.Seed = b.Targets[first:end], seed
	if b.Negatives != nil {
		b.Negatives = b.Negatives[first*c.Negatives : end*c.Negatives]
	}
	return b
}

// partOfNoised is that of a diffusion's batch.
func (c Config) partOfNoised(b cgo.DiffusionBatch, from, to int, seed uint64) cgo.DiffusionBatch {
	b.Histories.Items, b.Histories.Lengths = b.Histories.Items[from*c.Positions:to*c.Positions], b.Histories.Lengths[from:to]
	b.Targets, b.Steps, b.Unconditional = b.Targets[from:to], b.Steps[from:to], b.Unconditional[from:to]
	b.Noise, b.Seed = b.Noise[from*c.Width:to*c.Width], seed
	return b
}

// draw adds the items of a sampled softmax: half of them, as the draws fall, items that follow in
// training, the others any. Each offset corrects for the probability q of its item, −log(n·q) for n
// items, so that the expected loss has the gradient of the full softmax where n is large (Bengio
// and Senécal 2008, doi 10.1109/TNN.2007.912312).
func (t *trainer) draw(batch *cgo.RecommenderBatch, random *rand.Rand) {
	n := t.config.Sampled
	if n == 0 {
		return
	}
	batch.Shared, batch.SharedOffsets = make([]int32, n), make([]float32, n)
	for i := range batch.Shared {
		item := random.Int32N(int32(t.config.Items))
		if random.Uint64()&1 == 0 {
			item = t.split.Train[random.IntN(len(t.split.Train))].Next
		}
		q := 0.5/float64(t.config.Items) + 0.5*float64(t.followed[item])/float64(len(t.split.Train))
		batch.Shared[i], batch.SharedOffsets[i] = item, float32(-math.Log(float64(n)*q))
	}
}

// noised makes a batch of a diffusion: for each history a step of the diffusion, its noise, and
// whether guidance is dropped.
func (c Config) noised(h cgo.Histories, next []int32, random *rand.Rand) cgo.DiffusionBatch {
	n, d := len(next), c.Diffusion()
	batch := cgo.DiffusionBatch{Histories: h, Targets: next, Steps: make([]int32, n), Unconditional: make([]int32, n),
		Noise: make([]float32, n*c.Width), Dropout: float32(c.Dropout)}
	for i := range batch.Steps {
		batch.Steps[i] = random.Int32N(int32(d.Steps))
		if random.Float64() < d.Drop {
			batch.Unconditional[i] = 1
		}
	}
	for i := range batch.Noise {
		batch.Noise[i] = float32(random.NormFloat64())
	}
	return batch
}

// endEpoch records an epoch, keeps its weights if they are the best, and saves and logs the state
// of the run.
func (t *trainer) endEpoch(ctx context.Context, metrics Metrics) error {
	at := t.cursor.Under
	e := Epoch{Epoch: len(t.cursor.Epochs) + 1, Loss: at.Loss / float64(at.Steps), HR10: metrics.HR[10], NDCG10: metrics.NDCG[10],
		Seconds: at.Seconds + t.validation.Seconds()}
	if n := len(t.cursor.Epochs); n > 0 {
		e.Seconds += t.cursor.Epochs[n-1].Seconds
	}
	var err error
	if e.Seconds, err = t.group.First(ctx, e.Seconds); err != nil { // all ranks stop by the same clock
		return t.stopped(err)
	}
	t.cursor.Under = underWay{}
	best := t.cursor.best()
	e.Best = best == nil || e.HR10 > best.HR10 || e.HR10 == best.HR10 && e.NDCG10 > best.NDCG10
	t.cursor.Epochs = append(t.cursor.Epochs, e)
	if e.Best {
		if err := t.best.Keep(t.model); err != nil {
			return err
		}
		t.cursor.Metrics = metrics
	}
	if err := t.save(); err != nil {
		return err
	}
	if t.log == nil {
		return nil
	}
	if err := t.log.Append(e); err != nil {
		return fmt.Errorf("recommender: the log: %w", err)
	}
	return nil
}

// openLog begins the log with the epochs that are over.
func (t *trainer) openLog() (err error) {
	if t.opts.LogPath == "" || !t.group.Writes() {
		return nil
	}
	if t.log, err = artifact.OpenLines(t.opts.LogPath, 0); err != nil {
		return fmt.Errorf("recommender: the log: %w", err)
	}
	for _, e := range t.cursor.Epochs {
		if err := t.log.Append(e); err != nil {
			return fmt.Errorf("recommender: the log: %w", err)
		}
	}
	return nil
}

// stopped saves a run that was told to stop, so that it can go on later.
func (t *trainer) stopped(err error) error {
	epoch, step := len(t.cursor.Epochs)+1, t.cursor.Under.Steps
	if t.opts.CheckpointPath == "" {
		return fmt.Errorf("recommender: stopped in epoch %d: %w", epoch, err)
	}
	if failed := t.save(); failed != nil {
		return errors.Join(err, failed)
	}
	return artifact.Resumable(fmt.Errorf("recommender: stopped after step %d of epoch %d and saved: %w", step, epoch, err))
}
