package complexstep

import "gonum.org/v1/gonum/blas/cblas128"

// Recommender is a sequential recommender of one shape. Its tensors go by the names of the authors'
// published weights.
type Recommender interface {
	// Tensors gives the element count of each parameter.
	Tensors() map[string]int
	// layout is V, the items; D, the width of their embeddings; T, the most positions of a history.
	layout() (items, width, positions int)
	// table names the parameter that holds the items' embeddings, row by row.
	table() string
	// encode gives the state after each item of a history x [length, D] without padding: [length,
	// W].
	encode(p Params, x cblas128.General) cblas128.General
	// head scores the catalogue from a state: weight [V, W] and bias [V], or nil.
	head(p Params) (weight, bias []complex128)
}

// masking is a recommender that learns from several hidden items of a history at once.
type masking interface {
	// encodeHidden gives what the encoder says after each item of a history x [length, D] in which
	// the items at hidden positions are masks: [length, W].
	encodeHidden(p Params, x cblas128.General, hidden []bool) cblas128.General
}

// timed is a recommender that may read the times of a history's items.
type timed interface {
	// encodeAt is encode for items at those times.
	encodeAt(p Params, x cblas128.General, times []int64) cblas128.General
}

// Histories are B histories, laid out as ri_histories in the C header.
type Histories struct {
	Items   []int32   // [B, T]: an item, or -1-j for row j of Vectors; values after a history are not read
	Lengths []int32   // [B]
	Vectors []float32 // [n, D]: each stands for an item
	Times   []int64   // [B, T]: of the items, for a recommender that reads them
}

// Batch is histories and what to predict from them, laid out as ri_recommender_batch in the C
// header.
type Batch struct {
	Histories
	Targets   []int32 // [B, T]: an item, or -1
	Negatives []int32 // [B, T, N]: items that did not follow, read at targets only; nil: a softmax

	// Of a sampled softmax: the items that every target is compared with, and what is added to the
	// score of each; nil: over all items.
	Shared        []int32
	SharedOffsets []float32

	TargetDiscount float32 // with negatives: by how much less than a negative a target counts
}

// embedded is history b as its items' embeddings, [length, D].
func embedded(m Recommender, p Params, h Histories, b int) cblas128.General {
	_, width, positions := m.layout()
	x := matrix(int(h.Lengths[b]), width)
	for t := range x.Rows {
		if item := int(h.Items[b*positions+t]); item >= 0 {
			copy(row(x, t), p[m.table()][item*width:])
		} else {
			copy(row(x, t), Lift(h.Vectors[(-1-item)*width:][:width]))
		}
	}
	return x
}

// encodeHistory gives the state after each item of history b, [length, W].
func encodeHistory(m Recommender, p Params, h Histories, b int) cblas128.General {
	x := embedded(m, p, h, b)
	if timed, ok := m.(timed); ok && h.Times != nil {
		_, _, positions := m.layout()
		return timed.encodeAt(p, x, h.Times[b*positions:][:x.Rows])
	}
	return m.encode(p, x)
}

// learnt gives what is learnt from in place of the states of history b, [length, W]: a recommender
// that masks items sees none that is a target.
func learnt(m Recommender, p Params, batch Batch, b int) cblas128.General {
	masks, ok := m.(masking)
	if !ok {
		return encodeHistory(m, p, batch.Histories, b)
	}
	_, _, positions := m.layout()
	hidden := make([]bool, batch.Lengths[b])
	for t := range len(hidden) - 1 {
		hidden[t+1] = batch.Targets[b*positions+t] >= 0
	}
	return masks.encodeHidden(p, embedded(m, p, batch.Histories, b), hidden)
}

// States are the states after each item, [B, T, W], zero at padding. Of DreamRec they are the
// guidance.
func States(m Recommender, p Params, h Histories) []complex128 {
	_, _, positions := m.layout()
	var states []complex128
	for b := range h.Lengths {
		x := encodeHistory(m, p, h, b)
		states = append(states, x.Data...)
		states = append(states, make([]complex128, (positions-x.Rows)*x.Cols)...)
	}
	return states
}

// LastStates are the states after the last item of each history, [B, W].
func LastStates(m Recommender, p Params, h Histories) []complex128 {
	var states []complex128
	for b := range h.Lengths {
		x := encodeHistory(m, p, h, b)
		states = append(states, row(x, x.Rows-1)...)
	}
	return states
}

// ScoreStates scores all items from states [n, W], or from DreamRec's oracles [n, D]: [n, V].
func ScoreStates(m Recommender, p Params, states []complex128) []complex128 {
	weight, bias := m.head(p)
	items, _, _ := m.layout()
	return linear(rowsOf(states, len(weight)/items), weight, bias).Data
}

// Scores are the scores of all items after the last item of each history, [B, V]. DreamRec scores
// oracles instead.
func Scores(m Recommender, p Params, h Histories) []complex128 {
	return ScoreStates(m, p, LastStates(m, p, h))
}

// Loss is the mean over the targets of a batch of the full-softmax cross-entropy or, with
// negatives, of −(1 − discount) log σ(score of the target) − Σ log(1 − σ(score of a negative))
// (Kang and McAuley 2018, eq. 7; Petrov and Macdonald 2023, arXiv 2308.07192), or, with shared
// items, of the cross-entropy over the target and those of them that are not the target. DreamRec
// has its own.
func Loss(m Recommender, p Params, batch Batch) complex128 {
	_, _, positions := m.layout()
	weight, bias := m.head(p)
	negatives := len(batch.Negatives) / len(batch.Targets)
	var total, n complex128
	for b := range batch.Lengths {
		scores := linear(learnt(m, p, batch, b), weight, bias)
		for t := range scores.Rows {
			at, of := b*positions+t, row(scores, t)
			target := batch.Targets[at]
			if target < 0 {
				continue
			}
			n++
			if len(batch.Shared) > 0 {
				compared := []complex128{of[target]}
				for i, item := range batch.Shared {
					if item != target {
						compared = append(compared, add(of[item], complex(float64(batch.SharedOffsets[i]), 0)))
					}
				}
				total = add(total, -logProbability(compared, 0))
				continue
			}
			if negatives == 0 {
				total = add(total, -logProbability(of, int(target)))
				continue
			}
			total = add(total, -scaled(1-float64(batch.TargetDiscount), logSigmoid(of[target])))
			for _, negative := range batch.Negatives[at*negatives:][:negatives] {
				total = add(total, -logSigmoid(-of[negative])) // 1 − σ(s) = σ(−s)
			}
		}
	}
	return fl(total / n)
}
