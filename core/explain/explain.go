package explain

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// Scorer scores all items after histories; a recommender is one. Its scores must depend on the
// history alone.
type Scorer interface {
	Scores(ctx context.Context, dst []float32, histories [][]int32) error
}

// Options configure the search.
type Options struct {
	Items int    // of the catalogue
	Top   int    // k: the first k items before and after the changes must be less alike than sameAgain
	Seed  uint64 // of the choice of replacements
}

// Change is the change of one item of a history.
type Change struct {
	At int   // its place, from 0
	By int32 // the item in its place, or Removed
}

// sameAgain is the likeness at or above which recommendations count as the same. This measure and
// its bound are those of Scarcelli et al. (2025, arXiv 2508.03606), for untargeted explanations
// that look at items and not at their categories.
const sameAgain = 0.5

// likeness compares two lists of recommended items. An item that is in both counts by its place in
// the first list, as in a normalised discounted cumulative gain, and less the further its place has
// moved. Equal lists have likeness 1.
func likeness(before, after []recommender.Scored) float64 {
	gain, most := 0.0, 0.0
	for place, b := range before {
		weight := 1 / math.Log2(float64(place+2))
		most += weight
		if at := slices.IndexFunc(after, func(a recommender.Scored) bool { return a.Item == b.Item }); at >= 0 {
			gain += weight / (1 + math.Abs(float64(at-place)))
		}
	}
	return gain / most
}

// Removed means that no item takes its place.
const Removed = -1

// Explanation is the fewest changes that were found.
type Explanation struct {
	History       []int32
	Changes       []Change // by place; empty if no changes were found
	Before, After []recommender.Scored
	Tried         int // changed histories that were scored
}

// Bounds of the search. Removals are tried by size, all of one size before any of the next, while a
// size has no more than mostRemovals. Beyond that, and for replacements, the search continues from
// the changes that came closest.
const (
	mostRemovals = 256
	closest      = 8
	replacements = 8 // items that are tried in each place: half of them the recommender's last choices, half drawn
)

// attempt is a changed history.
type attempt struct {
	changes  []Change
	likeness float64 // of the new recommendations to the old ones
	lead     float64 // of the scores of the first top k over the best other one: the distance left
	after    []recommender.Scored
}

// removals reports whether an attempt only removes items.
func (a attempt) removals() bool {
	return !slices.ContainsFunc(a.changes, func(c Change) bool { return c.By != Removed })
}

// Find explains the recommendations after a history. Items of the history are recommended neither
// before nor after the changes.
func Find(ctx context.Context, s Scorer, history []int32, o Options) (*Explanation, error) {
	if len(history) == 0 || o.Top < 1 || o.Top >= o.Items-len(history) {
		return nil, fmt.Errorf("explain: the top %d after %d of %d items; the history needs at least one, and more than the top must be left",
			o.Top, len(history), o.Items)
	}
	f := finder{Scorer: s, Options: o, history: history}
	scores := make([]float32, o.Items)
	if err := s.Scores(ctx, scores, [][]int32{history}); err != nil {
		return nil, err
	}
	e := &Explanation{History: history, Before: recommender.Highest(scores, o.Top, history)}
	f.before = e.Before
	f.choose(scores)
	beam := []attempt{{}}
	for size := 1; size <= len(history); size++ {
		attempts, err := f.extend(ctx, beam)
		if err != nil {
			return nil, err
		}
		e.Tried += len(attempts)
		slices.SortStableFunc(attempts, func(a, b attempt) int {
			return cmp.Or(cmp.Compare(a.likeness, b.likeness), cmp.Compare(a.lead, b.lead))
		})
		var best *attempt
		for i, a := range attempts {
			if a.likeness < sameAgain && (best == nil || a.removals() && !best.removals()) {
				best = &attempts[i]
			}
		}
		if best != nil {
			e.Changes, e.After = best.changes, best.after
			return e, nil
		}
		beam = next(attempts)
	}
	return e, nil
}

