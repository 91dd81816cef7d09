//go:build !portable

package cgo

/*
#cgo CFLAGS: -I${SRCDIR}/../native/include
#cgo LDFLAGS: -L${SRCDIR}/../build/native/lib -lrecint -Wl,-rpath,${SRCDIR}/../build/native/lib
*/
import "C"
