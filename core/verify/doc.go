// Package verify recomputes reference cases: files of inputs and outputs that another
// implementation has written.
package verify
