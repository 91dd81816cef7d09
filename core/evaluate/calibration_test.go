package evaluate

import (
	"math"
	"testing"
)

// By hand: two answers of probability 0.85 of which one is right, and two of 0.2, both wrong.
func TestCalibrate(t *testing.T) {
	c := Calibrate([]float64{math.Log(0.82), math.Log(0.88), math.Log(0.2), math.Log(0.2)}, []bool{true, false, false, false})
	if math.Abs(c.ECE-(0.5*0.35+0.5*0.2)) > 0.01 || len(c.Bins) != 2 {
		t.Errorf("%+v", c)
	}
	c = Calibrate([]float64{0, 0}, []bool{true, true})
	if c.ECE != 0 || len(c.Bins) != 1 || c.Bins[0] != (Reliability{2, 1, 1}) {
		t.Errorf("%+v", c)
	}
	c = Calibrate([]float64{math.Log(0.25), math.Log(0.25), math.Log(0.25), math.Log(0.25)}, []bool{true, false, false, false})
	if c.ECE > 1e-9 || c.Bins[0].N != 4 {
		t.Errorf("a quarter is right at probability 0.25: %+v", c)
	}
}
