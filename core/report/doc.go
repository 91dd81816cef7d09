// Package report puts what alignment runs and their evaluations have left into one page that needs nothing else.
package report
