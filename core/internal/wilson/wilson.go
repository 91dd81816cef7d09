// Package wilson gives intervals of proportions.
package wilson

import "math"

// Interval is Wilson's score interval (1927, doi 10.1080/01621459.1927.10502953) of a proportion at
// 95 %; 0 to 1 where nothing was tried.
func Interval(hits, n int) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	const z = 1.959963984540054 // the normal distribution's 97.5 % quantile
	p, m := float64(hits)/float64(n), float64(n)
	centre := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(0, centre-half), min(1, centre+half)
}
