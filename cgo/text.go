package cgo

// #include "recint.h"
import "C"

import "strings"

// cString is the text with a final NUL, for a parameter of that name.
func cString(op, name, text string) (*byte, error) {
	if at := strings.IndexByte(text, 0); at >= 0 {
		return nil, invalid(op, "%s has a NUL byte at %d; remove it", name, at)
	}
	return &append([]byte(text), 0)[0], nil
}

// text collects what a native call writes, asking again with room enough where the guess was too
// small. One byte is left for a final NUL, which some calls write.
func text(op string, guess int,
	write func(dst *C.char, capacity C.size_t, length *C.size_t, err *C.ri_error) C.ri_status) (string, error) {
	for {
		buffer := make([]byte, guess+1)
		var length C.size_t
		err := try(op, func(err *C.ri_error) C.ri_status {
			return write(data[C.char](buffer), C.size_t(len(buffer)), &length, err)
		})
		if err != nil {
			return "", err
		}
		if int(length) <= guess {
			return string(buffer[:length]), nil
		}
		guess = int(length)
	}
}
