package recommender

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Recommender is a trained model on an engine. It may be used by many goroutines, of which one may
// save it; Close it once.
type Recommender struct {
	model  *cgo.Recommender
	config Config
	origin Origin
	hash   atomic.Pointer[string]
}

// Origin says where a recommender's weights came from.
type Origin struct {
	Dataset    string   // content hash of the data set; "" where the file does not say
	Validation *Metrics // of the chosen epoch; nil where the file does not say
	Epoch      int      // the chosen one; 0 where the file does not say
}

// atOnce is the number of histories in one native call: large enough for speed, small enough to
// stop soon.
const atOnce = 256

// New makes an untrained recommender, the same for the same configuration.
func New(engine *cgo.Engine, c Config) (*Recommender, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	model, err := c.build(engine)
	if err != nil {
		return nil, err
	}
	if err := initialise(&model.Model, c); err != nil {
		model.Close()
		return nil, err
	}
	return &Recommender{model: model, config: c.clone()}, nil
}

// Close releases the model. A second Close does nothing; calls after it fail with cgo.ErrClosed.
func (r *Recommender) Close() error { return r.model.Close() }

// Config is what the recommender is and how it was trained.
func (r *Recommender) Config() Config { return r.config.clone() }

// Name is the model's.
func (r *Recommender) Name() string { return r.config.Model }

// Catalogue is V, the number of items.
func (r *Recommender) Catalogue() int { return r.config.Items }

// StateWidth is W, the numbers in a state.
func (r *Recommender) StateWidth() int { return r.model.Info().StateWidth }

// Generates reports whether the recommender draws oracles and scores these: its states guide them.
func (r *Recommender) Generates() bool { return r.model.Info().Generates }

// Positions is T, the most items of a history that count.
func (r *Recommender) Positions() int { return r.config.Positions }

// Model is the native model, for those who verify or measure it. It belongs to the recommender.
func (r *Recommender) Model() *cgo.Recommender { return r.model }

// Origin says where the weights came from.
func (r *Recommender) Origin() Origin { return r.origin }

// Hash is the content hash of the file that the recommender was loaded from or last saved to; "" if
// there is none.
func (r *Recommender) Hash() string {
	if hash := r.hash.Load(); hash != nil {
		return *hash
	}
	return ""
}

// hashFile remembers the hash of the file of these weights.
func (r *Recommender) hashFile(path string) error {
	hash, err := artifact.HashFile(path)
	if err == nil {
		r.hash.Store(&hash)
	}
	return err
}

// TrainedOn refuses a data set other than the one that the weights were trained on, or, where the
// file does not say which that was, one with another number of items.
func (r *Recommender) TrainedOn(d *dataset.Dataset) error {
	if r.origin.Dataset != "" {
		if hash := d.Hash(); r.origin.Dataset != hash {
			return &artifact.Mismatch{What: "recommender", On: "data set", Want: r.origin.Dataset, Got: hash}
		}
	}
	if len(d.Items) != r.config.Items {
		return fmt.Errorf("recommender: it knows %d items, data set %q has %d; give the data set it was trained on",
			r.config.Items, d.Name, len(d.Items))
	}
	return nil
}

// States writes the state after the last item of each history to dst [len(histories), W]; the
// guidance where the recommender generates. Histories are dense item ids, oldest first, at least
// one each; of a longer one than the model's Positions the last items count. The context is looked
// at between batches. A state that is not finite is an error.
func (r *Recommender) States(ctx context.Context, dst []float32, histories [][]int32) error {
	return r.states(ctx, dst, histories, standIns{}, false)
}

// standIns are what the elements of histories that are below zero stand for: -1-j is number j.
type standIns struct {
	vectors []float32       // [n, D]: virtual items; or
	events  []dataset.Event // items with their times, for a recommender that reads these
}

// states writes the state after the last item of each history, or after each.
func (r *Recommender) states(ctx context.Context, dst []float32, histories [][]int32, s standIns, all bool) error {
	width := r.StateWidth()
	if all {
		width *= r.config.Positions
	}
	return r.run(ctx, dst, width, histories, s, func(dst []float32, h cgo.Histories) error {
		return r.model.States(dst, h, all)
	})
}

// AllStates writes the state after each item of each history to dst [len(histories), T, W], zero
// behind a history's end.
func (r *Recommender) AllStates(ctx context.Context, dst []float32, histories [][]int32) error {
	return r.states(ctx, dst, histories, standIns{}, true)
}

// Virtual encodes histories with virtual items: an id of -1-j stands for row j of vectors in the
// space of item embeddings, such as an oracle.
type Virtual struct {
	recommender *Recommender
	vectors     []float32
}

