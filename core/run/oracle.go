package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// errNoRecommender is why there are no oracles and no virtual items.
var errNoRecommender = errors.New("run: this needs the weights of a recommender, and the run's states come from a file of states or an ONNX " +
	"model; train a run with weights")

// Oracle is a recommender's vector for the ideal next item after a history, put into words. With a
// prompt for the last item the vector stands at the end of the history as a virtual item; the item
// prompt reads it by itself.
type Oracle struct {
	History []string      `json:"history" doc:"Titles, oldest first."`
	Next    string        `json:"next,omitempty" doc:"The item that came next, of test sequences."`
	Own     string        `json:"own,omitempty" doc:"What the LLM says of that item's own embedding in the oracle's place."`
	Words   string        `json:"words" doc:"What the LLM says, free."`
	Titles  []ScoredTitle `json:"titles" doc:"The likeliest titles, with their probability under the LLM."`
	Nearest []ScoredTitle `json:"nearest" doc:"The items whose embeddings fit the vector best, with their scores."`
}

// ScoredTitle is a title with a number that ranks it.
type ScoredTitle struct {
	Title string  `json:"title"`
	Score float64 `json:"score"`
}

// Oracles draws an oracle after each history (dense item ids, oldest first) and puts it into words.
// Oracle number i follows from the seed and i.
func (r *Run) Oracles(ctx context.Context, histories [][]int32, seed uint64) ([]Oracle, error) {
	if r.Recommender == nil {
		return nil, errNoRecommender
	}
	vectors := make([]float32, len(histories)*r.Recommender.Config().Width)
	if err := r.Recommender.Oracles(ctx, vectors, histories, seed); err != nil {
		return nil, err
	}
	return r.describe(ctx, histories, vectors)
}

// describe puts oracles [len(histories), D] into words.
func (r *Run) describe(ctx context.Context, histories [][]int32, vectors []float32) ([]Oracle, error) {
	states, err := r.Appended(ctx, histories, vectors)
	if err != nil {
		return nil, err
	}
	words, err := r.Interpreter.Answer(ctx, states)
	if err != nil {
		return nil, err
	}
	ranked, err := r.ranker(Places)(ctx, states)
	if err != nil {
		return nil, err
	}
	width := r.Recommender.Config().Width
	oracles := make([]Oracle, len(histories))
	for i, history := range histories {
		if oracles[i], err = r.Oracle(history, vectors[i*width:(i+1)*width], words[i], ranked[i]); err != nil {
			return nil, err
		}
	}
	return oracles, nil
}

// Oracle tells of an oracle [D] what the LLM has said, the likeliest titles, and the items that fit
// it best.
func (r *Run) Oracle(history []int32, vector []float32, words prompt.Answer, ranked []prompt.Answer) (Oracle, error) {
	o := Oracle{History: r.Titles(history), Words: words.Text}
	for _, a := range ranked {
		o.Titles = append(o.Titles, ScoredTitle{a.Text, math.Exp(a.LogProb)})
	}
	scores := make([]float32, len(r.Data.Items))
	err := r.Recommender.ScoreStates(scores, vector)
	for _, s := range recommender.Highest(scores, Places, nil) {
		o.Nearest = append(o.Nearest, ScoredTitle{r.Data.Items[s.Item].Title, float64(s.Score)})
	}
	return o, err
}

// Appended gives the states of histories, each with a vector [D] in the space of item embeddings as
// its last item.
func (r *Run) Appended(ctx context.Context, histories [][]int32, vectors []float32) ([]prompt.States, error) {
	if r.Recommender == nil {
		return nil, errNoRecommender
	}
	if !r.Task.Title {
		return nil, fmt.Errorf("run: a vector is read by a prompt that asks for the last item; this run's asks for the %s", r.Task.Asks)
	}
	longer := make([][]int32, len(histories))
	for i, history := range histories {
		longer[i] = append(slices.Clip(history), int32(-1-i))
	}
	return r.States(ctx, r.Recommender.WithVectors(vectors), longer)
}

