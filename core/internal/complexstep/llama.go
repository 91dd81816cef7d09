package complexstep

import (
	"cmp"
	"fmt"
	"math"
	"math/cmplx"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/cblas128"
)

// LlamaShape sizes a LLaMA, or an LLM that differs from one as the other fields say. Its tensors go
// by their GGUF names ("token_embd.weight", "blk.0.attn_q.weight", …), with the query and key rows
// in the GGUF's order. Without "output.weight" the head is the embedding table; "rope_freqs.weight"
// [HeadDim/2], where present, divides the rotation frequencies. Biases, norms of heads, norms after
// a block and fused projections are used where there are such tensors.
type LlamaShape struct {
	Layers, Embd, Heads, HeadsKV, HeadDim, Vocab int
	RopeBase, RMSEps                             float64

	Halves   bool                       // rotation pairs lie half a head apart, not side by side
	GELU     bool                       // gates the feed-forward layer, not SiLU
	Tokens   float64                    // scale of the rows of tokens; 0: 1
	Inputs   float64                    // scale of all inputs; 0: 1
	Scores   float64                    // scale of attention; 0: 1/√HeadDim
	Branches float64                    // scale of what blocks add; 0: 1
	Logits   float64                    // scale of logits; 0: 1
	Layer    func(layer int) LlamaLayer // what a layer has of its own; nil: nothing
}

// LlamaLayer is the attention of one layer.
type LlamaLayer struct {
	Fixed    bool    // queries and keys are not rotated
	RopeBase float64 // 0: the model's
	Window   int     // positions seen, the own one included; 0: all
}

// AdapterShape sizes an adapter. Hidden is 0 for the linear kind (tensors weight [K·E, In], bias)
// and the hidden units of the others (w1 [Hidden, In], b1, w2 [K·E, Hidden], b2). With Mixed states
// in an input of In numbers it is linear in their mixture (mix [Mixed], weight [K·E, In/Mixed],
// bias). With Entries it looks these up (w1, b1, keys [Entries, Hidden], key_bias, entries [K·E,
// Entries], turn [E, E], bias); with LookUps that many of them, the best first, by scores that are
// constants (entries [Entries, K·E/LookUps], sure [K·E/LookUps]).
type AdapterShape struct {
	In, Hidden, Mixed, Entries, LookUps, Tokens int
}

// LlamaBatch is a batch of samples, laid out as ri_align_batch in the C header.
type LlamaBatch struct {
	Prefix             []int32
	Samples, Positions int
	States             []int32      // [Samples]
	Tokens, Targets    []int32      // [Samples, Positions]
	StateValues        []complex128 // [sum of States, In]
	Weight             float64
}

// AdapterLoss is the mean squared error between the soft tokens of states [n, In] and targets [n,
// K, E].
func AdapterLoss(p Params, a AdapterShape, embd int, states, targets []complex128) complex128 {
	return meanSquaredError(softTokens(p, a, embd, states).Data, targets)
}

// AdapterChoice is the mean of −log softmax(products with all words)[target] over the soft tokens
// of states [n, In]: words [V, E], targets [n, K].
func AdapterChoice(p Params, a AdapterShape, embd int, states, words []complex128, targets []int32) complex128 {
	scores, sum := times(1, softTokens(p, a, embd, states), blas.Trans, rowsOf(words, embd)), complex128(0)
	for i, target := range targets {
		sum = add(sum, -logProbability(row(scores, i), int(target)))
	}
	return sum / complex(float64(len(targets)), 0)
}

// softTokens are the adapter's outputs for the states of a batch, [states·K, E].
func softTokens(p Params, a AdapterShape, embd int, states []complex128) cblas128.General {
	x := rowsOf(states, a.In)
	if a.Mixed > 0 {
		mixed := matrix(x.Rows, a.In/a.Mixed)
		for r := range x.Rows {
			copy(row(mixed, r), times(1, rowsOf(p["mix"], a.Mixed), blas.NoTrans, rowsOf(row(x, r), mixed.Cols)).Data)
		}
		x = mixed
	}
	var y cblas128.General
	switch {
	case a.Hidden == 0:
		y = linear(x, p["weight"], p["bias"])
	case a.Entries > 0:
		bend := gelu
		if a.LookUps > 0 {
			bend = geluErf
		}
		fit := linear(each(linear(x, p["w1"], p["b1"]), bend), p["keys"], p["key_bias"])
		var found []complex128
		for r := range fit.Rows {
			if a.LookUps > 0 {
				found = append(found, lookUp(row(fit, r), rowsOf(p["entries"], a.Tokens*embd/a.LookUps), p["sure"], a.LookUps)...)
				continue
			}
			softmax(row(fit, r))
		}
		if a.LookUps == 0 {
			found = linear(fit, p["entries"], nil).Data
		}
		y = linear(rowsOf(found, embd), p["turn"], nil)
		y = rowsOf(y.Data, a.Tokens*embd)
		for r := range y.Rows {
			addTo(row(y, r), p["bias"])
		}
	default:
		y = linear(each(linear(x, p["w1"], p["b1"]), gelu), p["w2"], p["b2"])
	}
	return rowsOf(y.Data, embd)
}

