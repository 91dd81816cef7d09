// Package reproduce repeats the paper's three results (arXiv 2310.20487) from a data set and an
// LLM: residual accuracy for the four recommenders, recovery of histories, and the preference for
// oracles. It keeps finished work in a folder, so that a reproduction that was stopped continues
// there.
package reproduce
