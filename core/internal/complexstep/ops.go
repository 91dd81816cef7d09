package complexstep

import (
	"math"
	"math/cmplx"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/cblas128"
)

// matrix is a new rows × cols matrix of zeros.
func matrix(rows, cols int) cblas128.General {
	return cblas128.General{Rows: rows, Cols: cols, Stride: max(1, cols), Data: make([]complex128, rows*cols)}
}

// rowsOf views data as rows of that many columns.
func rowsOf(data []complex128, cols int) cblas128.General {
	return cblas128.General{Rows: len(data) / cols, Cols: cols, Stride: cols, Data: data}
}

// row is a view of row r.
func row(m cblas128.General, r int) []complex128 { return m.Data[r*m.Stride:][:m.Cols] }

// columns is a view of columns [first, first+n).
func columns(m cblas128.General, first, n int) cblas128.General {
	return cblas128.General{Rows: m.Rows, Cols: n, Stride: m.Stride, Data: m.Data[first:]}
}

// times is α·a·b, with b transposed on request.
func times(alpha complex128, a cblas128.General, transpose blas.Transpose, b cblas128.General) cblas128.General {
	n := b.Cols
	if transpose == blas.Trans {
		n = b.Rows
	}
	c := matrix(a.Rows, n)
	if rounding == nil {
		cblas128.Gemm(blas.NoTrans, transpose, alpha, a, b, 0, c)
		return c
	}
	a, b = factor(a), factor(b)
	byRow, byColumn := b.Stride, 1
	if transpose == blas.Trans {
		byRow, byColumn = 1, b.Stride
	}
	for r := range c.Rows {
		for j := range n {
			row(c, r)[j] = alpha * dot(row(a, r), b.Data[j*byColumn:], byRow)
		}
	}
	return c
}

// linear is x·wᵀ + bias for w [out, in]; a nil bias is none.
func linear(x cblas128.General, w, bias []complex128) cblas128.General {
	y := times(1, x, blas.Trans, rowsOf(w, x.Cols))
	if bias != nil {
		for r := range y.Rows {
			addTo(row(y, r), bias)
		}
	}
	return y
}

// dense is the layer of that name: linear with p[name.weight] and p[name.bias].
func (p Params) dense(name string, x cblas128.General) cblas128.General {
	return linear(x, p[name+".weight"], p[name+".bias"])
}

// denseTensors gives the element counts of such a layer.
func denseTensors(name string, out, in int) map[string]int {
	return map[string]int{name + ".weight": out * in, name + ".bias": out}
}

func addTo(dst, src []complex128) {
	for i, v := range src {
		dst[i] = add(dst[i], v)
	}
}

// sum is a + b.
func sum(a, b cblas128.General) cblas128.General {
	c := matrix(a.Rows, a.Cols)
	for r := range c.Rows {
		copy(row(c, r), row(a, r))
		addTo(row(c, r), row(b, r))
	}
	return c
}

// each applies f to every element of a copy.
func each(m cblas128.General, f func(complex128) complex128) cblas128.General {
	c := matrix(m.Rows, m.Cols)
	for r := range c.Rows {
		for i, v := range row(m, r) {
			row(c, r)[i] = fl(f(v))
		}
	}
	return c
}

// layerNorm normalises each row: (x − mean)/√(variance + eps)·weight + bias (Ba et al. 2016, arXiv
// 1607.06450).
func layerNorm(m cblas128.General, weight, bias []complex128, eps float64) cblas128.General {
	n := complex(float64(m.Cols), 0)
	y := matrix(m.Rows, m.Cols)
	for r := range m.Rows {
		x := row(m, r)
		var mean, variance complex128
		for _, v := range x {
			mean = add(mean, v/n)
		}
		for _, v := range x {
			centred := add(v, -mean)
			variance = add(variance, mul(centred, centred)/n)
		}
		scale := fl(1 / cmplx.Sqrt(add(variance, complex(eps, 0))))
		for i, v := range x {
			row(y, r)[i] = add(mul(mul(add(v, -mean), scale), weight[i]), bias[i])
		}
	}
	return y
}

// rmsNorm divides each row by √(mean square + eps) and scales it (Zhang and Sennrich 2019, arXiv
// 1910.07467).
func rmsNorm(m cblas128.General, weight []complex128, eps float64) cblas128.General {
	y := matrix(m.Rows, m.Cols)
	for r := range m.Rows {
		x := row(m, r)
		var square complex128
		for _, v := range x {
			square = add(square, mul(v, v)/complex(float64(m.Cols), 0))
		}
		scale := fl(1 / cmplx.Sqrt(add(square, complex(eps, 0))))
		for i, v := range x {
			row(y, r)[i] = mul(mul(v, scale), weight[i])
		}
	}
	return y
}