// lookUp gives the n entries with the best scores, the best first, each plus exp(score − best
// score) times sure; of the scores only the real parts count, so that no derivative goes through
// them.
func lookUp(scores []complex128, entries cblas128.General, sure []complex128, n int) []complex128 {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(real(scores[b]), real(scores[a])) })
	var found []complex128
	for _, entry := range order[:n] {
		for i, x := range row(entries, entry) {
			weight := flReal(math.Exp(real(add(scores[entry], -scores[order[0]]))))
			found = append(found, add(x, scaled(weight, sure[i])))
		}
	}
	return found
}

// rotate turns each pair of each head by position times its frequency (Su et al. 2021, arXiv
// 2104.09864).
func rotate(m cblas128.General, s LlamaShape, base float64, factors []complex128) {
	for position := range m.Rows {
		for i := range m.Cols / 2 {
			pair := i % (s.HeadDim / 2)
			first, apart := 2*i, 1
			if s.Halves {
				first, apart = i/(s.HeadDim/2)*s.HeadDim+pair, s.HeadDim/2
			}
			angle := fl(complex(float64(position)*math.Pow(base, -2*float64(pair)/float64(s.HeadDim)), 0))
			for range pair { // implementations multiply the frequency of one pair to get that of the next
				angle = fl(angle)
			}
			if factors != nil {
				angle /= factors[pair]
			}
			sin, cos := fl(cmplx.Sin(angle)), fl(cmplx.Cos(angle))
			v, next := row(m, position)[first], row(m, position)[first+apart]
			row(m, position)[first] = add(mul(v, cos), -mul(next, sin))
			row(m, position)[first+apart] = add(mul(v, sin), mul(next, cos))
		}
	}
}

// scale multiplies all numbers by a factor; 0 leaves them as they are.
func scale(m cblas128.General, by float64) {
	if by == 0 {
		return
	}
	for r := range m.Rows {
		for i, v := range row(m, r) {
			row(m, r)[i] = scaled(by, v)
		}
	}
}

// normHeads normalises each head by itself, where there are weights for that.
func normHeads(m cblas128.General, s LlamaShape, weight []complex128) cblas128.General {
	if weight == nil {
		return m
	}
	return rowsOf(rmsNorm(rowsOf(m.Data, s.HeadDim), weight, s.RMSEps).Data, m.Cols)
}

// llamaLogits runs embeddings [n, E] through the model: logits [n, Vocab].
func llamaLogits(p Params, s LlamaShape, x cblas128.General) cblas128.General {
	scale(x, s.Inputs)
	for layer := range s.Layers {
		t := func(name string) []complex128 { return p[fmt.Sprintf("blk.%d.%s", layer, name)] }
		dense := func(name string, x cblas128.General) cblas128.General {
			return linear(x, t(name+".weight"), t(name+".bias"))
		}
		// after is what a block adds to its input.
		after := func(y cblas128.General, norm string) cblas128.General {
			if weight := t(norm + ".weight"); weight != nil {
				y = rmsNorm(y, weight, s.RMSEps)
			}
			scale(y, s.Branches)
			return y
		}
		x = sum(x, after(dense("attn_output", mix(s, layer, rmsNorm(x, t("attn_norm.weight"), s.RMSEps), dense, t, p)), "post_attention_norm"))

		in := rmsNorm(x, t("ffn_norm.weight"), s.RMSEps)
		up := dense("ffn_up", in)
		var gate cblas128.General
		if t("ffn_gate.weight") != nil {
			gate = dense("ffn_gate", in)
		} else { // both in one matrix, the gate first
			gate, up = columns(up, 0, up.Cols/2), columns(up, up.Cols/2, up.Cols/2)
		}
		bend := silu
		if s.GELU {
			bend = gelu
		}
		gate = each(gate, bend)
		for r := range gate.Rows {
			for i, v := range row(up, r) {
				row(gate, r)[i] = mul(row(gate, r)[i], v)
			}
		}
		x = sum(x, after(dense("ffn_down", gate), "post_ffw_norm"))
	}
	head, ok := p["output.weight"]
	if !ok {
		head = p["token_embd.weight"]
	}
	logits := linear(rmsNorm(x, p["output_norm.weight"], s.RMSEps), head, nil)
	scale(logits, s.Logits)
	return logits
}

