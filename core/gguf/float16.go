package gguf

import "math"

// bfloat16 rounds a finite number to the nearest bfloat16, ties to even: the upper half of a
// float32.
func bfloat16(x float32) uint16 {
	bits := math.Float32bits(x)
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// float16 rounds a finite number to the nearest IEEE 754 binary16, ties to even; from 65520 on it
// is infinite.
func float16(x float32) uint16 {
	bits := math.Float32bits(x)
	sign := uint16(bits >> 16 & 0x8000)
	bits &= 0x7fffffff
	switch {
	case bits < 0x38800000: // below 2^-14 the numbers of binary16 are multiples of 2^-24, as those of float32 are from 1/2 on
		half := float32(0.5)
		return sign | uint16(math.Float32bits(math.Float32frombits(bits)+half)-math.Float32bits(half))
	case bits >= 0x477ff000:
		return sign | 0x7c00
	}
	bits += 0xfff + bits>>13&1
	return sign | uint16((bits-(127-15)<<23)>>13)
}
