// Package align trains an adapter: the small map from a recommender's states to soft tokens, which
// a frozen LLM reads in place of words.
//
// Train runs a Job: an optional warm start, which fits soft tokens to the embeddings of item titles
// without running the LLM, and then updates through the LLM. It writes a checkpoint, a log and the
// adapter to a folder, and continues from the checkpoint if it was stopped. Package adapter lists
// the kinds of adapters, package prompt lays out the samples, and package run builds the job from
// files.
package align
