// Package grammar says which answers name items of a catalogue and nothing else: one title, or
// titles on lines of their own.
package grammar
