package checkpoint

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	var c Clock
	if !c.Due(0) {
		t.Error("not due before the first checkpoint")
	}
	if c.Restart(); c.Due(0) || !c.Due(LongestLoss+time.Second) {
		t.Error("due at once after a checkpoint, or not due before long work")
	}
}
