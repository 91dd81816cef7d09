// Package explain finds the items of a history that a recommendation depends on: the fewest
// removals or replacements after which the recommender recommends something else.
//
// It runs the recommender on changed histories and needs only its scores, so that it works with any
// recommender.
package explain
