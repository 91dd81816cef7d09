// Package run is a trained run as a folder: a data set, a recommender or a file of states, an
// adapter and an LLM, which Open opens for questions. In the folder, run.json names the inputs and
// settings; next to it are the files of package align (checkpoint, log, adapter) and the results of
// evaluations.
//
// Content hashes bind the parts together: a recommender trained on another data set, or an adapter
// trained with another recommender or LLM, is refused by name.
package run
