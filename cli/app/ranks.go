package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// microBatchFlag is the flag of commands that share batches between ranks.
func microBatchFlag() cli.Flag {
	return &cli.IntFlag{Name: "micro-batch", DefaultText: "all", Usage: "`EXAMPLES` of a batch that one rank computes at a time"}
}

// onRanks makes an action that the processes of mpirun or srun share. Only rank 0 shows results and
// progress.
func onRanks(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		group, err := ranks.Join(c.Context)
		if err != nil {
			return err
		}
		if group == nil {
			return action(c)
		}
		stderr := c.App.ErrWriter
		if !group.Writes() {
			c.App.Writer, c.App.ErrWriter = io.Discard, io.Discard
		}
		c.Context = ranks.With(c.Context, group)
		err = action(c)
		if err == nil {
			return group.Leave(nil)
		}
		var usage usageError
		if group.Writes() {
			say(c.App.ErrWriter, err) // now, because a launcher may end this process while it waits for the others
		} else if own := !errors.Is(err, ranks.ErrLeft) && !errors.Is(err, context.Canceled) && !errors.As(err, &usage); own {
			say(stderr, fmt.Errorf("%s: %w", group.Name(), err))
		}
		return errors.Join(errSaid, err, group.Leave(err))
	}
}
