package complexstep

// ProbeScores are the scores [n, C] that a probe gives inputs [n, width]: weight·x + bias, or with a hidden layer
// w2·GELU(w1·x + b1) + b2.
func ProbeScores(p Params, inputs []float32, width int) []complex128 {
	x := rowsOf(Lift(inputs), width)
	if p["w1"] == nil {
		return linear(x, p["weight"], p["bias"]).Data
	}
	return linear(each(linear(x, p["w1"], p["b1"]), geluErf), p["w2"], p["b2"]).Data
}

// ProbeLoss is the mean of −log softmax(scores)[target].
func ProbeLoss(p Params, inputs []float32, targets []int32) complex128 {
	n := len(targets)
	scores := ProbeScores(p, inputs, len(inputs)/n)
	var loss complex128
	for i, target := range targets {
		loss -= logProbability(scores[i*len(scores)/n:][:len(scores)/n], int(target)) / complex(float64(n), 0)
	}
	return loss
}
