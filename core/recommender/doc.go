// Package recommender trains sequential recommenders, reads and writes their weights, computes
// their hidden states, ranks items, and measures how well the next item is ranked.
//
// Its states are the input of adapters (package align). Package models lists the recommenders, and
// package onnx runs those of other programs.
package recommender
