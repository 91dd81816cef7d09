// Package interpret puts recommender states into words: it passes their soft tokens (package align)
// to an LLM and returns the answer, free or restricted to the titles of a catalogue (package
// grammar).
package interpret
