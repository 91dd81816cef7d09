// Package interpret puts recommender states into words: it hands their soft tokens to an LLM and
// reads the answer.
package interpret
