// Package models lists the recommenders, with a file for each: its settings with defaults, bounds
// and help, and how to recognise and measure a file of its weights.
//
// The formulas are in native/src/recommenders. Package recommender uses only these entries and
// names no model itself.
package models
