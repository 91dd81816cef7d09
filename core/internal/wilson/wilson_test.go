package wilson

import (
	"math"
	"testing"
)

// Worked by hand from the formula with z = 1.96: of n all hits, the lower end is n/(n + z²), the
// upper end 1; and the interval of the misses is the mirror image.
func TestInterval(t *testing.T) {
	const z2 = 3.841458820694124
	low, high := Interval(10, 10)
	if math.Abs(low-10/(10+z2)) > 1e-12 || high != 1 {
		t.Errorf("10 of 10: %v to %v", low, high)
	}
	low, high = Interval(0, 10)
	if low != 0 || math.Abs(high-z2/(10+z2)) > 1e-12 {
		t.Errorf("0 of 10: %v to %v", low, high)
	}
	a, b := Interval(3, 8)
	c, d := Interval(5, 8)
	if math.Abs(a+d-1) > 1e-12 || math.Abs(b+c-1) > 1e-12 || !(a < 3./8 && 3./8 < b) {
		t.Errorf("3 of 8: %v to %v; 5 of 8: %v to %v", a, b, c, d)
	}
	if low, high := Interval(0, 0); low != 0 || high != 1 {
		t.Errorf("0 of 0: %v to %v", low, high)
	}
}
