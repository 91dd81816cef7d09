// Package conformance holds the native core against complexstep, the second, independent
// implementation of the same formulas: values and every gradient, on every backend that this
// machine has. It consists of tests only.
package conformance