// largest is the element with the greatest real part, the first of equals.
func largest(x []complex128) complex128 {
	most := x[0]
	for _, v := range x {
		if real(v) > real(most) {
			most = v
		}
	}
	return most
}

// softmax replaces x by exp(x)/Σexp(x).
func softmax(x []complex128) {
	most := complex(real(largest(x)), 0) // any number will do: it is no function of x
	var total complex128
	for i, v := range x {
		x[i] = fl(cmplx.Exp(add(v, -most)))
		total = add(total, x[i])
	}
	share := fl(1 / total)
	for i := range x {
		x[i] = mul(x[i], share)
	}
}

// logProbability is log softmax(x)[target].
func logProbability(x []complex128, target int) complex128 {
	most := complex(real(largest(x)), 0)
	var total complex128
	for _, v := range x {
		total = add(total, fl(cmplx.Exp(add(v, -most))))
	}
	return add(add(x[target], -most), -fl(cmplx.Log(total)))
}

func relu(v complex128) complex128 {
	if real(v) > 0 {
		return v
	}
	return 0
}

func sigmoid(v complex128) complex128 { return 1 / (1 + cmplx.Exp(-v)) }

// logSigmoid is log σ(v) = v − log(1 + exp(v)). Its derivative is 1 − σ(v), a difference that
// rounds as an implementation's does.
func logSigmoid(v complex128) complex128 {
	return add(v, -fl(cmplx.Log(add(1, fl(cmplx.Exp(v))))))
}

func silu(v complex128) complex128 { return v * sigmoid(v) }

// gelu is the tanh form of Hendrycks and Gimpel (arXiv 1606.08415), as in GPT-2 and ggml.
func gelu(v complex128) complex128 {
	inner := complex(math.Sqrt(2/math.Pi), 0) * (v + 0.044715*v*v*v)
	return 0.5 * v * (1 + cmplx.Tanh(inner))
}

// erf(a + ib) is erf(a) + ib·2/√π·exp(−a²) + O(b²): to the first order in b, which is all that a
// complex step looks at. With b = 1e-30 what is left out is far below rounding. A real argument
// gives the real function.
func erf(v complex128) complex128 {
	a := real(v)
	return complex(math.Erf(a), imag(v)*2/math.Sqrt(math.Pi)*math.Exp(-a*a))
}

// geluErf is the exact form, v·Φ(v), PyTorch's default.
func geluErf(v complex128) complex128 { return 0.5 * v * (1 + erf(v/math.Sqrt2)) }

// meanSquaredError is the mean of (x − y)².
func meanSquaredError(x, y []complex128) complex128 {
	var total complex128
	for i, v := range x {
		difference := add(v, -y[i])
		total = add(total, mul(difference, difference))
	}
	return total / complex(float64(len(x)), 0)
}

// attend is attention of one head: softmax(q·kᵀ/√width)·v for q, k, v [rows, width]. A row sees all
// rows or, if causal, those up to itself.
func attend(q, k, v cblas128.General, causal bool) cblas128.General {
	return attendTo(q, k, v, 1/math.Sqrt(float64(q.Cols)), func(i int) (int, int) {
		if causal {
			return 0, i + 1
		}
		return 0, k.Rows
	})
}

// attendTo is attention of one head whose scores have a scale, and whose row i sees the rows
// [first, end).
func attendTo(q, k, v cblas128.General, scale float64, sees func(i int) (first, end int)) cblas128.General {
	weights := times(complex(scale, 0), q, blas.Trans, k)
	for i := range weights.Rows {
		scores := row(weights, i)
		first, end := sees(i)
		softmax(scores[first:end])
		clear(scores[:first])
		clear(scores[end:])
	}
	return times(1, weights, blas.NoTrans, v)
}

// attention is that of several heads, each with its share of the columns of q, k, v [rows, D].
func attention(q, k, v cblas128.General, heads int, causal bool) cblas128.General {
	width, y := q.Cols/heads, matrix(q.Rows, q.Cols)
	for h := range heads {
		head := attend(columns(q, h*width, width), columns(k, h*width, width), columns(v, h*width, width), causal)
		for t := range y.Rows {
			copy(row(y, t)[h*width:], row(head, t))
		}
	}
	return y
}