// OracleResult is what became of the oracles of test sequences.
type OracleResult struct {
	Label     string         `json:"label"`
	N         int            `json:"n"`
	Seed      uint64         `json:"seed"`
	Valid     evaluate.Share `json:"valid"`      // whose words are a title of the catalogue
	Nearest   evaluate.Share `json:"nearest"`    // whose words are the item whose embedding fits best
	Next      evaluate.Share `json:"next"`       // whose words are the item that came next
	NextAmong evaluate.Share `json:"next_among"` // one of whose likeliest titles is the item that came next
	Sanity    evaluate.Share `json:"sanity"`     // items that are named from their own embedding in the oracle's place
	Oracles   []Oracle       `json:"oracles"`
}

// EvaluateOracles draws oracles for the histories of test sequences (n of them drawn by the seed;
// all if n is 0), and beside them puts the embeddings of the items that came next through the same
// path. What is finished is kept in a file, from which the next call goes on; a file that is about
// something else is refused.
func (r *Run) EvaluateOracles(ctx context.Context, n int, seed uint64, path string, progress func(done, total int)) (_ *OracleResult, err error) {
	if r.Recommender == nil {
		return nil, errNoRecommender
	}
	defer func() { err = artifact.Resumable(err) }()
	lock, err := artifact.Claim(path)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	sequences := r.testSequences(n, seed)
	result := &OracleResult{Label: r.label(), N: len(sequences), Seed: seed}
	if err := result.takeUp(path); err != nil {
		return nil, err
	}
	if len(result.Oracles) == len(sequences) {
		return result, nil
	}
	embeddings, err := r.Recommender.ItemEmbeddings()
	if err != nil {
		return nil, err
	}
	histories, width := recommender.Histories(sequences), r.Recommender.Config().Width
	vectors := make([]float32, len(histories)*width)
	if err := r.Recommender.Oracles(ctx, vectors, histories, seed); err != nil {
		return nil, err
	}
	known := evaluate.NewTitles(r.catalogue())
	const atOnce = 64
	for first := len(result.Oracles); first < len(sequences); first = len(result.Oracles) {
		last := min(len(sequences), first+atOnce)
		oracles, err := r.describe(ctx, histories[first:last], vectors[first*width:last*width])
		if err != nil {
			return nil, err
		}
		var own []float32 // the next items' embeddings
		for _, s := range sequences[first:last] {
			own = append(own, embeddings[int(s.Next)*width:int(s.Next+1)*width]...)
		}
		states, err := r.Appended(ctx, histories[first:last], own)
		if err != nil {
			return nil, err
		}
		named, err := r.Interpreter.Answer(ctx, states)
		if err != nil {
			return nil, err
		}
		for i := range oracles {
			oracles[i].Next = r.Data.Items[sequences[first+i].Next].Title
			oracles[i].Own = named[i].Text
		}
		result.Oracles = append(result.Oracles, oracles...)
		result.count(known)
		if err := result.write(path); err != nil {
			return nil, err
		}
		if progress != nil {
			progress(len(result.Oracles), len(sequences))
		}
	}
	return result, nil
}

// takeUp reads what an earlier call has left.
func (o *OracleResult) takeUp(path string) error {
	var kept OracleResult
	err := artifact.ReadJSON(path, &kept, artifact.AnyKeys)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("run: the oracles: %w; move the file away to start again", err)
	}
	was, is := OracleResult{Label: kept.Label, N: kept.N, Seed: kept.Seed}, OracleResult{Label: o.Label, N: o.N, Seed: o.Seed}
	if differs := artifact.Difference(was, is); differs != "" || len(kept.Oracles) > o.N {
		return fmt.Errorf("run: %s holds other oracles than those of this run and seed (%s); move it away to start again", path,
			cmp.Or(differs, "too many of them"))
	}
	*o = kept
	return nil
}

func (o *OracleResult) write(path string) error {
	return artifact.WriteAtomic(path, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(o)
	})
}

