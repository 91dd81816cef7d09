//go:build portable

package cgo

// A program for other machines finds librecint in the folder lib beside its own
// (packaging/release.sh).

/*
#cgo CFLAGS: -I${SRCDIR}/../native/include
#cgo amd64 LDFLAGS: -L${SRCDIR}/../build/portable/x86_64/lib
#cgo arm64 LDFLAGS: -L${SRCDIR}/../build/portable/aarch64/lib
#cgo LDFLAGS: -lrecint -Wl,-rpath,$ORIGIN/../lib
*/
import "C"
