// Package judge asks a language model which of two items somebody with a history would rather
// choose next, as in the paper's comparison of oracles with another recommender's first
// recommendation (arXiv 2310.20487, section 4.4). Every pair is asked about in both orders, since
// models prefer a place.
package judge