// WithVectors gives the recommender as an encoder of histories with virtual items, of vectors [n,
// D].
func (r *Recommender) WithVectors(vectors []float32) Virtual { return Virtual{r, vectors} }

// StateWidth is W, the numbers in a state.
func (v Virtual) StateWidth() int { return v.recommender.StateWidth() }

// Positions is T, the most items of a history that count.
func (v Virtual) Positions() int { return v.recommender.Positions() }

// States is Recommender.States.
func (v Virtual) States(ctx context.Context, dst []float32, histories [][]int32) error {
	return v.recommender.states(ctx, dst, histories, standIns{vectors: v.vectors}, false)
}

// AllStates is Recommender.AllStates.
func (v Virtual) AllStates(ctx context.Context, dst []float32, histories [][]int32) error {
	return v.recommender.states(ctx, dst, histories, standIns{vectors: v.vectors}, true)
}

// ItemWidth is D, the numbers in an item's vector.
func (v Virtual) ItemWidth() int { return v.recommender.ItemWidth() }

// Items is Recommender.Items.
func (v Virtual) Items(_ context.Context, dst []float32, histories [][]int32) error {
	return v.recommender.items(dst, histories, standIns{vectors: v.vectors})
}

// ItemWidth is D, the numbers in an item's vector.
func (r *Recommender) ItemWidth() int { return r.config.Width }

// Items writes the vector of the last item of each history to dst [len(histories), D]: its row of
// the table of embeddings.
func (r *Recommender) Items(_ context.Context, dst []float32, histories [][]int32) error {
	return r.items(dst, histories, standIns{})
}

func (r *Recommender) items(dst []float32, histories [][]int32, s standIns) error {
	width := r.config.Width
	if err := checkDst(dst, width, len(histories)); err != nil {
		return err
	}
	batch, err := r.config.pad(histories, 0, s)
	if err != nil {
		return err
	}
	var table []float32 // read when an item needs it
	for i, n := range batch.Lengths {
		from, item := s.vectors, -1-int(batch.Items[i*r.config.Positions+int(n)-1])
		if item < 0 {
			if table == nil {
				if table, err = r.ItemEmbeddings(); err != nil {
					return err
				}
			}
			from, item = table, -1-item
		}
		copy(dst[i*width:(i+1)*width], from[item*width:(item+1)*width])
	}
	return nil
}

// ItemEmbeddings gives the vectors of all items, [V, D].
func (r *Recommender) ItemEmbeddings() ([]float32, error) {
	tensors, err := r.model.Tensors()
	if err != nil {
		return nil, err
	}
	for i, t := range tensors {
		if t.Role == cgo.RoleItems {
			values := make([]float32, t.Elements())
			err := r.model.Read(values, i, cgo.Value)
			return values[:r.config.Items*r.config.Width], err
		}
	}
	return nil, fmt.Errorf("recommender: %s has no table of items", r.config.Model)
}

// Scores writes the scores of all items to dst [len(histories), V]. Histories are as for States;
// items of the history are scored like all others. A recommender that generates scores items by the
// oracles that follow from the configuration's seed.
func (r *Recommender) Scores(ctx context.Context, dst []float32, histories [][]int32) error {
	return r.scores(ctx, dst, histories, 0)
}

// scores numbers oracles from first on.
func (r *Recommender) scores(ctx context.Context, dst []float32, histories [][]int32, first int) error {
	if !r.Generates() {
		return r.run(ctx, dst, r.config.Items, histories, standIns{}, r.model.Scores)
	}
	if err := checkDst(dst, r.config.Items, len(histories)); err != nil {
		return err
	}
	oracles := make([]float32, len(histories)*r.config.Width)
	if err := r.oracles(ctx, oracles, histories, r.config.Seed, first); err != nil {
		return err
	}
	return r.ScoreStates(dst, oracles)
}

// ScoreStates writes the scores of all items to dst [n, V] from states [n, W], or from oracles [n,
// D].
func (r *Recommender) ScoreStates(dst, states []float32) error {
	if err := r.model.ScoreStates(dst, states, len(states)/r.StateWidth()); err != nil {
		return err
	}
	return finite(dst, r.config.Items, 0)
}

// Scored is an item with its score.
type Scored struct {
	Item  int32 // dense id
	Score float32
}

// Highest gives the k items with the highest of the scores [V], best first, without the excluded;
// of equal ones the lower id.
func Highest(scores []float32, k int, excluded []int32) []Scored {
	return appendHighest(make([]Scored, 0, min(max(k, 0), len(scores))), scores, k, excluded)
}

