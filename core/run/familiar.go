package run

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/states"
)

// Familiarity tells states that an adapter was trained on from others, by their Mahalanobis
// distance: how far a state is from the mean of the training states, in units of how far these
// spread in that direction.
type Familiarity struct {
	Least, Most float64 // familiarShare of the validation states lie between them
	mean        *mat.VecDense
	covariance  *mat.SymDense
	factor      mat.Cholesky // of the covariance
}

// familiarShare is the share of validation states that count as familiar.
const familiarShare = 0.99

// shrinkage is the part of the mean variance that is added to each, so that directions in which
// training states hardly spread do not decide alone.
const shrinkage = 1e-3

// measured is a Familiarity as the run's folder keeps it.
type measured struct {
	Of         string    `json:"of"` // the run's label
	Least      float64   `json:"least"`
	Most       float64   `json:"most"`
	Mean       []float64 `json:"mean"`
	Covariance []float64 `json:"covariance"` // [width, width]
}

// Familiarity measures the states of training and validation sequences, once: the run's folder
// keeps the figures.
func (r *Run) Familiarity(ctx context.Context) (*Familiarity, error) {
	if r.reads == adapter.EachState {
		return nil, errors.New("run: an adapter that reads the state after each item has no single state whose familiarity can be told")
	}
	path := FamiliarityPath(r.dir, r.Task)
	var kept measured
	if artifact.ReadJSON(path, &kept, artifact.KnownKeys) == nil && kept.Of == r.label() && len(kept.Covariance) == len(kept.Mean)*len(kept.Mean) {
		f := &Familiarity{Least: kept.Least, Most: kept.Most, mean: mat.NewVecDense(len(kept.Mean), kept.Mean),
			covariance: mat.NewSymDense(len(kept.Mean), kept.Covariance)}
		if f.factor.Factorize(f.covariance) {
			return f, nil
		}
	}
	f, err := r.measureFamiliarity(ctx)
	if err != nil {
		return nil, err
	}
	width := f.mean.Len()
	kept = measured{r.label(), f.Least, f.Most, f.mean.RawVector().Data, make([]float64, width*width)}
	for i := range width {
		for k := range width {
			kept.Covariance[i*width+k] = f.covariance.At(i, k)
		}
	}
	// Where the folder is not to be written to, the next call measures again.
	_ = artifact.WriteAtomic(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(kept) })
	return f, nil
}

func (r *Run) measureFamiliarity(ctx context.Context) (*Familiarity, error) {
	var parts [2][]prompt.States
	for i, sequences := range [][]int{draw(len(r.Split.Train), mostStates, 1), draw(len(r.Split.Validation), mostStates, 1)} {
		from := r.Split.Train
		if i == 1 {
			from = r.Split.Validation
		}
		var histories [][]int32
		for _, at := range sequences {
			histories = append(histories, r.past(r.Task, from[at], r.Task.Question(r.Facts, from[at], r.Source.Positions())))
		}
		var err error
		if parts[i], err = r.States(ctx, r.Source, histories); err != nil {
			return nil, err
		}
	}
	return newFamiliarity(parts[0], parts[1])
}

func newFamiliarity(train, validation []prompt.States) (*Familiarity, error) {
	width := len(train[0].Values)
	f := &Familiarity{mean: mat.NewVecDense(width, nil), covariance: mat.NewSymDense(width, nil)}
	for _, s := range train {
		f.mean.AddScaledVec(f.mean, 1/float64(len(train)), vector(s))
	}
	var centred mat.VecDense
	for _, s := range train {
		centred.SubVec(vector(s), f.mean)
		f.covariance.SymRankOne(f.covariance, 1/float64(len(train)), &centred)
	}
	spread := mat.Trace(f.covariance) / float64(width)
	for i := range width {
		f.covariance.SetSym(i, i, f.covariance.At(i, i)+shrinkage*spread)
	}
	if !f.factor.Factorize(f.covariance) {
		return nil, errors.New("run: the training states are all the same, so that none is unlike them")
	}
	distances := make([]float64, len(validation))
	for i, s := range validation {
		distances[i] = f.Distance(s)
	}
	slices.Sort(distances)
	aside := int((1 - familiarShare) / 2 * float64(len(distances)))
	f.Least, f.Most = distances[aside], distances[len(distances)-1-aside]
	return f, nil
}

// vector gives the numbers of states in double precision.
func vector(s prompt.States) *mat.VecDense {
	v := mat.NewVecDense(len(s.Values), nil)
	for i, x := range s.Values {
		v.SetVec(i, float64(x))
	}
	return v
}

// Distance is that of states from the training states.
func (f *Familiarity) Distance(s prompt.States) float64 {
	return stat.Mahalanobis(vector(s), f.mean, &f.factor)
}

// Unlike says whether states are unlike those that the adapter was trained on, so that answers
// about them mean little: too far from their mean, or nearer to it than nearly any of them, as
// states are that say nothing.
func (f *Familiarity) Unlike(s prompt.States) bool {
	distance := f.Distance(s)
	return distance > f.Most || distance < f.Least
}

// Abstained is the share of states of a kind that count as unlike the training states.
type Abstained struct {
	States string  `json:"states"`
	N      int     `json:"n"`
	Unlike float64 `json:"unlike"`
}

// Abstentions measures how often states count as unlike the training states: those of n test
// sequences, which should not, and others that are none of this recommender's states, which should.
func (r *Run) Abstentions(ctx context.Context, n int, seed uint64) ([]Abstained, error) {
	if r.Live == nil {
		return nil, states.ErrUnknownHistory
	}
	f, err := r.Familiarity(ctx)
	if err != nil {
		return nil, err
	}
	_, histories, _, err := r.evaluated(n, seed)
	if err != nil {
		return nil, err
	}
	own, err := r.States(ctx, r.Live, histories)
	if err != nil {
		return nil, err
	}
	draws := rand.New(rand.NewPCG(seed, streamControl))
	mixed, noise := make([]prompt.States, len(own)), make([]prompt.States, len(own))
	for i, s := range own {
		mixed[i] = prompt.States{Counts: s.Counts, Values: make([]float32, len(s.Values))}
		noise[i] = prompt.States{Counts: s.Counts, Values: make([]float32, len(s.Values))}
		for k := range s.Values {
			mixed[i].Values[k] = own[draws.IntN(len(own))].Values[k]
			noise[i].Values[k] = float32(f.mean.AtVec(k) + draws.NormFloat64()*math.Sqrt(f.covariance.At(k, k)))
		}
	}
	type kind struct {
		name   string
		states []prompt.States
	}
	kinds := []kind{{"test sequences", own}, {"Gaussian noise of the same means and variances", noise}, {"each number from another test sequence", mixed}}
	if r.Recommender != nil {
		untrained, err := recommender.New(r.encoding, r.Recommender.Config())
		if err != nil {
			return nil, err
		}
		defer untrained.Close()
		other, err := r.States(ctx, untrained, histories)
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, kind{"an untrained recommender", other})
	}
	var all []Abstained
	for _, kind := range kinds {
		unlike := 0
		for _, s := range kind.states {
			if f.Unlike(s) {
				unlike++
			}
		}
		all = append(all, Abstained{kind.name, len(kind.states), float64(unlike) / float64(len(kind.states))})
	}
	return all, nil
}

// streamControl tells the random numbers of these states from others of the same seed.
const streamControl = 17