// next chooses the attempts from which the search continues: all removals, if they are few, and
// those that came closest.
func next(attempts []attempt) (beam []attempt) {
	removals := 0
	for _, a := range attempts {
		if a.removals() {
			removals++
		}
	}
	others := 0
	for _, a := range attempts {
		if all := a.removals() && removals <= mostRemovals; all || others < closest {
			beam = append(beam, a)
			if !all {
				others++
			}
		}
	}
	return beam
}

// finder is a search in progress.
type finder struct {
	Scorer
	Options
	history []int32
	before  []recommender.Scored
	by      []int32 // items that are tried as replacements
}

// choose chooses the items that are tried as replacements: those with the lowest scores, which are
// least like the history, and others.
func (f *finder) choose(scores []float32) {
	order := rand.New(rand.NewPCG(f.Seed, 0)).Perm(f.Items)
	order = slices.DeleteFunc(order, func(item int) bool {
		return slices.Contains(f.history, int32(item)) ||
			slices.ContainsFunc(f.before, func(s recommender.Scored) bool { return s.Item == int32(item) })
	})
	half := min(replacements/2, len(order))
	lowest := order[half:]
	slices.SortStableFunc(lowest, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	for _, item := range slices.Concat(order[:half], lowest[:min(half, len(lowest))]) {
		f.by = append(f.by, int32(item))
	}
}

// atOnce is the number of changed histories that are scored together.
const atOnce = 1024

// extend makes one more change to each attempt, at every place and in every way, and tries the
// results.
func (f *finder) extend(ctx context.Context, beam []attempt) ([]attempt, error) {
	var attempts []attempt
	known := map[string]bool{}
	for _, from := range beam {
		for at := range f.history {
			if slices.ContainsFunc(from.changes, func(c Change) bool { return c.At == at }) {
				continue
			}
			for _, by := range append([]int32{Removed}, f.by...) {
				changes := append(slices.Clone(from.changes), Change{at, by})
				slices.SortFunc(changes, func(a, b Change) int { return a.At - b.At })
				if key := fmt.Sprint(changes); !known[key] && len(f.changed(changes)) > 0 {
					known[key] = true
					attempts = append(attempts, attempt{changes: changes})
				}
			}
		}
	}
	return f.try(ctx, attempts)
}

// try scores the changed histories of attempts.
func (f *finder) try(ctx context.Context, attempts []attempt) ([]attempt, error) {
	scores := make([]float32, min(len(attempts), atOnce)*f.Items)
	for part := range slices.Chunk(attempts, atOnce) {
		histories := make([][]int32, len(part))
		for i, a := range part {
			histories[i] = f.changed(a.changes)
		}
		if err := f.Scores(ctx, scores[:len(part)*f.Items], histories); err != nil {
			return nil, err
		}
		for i := range part {
			f.measure(&part[i], scores[i*f.Items:(i+1)*f.Items])
		}
	}
	return attempts, nil
}

// changed is the history with changes.
func (f *finder) changed(changes []Change) []int32 {
	history := slices.Clone(f.history)
	for _, c := range changes {
		history[c.At] = c.By
	}
	return slices.DeleteFunc(history, func(item int32) bool { return item == Removed })
}

// measure computes how far an attempt is from an explanation.
func (f *finder) measure(a *attempt, scores []float32) {
	a.after = recommender.Highest(scores, f.Top, slices.Concat(f.history, f.changed(a.changes)))
	a.likeness = likeness(f.before, a.after)
	others := a.after[0].Score
	for _, s := range a.after {
		if !slices.ContainsFunc(f.before, func(b recommender.Scored) bool { return b.Item == s.Item }) {
			others = s.Score
			break
		}
	}
	for _, b := range f.before {
		a.lead += float64(scores[b.Item] - others)
	}
}