// appendHighest appends them to dst. It goes through the scores once, and keeps the best so far in
// a heap with the worst of them on top.
func appendHighest(dst []Scored, scores []float32, k int, excluded []int32) []Scored {
	first := len(dst)
	for i, score := range scores {
		s := Scored{int32(i), score}
		best := dst[first:]
		full := len(best) >= k
		if full && (k <= 0 || !s.before(best[0])) || slices.Contains(excluded, s.Item) {
			continue
		}
		if full {
			best[0] = s
			sink(best)
			continue
		}
		dst = append(dst, s)
		for at := len(best); at > 0 && dst[first+(at-1)/2].before(dst[first+at]); at = (at - 1) / 2 {
			dst[first+at], dst[first+(at-1)/2] = dst[first+(at-1)/2], dst[first+at]
		}
	}
	for n := len(dst) - 1; n > first; n-- { // the worst of the rest goes to the end
		dst[first], dst[n] = dst[n], dst[first]
		sink(dst[first:n])
	}
	return dst
}

// before says whether s ranks before other.
func (s Scored) before(other Scored) bool {
	return s.Score > other.Score || s.Score == other.Score && s.Item < other.Item
}

// sink restores a heap whose first element may stand too high.
func sink(heap []Scored) {
	for at := 0; ; {
		worst := at
		for child := 2*at + 1; child <= 2*at+2 && child < len(heap); child++ {
			if heap[worst].before(heap[child]) {
				worst = child
			}
		}
		if worst == at {
			return
		}
		heap[at], heap[worst] = heap[worst], heap[at]
		at = worst
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

// Past gives a sequence's history, with the next item at its end or without it.
func (r *Recommender) Past(s dataset.Sequence, next bool) []int32 {
	if next {
		return append(slices.Clip(s.History), s.Next)
	}
	return s.History
}

func checkDst(dst []float32, width, histories int) error {
	if len(dst) != histories*width {
		return fmt.Errorf("recommender: dst has %d numbers; %d histories need %d for each", len(dst), histories, width)
	}
	return nil
}

// run computes width numbers for each history, batch by batch.
func (r *Recommender) run(ctx context.Context, dst []float32, width int, histories [][]int32, s standIns,
	compute func(dst []float32, h cgo.Histories) error) error {
	if err := checkDst(dst, width, len(histories)); err != nil {
		return err
	}
	for from := 0; from < len(histories); from += atOnce {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := min(from+atOnce, len(histories))
		batch, err := r.config.pad(histories[from:to], from, s)
		if err != nil {
			return err
		}
		part := dst[from*width : to*width]
		if err := compute(part, batch); err != nil {
			return err
		}
		if err := finite(part, width, from); err != nil {
			return err
		}
	}
	return nil
}

// finite refuses numbers that a broken model gives: so many for each row, of which the first has a
// number, for the message.
func finite(values []float32, width, first int) error {
	const special = 0x7f800000 // the exponent of NaN and the infinities
	for i, x := range values {
		if math.Float32bits(x)&special == special {
			return fmt.Errorf("recommender: the model gives NaN or infinity for history %d; its weights are broken, train it again: %w",
				first+i/width, cgo.ErrNumeric)
		}
	}
	return nil
}

// pad lays out histories for the core. first is the number of the first one, for messages.
func (c Config) pad(histories [][]int32, first int, s standIns) (cgo.Histories, error) {
	h := cgo.Histories{Items: make([]int32, 0, len(histories)*c.Positions), Lengths: make([]int32, len(histories)), Vectors: s.vectors}
	if c.Timed() {
		h.Times = make([]int64, cap(h.Items))
	}
	for i, history := range histories {
		history = history[max(0, len(history)-c.Positions):]
		if len(history) == 0 {
			return h, fmt.Errorf("recommender: history %d is empty; at least one item is needed", first+i)
		}
		for _, item := range history {
			switch number := -1 - int(item); {
			case item < 0 && number < len(s.events):
				item, h.Times[len(h.Items)] = s.events[number].Item, s.events[number].Time
			case h.Times != nil:
				return h, ErrNoTimes
			case item < 0 && number < len(s.vectors)/c.Width:
			default:
				if err := checkItem(item, c.Items); err != nil {
					return h, fmt.Errorf("recommender: history %d: %w", first+i, err)
				}
			}
			h.Items = append(h.Items, item)
		}
		h.Lengths[i] = int32(len(history))
		for range c.Positions - len(history) {
			h.Items = append(h.Items, int32(c.Items))
		}
	}
	return h, nil
}

// checkItem refuses an id outside a catalogue of so many items.
func checkItem(item int32, items int) error {
	if item < 0 || int(item) >= items {
		return fmt.Errorf("item %d; the catalogue has items 0 to %d, is it another data set's?", item, items-1)
	}
	return nil
}
