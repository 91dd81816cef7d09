package app

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
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
	for _, name := range []string{"user", "history", "titles", "among"} {
		if c.IsSet(name) {
			return usage(c, "--%s is for one history, --in for many; give one of them", name)
		}
	}
	shard, err := evaluate.ParseShard(c.String("shard"))
	if err != nil {
		return usage(c, "--shard: %w", err)
	}
	return withJob(c, func(job bulk.Job) error {
		bar, began := newProgress(c.App.ErrWriter, "interpreting"), time.Now()
		job.Input, job.Output, job.Shard = c.App.Reader, c.App.Writer, shard
		job.Progress = func(p bulk.Progress) {
			rate := float64(p.Answered) / max(time.Since(began).Seconds(), 1e-9)
			digits := 0
			if rate < 10 {
				digits = 1
			}
			bar.to(int(p.Rows), int(max(p.Total, p.Rows)), fmt.Sprintf("rows, %.*f/s, %d with an error", digits, rate, p.Wrong))
		}
		done, err := job.Do(c.Context)
		bar.end()
		if err != nil {
			return err
		}
		switch {
		case done.Wrong == 0:
			_, err = fmt.Fprintf(c.App.ErrWriter, "%d rows\n", done.Rows)
		case done.Wrong < done.Rows: // without those of other shards and of a job that was interrupted
			_, err = fmt.Fprintf(c.App.ErrWriter, "%d rows; %d of the %d that were asked about now have an error, the first is %s\n",
				done.Rows, done.Wrong, done.Answered, done.First)
		default:
			err = fmt.Errorf("no row could be answered; the output has the error of each, and the first is %s", done.First)
		}
		return err
	})
}

// withJob opens the run that answers --in to --out.
func withJob(c *cli.Context, do func(bulk.Job) error) error {
	if c.String("in") == "" || c.String("out") == "" {
		return usage(c, "--in and --out belong together; - is standard input and output")
	}
	if err := checkSideBySide(c); err != nil {
		return err
	}
	sampling := samplingOf(c)
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
		return do(bulk.Job{Run: r, In: c.String("in"), Out: c.String("out")})
	})
}

func samplingOf(c *cli.Context) interpret.Sampling {
	return interpret.Sampling{Temperature: c.Float64("temperature"), TopP: c.Float64("top-p"), Seed: c.Uint64("seed")}
}

func samplingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.Float64Flag{Name: "temperature", DefaultText: "0: the likeliest tokens", Usage: "sampling `TEMPERATURE`"},
		&cli.Float64Flag{Name: "top-p", DefaultText: "all", Usage: "sample only from the likeliest tokens with this total `PROBABILITY`"},
		&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "random seed of the sampling, a `NUMBER`"},
	}
}

func partsCommand() *cli.Command {
	return &cli.Command{
		Name:  "parts",
		Usage: "answer the parts of --in that standard input names, as recint bulk has its workers do",
		Description: "Writes {\"parts\": N} and then waits for the numbers of parts, from 0, one on each line. Each becomes a Parquet file in the folder\n" +
			"--out, and a file of its bad rows if it has any; a line of JSON says so. Parts that are there are not answered again.",
		Flags: append([]cli.Flag{runFlag(), taskFlag(),
			&cli.StringFlag{Name: "in", Usage: "answer the rows of `FILE`, as in recint interpret --in (required)"},
			&cli.StringFlag{Name: "out", Usage: "write the parts to `FOLDER` (required)"}, sideBySideFlag()}, samplingFlags()...),
		Action: func(c *cli.Context) error {
			if err := onlyFlags(c, "run", "in", "out"); err != nil {
				return err
			}
			if c.String("in") == bulk.Standard {
				return usage(c, "--in is standard input, which names the parts; give a file that all workers can read")
			}
			return withJob(c, func(job bulk.Job) error { return answerParts(c, job) })
		},
	}
}

func answerParts(c *cli.Context, job bulk.Job) error {
	parts, err := job.Parts()
	if err != nil {
		return err
	}
	n, err := parts.Count()
	if err != nil {
		return err
	}
	out := json.NewEncoder(c.App.Writer)
	if err := out.Encode(map[string]int64{"parts": n}); err != nil {
		return err
	}
	for in := bufio.NewScanner(c.App.Reader); in.Scan(); {
		number, err := strconv.ParseInt(in.Text(), 10, 64)
		if err != nil || number < 0 || number >= n {
			return fmt.Errorf("there is no part %q; the parts of %s are 0 to %d", in.Text(), job.In, n-1)
		}
		part, err := parts.Answer(c.Context, number)
		if err != nil {
			return err
		}
		if err := out.Encode(part); err != nil {
			return err
		}
	}
	return nil
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
