// Package cgo is the Go face of native/include/recint.h: handles, slices and errors, one file for
// each C noun, and not one decision of its own.
//
// Every object has a Close that may be called again and from any goroutine; it waits for a call
// that is under way, and what is called later fails with ErrClosed. An object that is lost without
// Close is freed by the garbage collector some time later. Objects keep what they stand on alive
// natively, so the order of closing does not matter.
//
// All methods are safe for concurrent use; the core serialises those of one engine. Slices are lent
// to the core for the length of one call. Their lengths are checked against the shapes before the
// call, and results go to slices of the caller, always the first parameter. Shape letters are those
// of the header.
package cgo
