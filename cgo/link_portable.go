//go:build portable

package cgo

// A program for other machines finds librecint in the folder lib beside its own (packaging/release.sh).

/*
#cgo CFLAGS: -I${SRCDIR}/../native/include
#cgo LDFLAGS: -L${SRCDIR}/../build/portable/lib -lrecint -Wl,-rpath,$ORIGIN/../lib
*/
import "C"
