// Package control tests whether answers come from a recommender's states. It compares them, sample
// by sample, with the answers of controls to the same questions: zero states, states of other
// samples, a constant answer, or another adapter.
//
// Differences have 95 % intervals from a bootstrap over users, and p-values from McNemar's test or
// the bootstrap, adjusted by Holm's method. Package evaluate collects the answers; package run
// chooses the controls.
package control
