// Package run is an alignment run as a folder that can be opened again. run.json in it says what
// the run is made from and how; beside it lie the files of package align (checkpoint, log, adapter)
// and what evaluations leave.
//
// The pieces are held together by content hashes: a recommender trained on another data set, or an
// adapter trained with another recommender or LLM, is refused by name.
package run
