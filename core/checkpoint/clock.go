package checkpoint

import (
	"cmp"
	"time"
)

// Clock tells when a checkpoint is due.
type Clock struct {
	MayLose time.Duration // how much work a kill may cost, unless one step or validation takes longer; 0: a minute

	saved time.Time
}

// Restart is called when a checkpoint has been written, or taken up.
func (c *Clock) Restart() { c.saved = time.Now() }

// Due says whether the work ahead, which takes about as long as next, would end later than MayLose
// after the last checkpoint.
func (c *Clock) Due(next time.Duration) bool {
	return time.Since(c.saved)+next > cmp.Or(c.MayLose, time.Minute)
}
