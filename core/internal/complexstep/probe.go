package complexstep

// ProbeScores are the scores [n, C] that a probe gives inputs [n, width]: weight·x + bias, or with
// a hidden layer w2·GELU(w1·x + b1) + b2.
func ProbeScores(p Params, inputs []float32, width int) []complex128 {
	x := rowsOf(Lift(inputs), width)
	if p["w1"] == nil {
		return linear(x, p["weight"], p["bias"]).Data
	}
	return linear(each(linear(x, p["w1"], p["b1"]), geluErf), p["w2"], p["b2"]).Data
}

// ProbeLoss is the mean of −log softmax(scores)[target] over the targets [n, each] of inputs [n,
// width], of which −1 is none.
func ProbeLoss(p Params, inputs []float32, width int, targets []int32) complex128 {
	n := len(inputs) / width
	scores := ProbeScores(p, inputs, width)
	var loss, count complex128
	for i, target := range targets {
		if target >= 0 {
			input := i / (len(targets) / n)
			loss = add(loss, -logProbability(scores[input*len(scores)/n:][:len(scores)/n], int(target)))
			count++
		}
	}
	return fl(loss / count)
}
