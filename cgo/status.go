package cgo

// #include "recint.h"
import "C"

import (
	"errors"
	"fmt"
	"sync"
)

// Code is the kind of a failure, ri_status in C. It is an error itself, so that errors.Is can look
// for it.
type Code int32

// The kinds of failures.
const (
	OK          Code = C.RI_OK
	Invalid     Code = C.RI_INVALID     // an argument is missing, out of range or of the wrong shape
	File        Code = C.RI_FILE        // a file cannot be read, is cut short or is malformed
	Unsupported Code = C.RI_UNSUPPORTED // well formed, but not something that the core can run
	Memory      Code = C.RI_MEMORY      // an allocation failed
	Backend     Code = C.RI_BACKEND     // a compute backend is missing or failed
	Numeric     Code = C.RI_NUMERIC     // NaN or infinity in an input or a result
	Internal    Code = C.RI_INTERNAL    // a defect of the core itself
)

// What errors.Is finds in an error of this package, however often it was wrapped.
const (
	ErrInvalid     = Invalid
	ErrFile        = File
	ErrUnsupported = Unsupported
	ErrMemory      = Memory
	ErrBackend     = Backend
	ErrNumeric     = Numeric
	ErrInternal    = Internal
)

// ErrClosed is found in the error of a call on an object that is closed.
var ErrClosed = errors.New("the object is closed")

// Error says in words what the code is about.
func (c Code) Error() string {
	switch c {
	case OK:
		return "no error"
	case Invalid:
		return "invalid argument"
	case File:
		return "unreadable file"
	case Unsupported:
		return "not supported"
	case Memory:
		return "out of memory"
	case Backend:
		return "compute backend failed"
	case Numeric:
		return "not a finite number"
	case Internal:
		return "defect of the native core"
	}
	return fmt.Sprintf("unknown status %d", int32(c))
}

// Error is a failed call.
type Error struct {
	Op      string // what was tried, such as "open gguf"
	Code    Code
	Message string // what was wrong, where, and what to do
}

// Error gives "recint: <op>: <message>".
func (e *Error) Error() string { return "recint: " + e.Op + ": " + e.Message }

// Is reports whether target is the error's code; of Unsupported, errors.ErrUnsupported is as well.
func (e *Error) Is(target error) bool {
	return target == error(e.Code) || e.Code == Unsupported && target == errors.ErrUnsupported
}

// invalid is the error for an argument that must not reach C.
func invalid(op, format string, args ...any) error {
	return &Error{op, Invalid, fmt.Sprintf(format, args...)}
}

// closed is the error of a call on an object that is closed.
func closed(op string) error { return fmt.Errorf("recint: %s: %w", op, ErrClosed) }

// spare holds the error objects of calls that are over.
var spare = sync.Pool{New: func() any { return new(C.ri_error) }}

// try makes one native call and turns a failure into an *Error.
func try(op string, call func(err *C.ri_error) C.ri_status) error {
	e := spare.Get().(*C.ri_error)
	defer spare.Put(e)
	e.message[0] = 0
	code := Code(call(e))
	if code == OK {
		return nil
	}
	message := C.GoString(&e.message[0])
	if message == "" {
		message = code.Error()
	}
	return &Error{op, code, message}
}

// checkABI refuses a library that was built from another header.
func checkABI(op string) error {
	if got := int(C.ri_abi_version()); got != C.RI_ABI_VERSION {
		return &Error{op, Unsupported, fmt.Sprintf("librecint has interface version %d, this program was built for %d; "+
			"run `make` to build them together", got, C.RI_ABI_VERSION)}
	}
	return nil
}
