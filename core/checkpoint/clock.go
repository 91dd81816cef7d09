package checkpoint

import (
	"cmp"
	"time"
)

// Clock decides when a checkpoint is due.
type Clock struct {
	MayLose time.Duration // the most work that a kill loses, unless one step or validation takes longer; 0: a minute

	saved time.Time
}

// Restart marks the time at which a checkpoint was written or loaded.
func (c *Clock) Restart() { c.saved = time.Now() }

// Due reports whether the next piece of work, which takes about as long as next, would end later
// than MayLose after the last checkpoint.
func (c *Clock) Due(next time.Duration) bool {
	return time.Since(c.saved)+next > cmp.Or(c.MayLose, time.Minute)
}
