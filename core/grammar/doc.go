// Package grammar says which answers name items of a catalogue and nothing else: one title, or
// titles on lines of their own. Package interpret generates answers that follow a grammar, so that
// every answer names items.
package grammar
