// Package report writes the results of alignment runs and their evaluations to one HTML page that
// needs no other file, or to JSON.
package report
