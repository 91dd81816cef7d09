// Package report writes the results of alignment runs and their evaluations to one page that needs
// no other file.
package report
