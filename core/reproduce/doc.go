// Package reproduce repeats the paper's three results (arXiv 2310.20487) from a data set and an
// LLM: residual accuracy for the four recommenders, recovery of histories, and the preference for
// oracles. Whatever is finished stays in a folder, so that a reproduction goes on from where it was
// stopped.
package reproduce
