package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/bulk"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// interpretRows answers every row of a file.
func interpretRows(c *cli.Context) error {
	for _, name := range []string{"user", "history", "titles"} {
		if c.IsSet(name) {
			return usage(c, "--%s is for one history, --in for many; give one of them", name)
		}
	}
	if c.String("in") == "" || c.String("out") == "" {
		return usage(c, "--in and --out belong together; - is standard input and output")
	}
	if n := c.Int("side-by-side"); n < 1 || n > 255 {
		return usage(c, "--side-by-side is %d; it must be 1 to 255", n)
	}
	shard, err := evaluate.ParseShard(c.String("shard"))
	if err != nil {
		return usage(c, "--shard: %w", err)
	}
	sampling := interpret.Sampling{Temperature: c.Float64("temperature"), TopP: c.Float64("top-p"), Seed: c.Uint64("seed")}
	if err := sampling.Validate(); err != nil {
		return usage(c, "%w", err)
	}
	defer frugal()()
	return withEngine(c, func(engine *cgo.Engine) (err error) {
		opts := interpret.Options{Sampling: sampling, Slots: c.Int("side-by-side")}
		r, err := run.OpenAsking(engine, engine, c.String("run"), run.Asking{Task: c.String("task")}, opts)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		bar, began, first := newProgress(c.App.ErrWriter, "interpreting"), time.Now(), int64(0)
		job := bulk.Job{Run: r, In: c.String("in"), Out: c.String("out"), Input: c.App.Reader, Output: c.App.Writer, Shard: shard}
		job.Progress = func(p bulk.Progress) {
			if first == 0 {
				first, began = p.Rows, time.Now() // rows of an earlier call took no time
			}
			rate := float64(p.Rows-first) / max(time.Since(began).Seconds(), 1e-9)
			bar.to(int(p.Rows), int(max(p.Total, p.Rows)), fmt.Sprintf("rows, %.0f/s, %d with an error", rate, p.Wrong))
		}
		done, err := job.Do(c.Context)
		bar.end()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.App.ErrWriter, "%d rows, %d of those answered now with an error\n", done.Rows, done.Wrong)
		return err
	})
}

func mergeAnswersCommand() *cli.Command {
	return &cli.Command{
		Name:        "merge",
		Usage:       "merge the answers of all shards of --in",
		ArgsUsage:   "SHARD.jsonl…",
		Description: "The result is the file that the command would have written without --shard, byte for byte.",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "to", Usage: "the merged `FILE` (required)"}},
		Action: func(c *cli.Context) error {
			if c.String("to") == "" || c.NArg() == 0 {
				return usage(c, "name the merged file with --to, and the files of all shards")
			}
			return bulk.Merge(c.String("to"), c.Args().Slice())
		},
	}
}
