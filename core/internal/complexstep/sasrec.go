package complexstep

import "gonum.org/v1/gonum/blas/cblas128"

// layerNormEps is PyTorch's default, with which the authors' weights were trained.
const layerNormEps = 1e-5

// SASRecShape sizes a SASRec of one block.
type SASRecShape struct {
	Items     int // V; id V is padding
	Width     int // D
	Positions int // T
	Heads     int
}

// SASRecBatch is B histories and what to predict from them.
type SASRecBatch struct {
	Items   []int32 // [B, T], right-padded with V
	Lengths []int32 // [B]
	Targets []int32 // [B, T]: an item, or -1
}

// SASRecTensors gives the element count of each parameter under its name in the authors' published weights.
func SASRecTensors(s SASRecShape) map[string]int {
	d := s.Width
	sizes := map[string]int{
		"item_embeddings.weight":       (s.Items + 1) * d,
		"positional_embeddings.weight": s.Positions * d,
		"s_fc.weight":                  s.Items * d,
		"s_fc.bias":                    s.Items,
	}
	for _, norm := range []string{"ln_1", "ln_2", "ln_3", "feed_forward.layer_norm"} {
		sizes[norm+".weight"], sizes[norm+".bias"] = d, d
	}
	for _, dense := range []string{
		"mh_attn.linear_q", "mh_attn.linear_k", "mh_attn.linear_v", "feed_forward.w_1", "feed_forward.w_2",
	} {
		sizes[dense+".weight"], sizes[dense+".bias"] = d*d, d
	}
	return sizes
}

// sasrecStates encodes one history: the state after each of its positions [T, D]; rows at padding mean nothing.
func sasrecStates(p Params, s SASRecShape, items []int32, length int) cblas128.General {
	dense := func(name string, x cblas128.General) cblas128.General {
		return linear(x, p[name+".weight"], p[name+".bias"])
	}
	norm := func(name string, x cblas128.General) cblas128.General {
		return layerNorm(x, p[name+".weight"], p[name+".bias"], layerNormEps)
	}
	mask := func(x cblas128.General) {
		for t := length; t < s.Positions; t++ {
			clear(row(x, t))
		}
	}

	x := matrix(s.Positions, s.Width)
	for t, item := range items {
		copy(row(x, t), p["item_embeddings.weight"][int(item)*s.Width:][:s.Width])
		addTo(row(x, t), p["positional_embeddings.weight"][t*s.Width:][:s.Width])
	}
	mask(x)

	queries := norm("ln_1", x)
	q, k, v := dense("mh_attn.linear_q", queries), dense("mh_attn.linear_k", x), dense("mh_attn.linear_v", x)
	y := matrix(s.Positions, s.Width)
	width := s.Width / s.Heads
	for h := range s.Heads {
		head := attend(columns(q, h*width, width), columns(k, h*width, width), columns(v, h*width, width), length)
		for t := range s.Positions {
			copy(row(y, t)[h*width:], row(head, t))
		}
	}
	y = norm("ln_2", sum(y, queries))
	inner := dense("feed_forward.w_2", each(dense("feed_forward.w_1", y), relu))
	x = norm("feed_forward.layer_norm", sum(inner, y))
	mask(x)
	return norm("ln_3", x)
}

// SASRecState is the state after the last item of one history, [D].
func SASRecState(p Params, s SASRecShape, items []int32, length int) []complex128 {
	return row(sasrecStates(p, s, items, length), length-1)
}

// SASRecScores are the scores of all items after the last item of one history, [V].
func SASRecScores(p Params, s SASRecShape, items []int32, length int) []complex128 {
	state := cblas128.General{Rows: 1, Cols: s.Width, Stride: s.Width, Data: SASRecState(p, s, items, length)}
	return linear(state, p["s_fc.weight"], p["s_fc.bias"]).Data
}

// SASRecLoss is the mean full-softmax cross-entropy over the targets of a batch.
func SASRecLoss(p Params, s SASRecShape, batch SASRecBatch) complex128 {
	var total, n complex128
	for b, length := range batch.Lengths {
		history, targets := batch.Items[b*s.Positions:][:s.Positions], batch.Targets[b*s.Positions:][:s.Positions]
		scores := linear(sasrecStates(p, s, history, int(length)), p["s_fc.weight"], p["s_fc.bias"])
		for t, target := range targets {
			if target >= 0 {
				total -= logProbability(row(scores, t), int(target))
				n++
			}
		}
	}
	return total / n
}
