package control

import (
	"cmp"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
)

// McNemar is the exact two-sided p-value of McNemar's test: of samples on which two ways of
// answering differ, so many are right by one alone and so many by the other alone.
func McNemar(onlyFirst, onlySecond int) float64 {
	n, fewer := onlyFirst+onlySecond, min(onlyFirst, onlySecond)
	p := 0.0
	for k := 0; k <= fewer; k++ {
		p += math.Exp(logChoose(n, k) - float64(n)*math.Ln2)
	}
	return min(1, 2*p)
}

func logChoose(n, k int) float64 {
	all, _ := math.Lgamma(float64(n + 1))
	chosen, _ := math.Lgamma(float64(k + 1))
	left, _ := math.Lgamma(float64(n - k + 1))
	return all - chosen - left
}

// Interval is a figure, the mean of several runs, with its 95 % interval by a bootstrap over users.
type Interval struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// draws is how many samples of users a bootstrap draws.
const draws = 10_000

// Bootstrap gives a figure of sums with its interval, and a two-sided p-value of its being 0. Each
// user has a row of sums. It draws users with their whole rows, since what one user's samples say
// is not independent, and adds these up.
func Bootstrap(users [][]float64, figure func(sums []float64) float64, seed uint64) (i Interval, p float64) {
	sums := make([]float64, len(users[0]))
	add := func(row []float64) {
		for at, x := range row {
			sums[at] += x
		}
	}
	for _, row := range users {
		add(row)
	}
	i.Mean = figure(sums)
	random := rand.New(rand.NewPCG(seed, 0))
	figures, below, above := make([]float64, draws), 1, 1 // of draws; the sample itself counts as one
	for d := range figures {
		clear(sums)
		for range users {
			add(users[random.IntN(len(users))])
		}
		figures[d] = figure(sums)
		if figures[d] <= 0 {
			below++
		}
		if figures[d] >= 0 {
			above++
		}
	}
	slices.Sort(figures)
	i.Low, i.High = figures[draws/40], figures[draws-1-draws/40]
	return i, min(1, 2*float64(min(below, above))/(draws+1))
}

// Median gives the median of values with its 95 % interval, by a bootstrap that draws users as
// Bootstrap does.
func Median(users []int32, values []float64, seed uint64) (median, low, high float64) {
	of := map[int32][]float64{}
	for i, user := range users {
		of[user] = append(of[user], values[i])
	}
	groups := slices.SortedFunc(maps.Values(of), slices.Compare)
	middle := func(values []float64) float64 {
		slices.Sort(values)
		return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	}
	random, medians, drawn := rand.New(rand.NewPCG(seed, 0)), make([]float64, draws), []float64{}
	for d := range medians {
		drawn = drawn[:0]
		for range groups {
			drawn = append(drawn, groups[random.IntN(len(groups))]...)
		}
		medians[d] = middle(drawn)
	}
	slices.Sort(medians)
	return middle(slices.Clone(values)), medians[draws/40], medians[draws-1-draws/40]
}

// Holm adjusts p-values of several tests so that the chance of any false finding stays below the
// level that one of them is compared with (Holm 1979).
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	adjusted, highest := make([]float64, len(p)), 0.0
	for rank, at := range order {
		highest = max(highest, min(1, float64(len(p)-rank)*p[at]))
		adjusted[at] = highest
	}
	return adjusted
}

// Spearman is the rank correlation of two lists of numbers; 0 where one of them does not vary.
func Spearman(x, y []float64) float64 {
	a, b := ranks(x), ranks(y)
	mean := float64(len(x)+1) / 2
	xy, xx, yy := 0.0, 0.0, 0.0
	for i := range a {
		xy, xx, yy = xy+(a[i]-mean)*(b[i]-mean), xx+(a[i]-mean)*(a[i]-mean), yy+(b[i]-mean)*(b[i]-mean)
	}
	if xx == 0 || yy == 0 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}

// ranks gives the place of each number among all, from 1; equal ones share the mean of theirs.
func ranks(x []float64) []float64 {
	places := make([]float64, len(x))
	for i := range x {
		for _, other := range x {
			switch {
			case other < x[i]:
				places[i]++
			case other == x[i]:
				places[i] += 0.5
			}
		}
		places[i] += 0.5
	}
	return places
}
