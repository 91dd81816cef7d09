// Package evaluate asks questions whose answers are known, scores the answers, and gives their
// accuracy with 95 % intervals. It keeps a journal, so that an evaluation that was stopped
// continues, and can share an evaluation between machines.
//
// Package task defines the questions, and package control compares the answers with controls.
package evaluate
