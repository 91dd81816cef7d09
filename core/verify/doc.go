// Package verify recomputes reference cases: files of inputs and outputs that another
// implementation wrote. It shows that the native core computes the same formulas.
package verify
