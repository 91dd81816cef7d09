// Package judge asks a language model which of two items a user with a given history would prefer
// to choose next, as in the paper's comparison of oracles with another recommender's first
// recommendation (arXiv 2310.20487, section 4.4). It asks about every pair in both orders, because
// models prefer a place.
//
// Package local has a judge that runs on the engine of this program.
package judge
