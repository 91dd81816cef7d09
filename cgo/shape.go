package cgo

import (
	"math"
	"math/bits"
	"slices"
	"unsafe"
)

// checkLength refuses a slice that has not as many elements as its shape; every dimension is
// checked too. (The shape is copied into messages only, so that a call without one allocates
// nothing.)
func checkLength(op, name string, got int, shape ...int) error {
	want := uint(1)
	for _, d := range shape {
		high, low := bits.Mul(want, uint(max(d, 0)))
		if d < 0 || high != 0 || low > math.MaxInt {
			return invalid(op, "%s cannot have shape %v", name, slices.Clone(shape))
		}
		want = low
	}
	if uint(got) != want {
		return invalid(op, "%s: got %d elements, want %d for shape %v", name, got, want, slices.Clone(shape))
	}
	return nil
}

// checkInt32 refuses numbers that a C int32_t does not hold.
func checkInt32(op string, numbers ...int) error {
	for _, n := range numbers {
		if n < math.MinInt32 || n > math.MaxInt32 {
			return invalid(op, "a parameter is %d; at most %d", n, math.MaxInt32)
		}
	}
	return nil
}

// data is a slice's memory under the C name of its element type.
func data[C, Go any](s []Go) *C { return (*C)(unsafe.Pointer(unsafe.SliceData(s))) }
