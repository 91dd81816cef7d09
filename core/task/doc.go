// Package task holds the questions that an LLM is asked about recommender states, a file for each:
// how a sequence becomes a question with its true answer, which answers are allowed, how answers
// are scored and summed up, and what a report shows.
package task
