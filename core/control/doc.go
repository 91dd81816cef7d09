// Package control tests whether answers come from a recommender's states. It compares them by
// their micro-F1 with the answers of controls to the same questions: zero states, states of other
// samples, a constant answer, or another adapter.
//
// Differences have 95 % intervals and p-values from a bootstrap over users, adjusted by Holm's
// method; McNemar's test stands beside them. Package evaluate collects the answers; package run
// chooses the controls.
package control
