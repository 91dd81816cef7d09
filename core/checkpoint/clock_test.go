package checkpoint

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	for mayLose, longest := range map[time.Duration]time.Duration{0: time.Minute, time.Hour: time.Hour} {
		c := Clock{MayLose: mayLose}
		if !c.Due(0) {
			t.Error("not due before the first checkpoint")
		}
		if c.Restart(); c.Due(longest/2) || !c.Due(longest+time.Second) {
			t.Errorf("%v: due before short work, or not due before long work", mayLose)
		}
	}
}
