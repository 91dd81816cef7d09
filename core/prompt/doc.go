// Package prompt turns a template with slots for recommender states into the token sequences that a
// frozen LLM reads: a constant prefix, soft tokens in the slots, the rest of the prompt, and an
// answer.
package prompt