// count sums up what the oracles so far say.
func (o *OracleResult) count(known evaluate.Titles) {
	share := func(hit func(Oracle) bool) evaluate.Share {
		n := 0
		for _, oracle := range o.Oracles {
			if hit(oracle) {
				n++
			}
		}
		return evaluate.NewShare(n, len(o.Oracles))
	}
	o.Valid = share(func(x Oracle) bool { return known.Has(x.Words) })
	o.Nearest = share(func(x Oracle) bool { return evaluate.Exact(x.Words, x.Nearest[0].Title) })
	o.Next = share(func(x Oracle) bool { return evaluate.Exact(x.Words, x.Next) })
	o.NextAmong = share(func(x Oracle) bool {
		return slices.ContainsFunc(x.Titles, func(t ScoredTitle) bool { return evaluate.Exact(t.Title, x.Next) })
	})
	o.Sanity = share(func(x Oracle) bool { return evaluate.Exact(x.Own, x.Next) })
}

// testSequences are n of the test sequences, drawn by the seed; all if n is 0.
func (r *Run) testSequences(n int, seed uint64) []dataset.Sequence {
	var sequences []dataset.Sequence
	for _, at := range draw(len(r.Split.Test), n, seed) {
		sequences = append(sequences, r.Split.Test[at])
	}
	return sequences
}

// Choices gives the titles of the first recommendations of another recommender for the histories
// that oracles were drawn for.
func (r *Run) Choices(ctx context.Context, oracles *OracleResult, other *recommender.Recommender) ([]string, error) {
	if err := other.TrainedOn(r.Data); err != nil {
		return nil, err
	}
	best, err := recommender.Recommend(ctx, other, recommender.Histories(r.testSequences(oracles.N, oracles.Seed)), 1)
	if err != nil {
		return nil, err
	}
	titles := make([]string, len(best))
	for i, first := range best {
		titles[i] = r.Data.Items[first[0].Item].Title
	}
	return titles, nil
}

// OracleTruth compares oracles in words, and the first recommendations of another recommender, with
// the items that came next: with their titles, and with their genres and decades, where these are
// known.
func (r *Run) OracleTruth(ctx context.Context, oracles *OracleResult, other *recommender.Recommender) (*control.Table, error) {
	choices, err := r.Choices(ctx, oracles, other)
	if err != nil {
		return nil, err
	}
	catalogue, pairs := r.Data.Catalogue(), []control.Pair{{Name: "title"}}
	tests := draw(len(r.Split.Test), oracles.N, oracles.Seed)
	for i, o := range oracles.Oracles {
		record := evaluate.Record{Sample: task.SampleID(tests[i]), Titles: []string{o.Next}, Answer: o.Words}
		pairs[0].Own = append(pairs[0].Own, record)
		record.Answer = choices[i]
		pairs[0].Other = append(pairs[0].Other, record)
	}
	for _, name := range []string{"genres", "decade"} {
		template, err := task.Prompt(name)
		if err != nil {
			return nil, err
		}
		attribute, err := task.Of(template)
		if err != nil {
			return nil, err
		}
		pair := control.Pair{Name: name}
		for i, own := range pairs[0].Own {
			truth := r.attribute(attribute, r.Split.Test[tests[i]].Next)
			if len(truth) == 0 {
				continue // nobody knows it
			}
			of := func(title string) evaluate.Record { // what is no title is wrong
				record := evaluate.Record{Sample: own.Sample, Titles: truth, Answer: "no title of the catalogue"}
				if item, ok := catalogue.Lookup(title); ok {
					record.Answer = strings.Join(r.attribute(attribute, item), "\n")
				}
				return record
			}
			pair.Own, pair.Other = append(pair.Own, of(own.Answer)), append(pair.Other, of(choices[i]))
		}
		if len(pair.Own) > 0 {
			pairs = append(pairs, pair)
		}
	}
	return control.Compare(oracles.Label, pairs, r.UserOf)
}

// UserOf gives the user of a sample of an evaluation.
func (r *Run) UserOf(sample string) (int32, error) {
	s, err := task.TestSequence(r.Split, sample)
	return s.User, err
}