// mix is the attention of a layer, of all heads side by side.
func mix(s LlamaShape, layer int, in cblas128.General, dense func(string, cblas128.General) cblas128.General,
	t func(string) []complex128, p Params) cblas128.General {
	var q, k, v cblas128.General
	if t("attn_qkv.weight") != nil {
		all, width, widthKV := dense("attn_qkv", in), s.Heads*s.HeadDim, s.HeadsKV*s.HeadDim
		q, k, v = columns(all, 0, width), columns(all, width, widthKV), columns(all, width+widthKV, widthKV)
	} else {
		q, k, v = dense("attn_q", in), dense("attn_k", in), dense("attn_v", in)
	}
	q, k = normHeads(q, s, t("attn_q_norm.weight")), normHeads(k, s, t("attn_k_norm.weight"))
	var own LlamaLayer
	if s.Layer != nil {
		own = s.Layer(layer)
	}
	if !own.Fixed {
		base := cmp.Or(own.RopeBase, s.RopeBase)
		rotate(q, s, base, p["rope_freqs.weight"])
		rotate(k, s, base, p["rope_freqs.weight"])
	}
	first := func(i int) int { return max(0, i+1-cmp.Or(own.Window, i+1)) }
	mixed := matrix(in.Rows, s.Heads*s.HeadDim)
	for h := range s.Heads {
		at, atKV := h*s.HeadDim, h/(s.Heads/s.HeadsKV)*s.HeadDim // heads in a row share a key and a value
		head := attendTo(columns(q, at, s.HeadDim), columns(k, atKV, s.HeadDim), columns(v, atKV, s.HeadDim),
			cmp.Or(s.Scores, 1/math.Sqrt(float64(s.HeadDim))), func(i int) (int, int) { return first(i), i + 1 })
		for r := range in.Rows {
			copy(row(mixed, r)[at:], row(head, r))
		}
	}
	return mixed
}

// LlamaLogProbs are log p of each target in row-major order. Each sample runs whole, prefix
// included.
func LlamaLogProbs(p Params, s LlamaShape, a AdapterShape, batch LlamaBatch) []complex128 {
	soft := softTokens(p, a, s.Embd, batch.StateValues)
	var logProbs []complex128
	first := 0 // soft token of the sample
	for b := range batch.Samples {
		tokens, targets := batch.Tokens[b*batch.Positions:][:batch.Positions], batch.Targets[b*batch.Positions:]
		x := matrix(len(batch.Prefix)+len(tokens), s.Embd)
		for i := range x.Rows {
			var token int32
			if i < len(batch.Prefix) {
				token = batch.Prefix[i]
			} else {
				token = tokens[i-len(batch.Prefix)]
			}
			if token >= 0 {
				copy(row(x, i), p["token_embd.weight"][int(token)*s.Embd:][:s.Embd])
				scale(rowsOf(row(x, i), s.Embd), s.Tokens)
			} else {
				copy(row(x, i), row(soft, first-1-int(token)))
			}
		}
		first += int(batch.States[b]) * a.Tokens
		logits := llamaLogits(p, s, x)
		for i := range tokens {
			if targets[i] >= 0 {
				logProbs = append(logProbs, logProbability(row(logits, len(batch.Prefix)+i), int(targets[i])))
			}
		}
	}
	return logProbs
}

// LlamaLoss is weight · Σ −log p(target).
func LlamaLoss(p Params, s LlamaShape, a AdapterShape, batch LlamaBatch) complex128 {
	var total complex128
	for _, logProb := range LlamaLogProbs(p, s, a, batch) {
		total = add(total, -logProb)
	}
	return scaled(batch.Weight, total)
}
