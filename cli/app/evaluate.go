package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
)

func runFlag() cli.Flag {
	return &cli.StringFlag{Name: "run", Usage: "a run's `FOLDER`, made by recint align (required)"}
}

func evaluateCommand() *cli.Command {
	return &cli.Command{
		Name:  "evaluate",
		Usage: "measure how often a run's answers are right",
		Subcommands: []*cli.Command{
			{
				Name:        "residual",
				Usage:       "the item between two states, on the test split",
				Description: described("residual", "the answer is the title"),
				Flags:       evaluateFlags(),
				Action: func(c *cli.Context) error {
					return evaluateRun(c, "residual", (*run.Run).EvaluateResidual, showResidual)
				},
			},
			{
				Name:        "recovery",
				Usage:       "the items of a history from its state, on the test split",
				Description: described("recovery", "a line of the answer is the title"),
				Flags:       evaluateFlags(),
				Action: func(c *cli.Context) error {
					return evaluateRun(c, "recovery", (*run.Run).EvaluateRecovery, showRecovery)
				},
			},
			{
				Name:      "merge",
				Usage:     "join the files of answers of all shards of an evaluation",
				ArgsUsage: "SHARD.jsonl…",
				Description: "The result is the file that the evaluation would have written without --shard, byte for byte. Put it where that\n" +
					"would have been, and the same command without --shard shows the figures.",
				Flags: []cli.Flag{&cli.StringFlag{Name: "to", Usage: "the merged `FILE` (required)"}},
				Action: func(c *cli.Context) error {
					if c.String("to") == "" || c.NArg() == 0 {
						return usage(c, "name the merged file with --to, and the files of all shards")
					}
					return evaluate.Merge(c.String("to"), c.Args().Slice())
				},
			},
		},
	}
}

func described(name, exact string) string {
	return "Every answer is kept in the run's folder, in " + name + "-N-SEED.jsonl (by --minutes in " + name + "-MINUTESmin-SEED.jsonl, behind --no-controls in …-no-controls.jsonl, of a\n" +
		"shard in …-shard-2-of-4.jsonl), with the probability of each token; the same command goes on after an interruption.\n" +
		"Three scorers stand side by side: exact (" + exact + "), contains (the answer holds the title as whole words),\n" +
		"paper (the answer holds the title as it is written, the test of the paper's evaluator). Answers are free, and then once more\n" +
		"restricted to the titles of the catalogue, by beam search. Controls: a state of zeros, and the states of another sample."
}

func evaluateFlags() []cli.Flag {
	return []cli.Flag{
		runFlag(),
		&cli.IntFlag{Name: "samples", DefaultText: "all", Usage: "`N` test sequences, drawn by the seed"},
		&cli.Float64Flag{Name: "minutes", DefaultText: "or give --samples", Usage: "as many test sequences as `MINUTES` have time for; the speed of this machine is measured first, and the " +
			"number stays when the command is repeated"},
		&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER` that the drawing and the shuffled control follow from"},
		&cli.StringFlag{Name: "shard", Usage: fmt.Sprintf("answer `PART` of the samples alone, e.g. 2/4; a part is made of groups of %d samples, "+
			"and recint evaluate merge joins the files", evaluate.Chunk)},
		&cli.BoolFlag{Name: "no-controls", DisableDefaultText: true, Usage: "leave the controls out"},
		&cli.IntFlag{Name: "side-by-side", Value: 64, Usage: "`SAMPLES` answered at once, 1 to 255"},
		jsonFlag,
	}
}

// evaluateRun measures a run and shows what came of it.
func evaluateRun[Result any](c *cli.Context, name string,
	measure func(*run.Run, context.Context, int, evaluate.Options) (*Result, error),
	show func(*cli.Context, *run.Run, *Result) error) error {
	if err := onlyFlags(c, "run"); err != nil {
		return err
	}
	if c.Int("samples") < 0 {
		return usage(c, "--samples is %d; it must be 1 or more", c.Int("samples"))
	}
	if c.IsSet("minutes") && (c.IsSet("samples") || c.IsSet("shard") || !(c.Float64("minutes") > 0)) {
		return usage(c, "--minutes is %g; it must be above 0, and stand without --samples and --shard", c.Float64("minutes"))
	}
	if n := c.Int("side-by-side"); n < 1 || n > 255 {
		return usage(c, "--side-by-side is %d; it must be 1 to 255", n)
	}
	shard, err := evaluate.ParseShard(c.String("shard"))
	if err != nil {
		return usage(c, "--shard: %w", err)
	}
	dir := c.String("run")
	return withEngine(c, func(engine *cgo.Engine) (err error) {
		r, err := run.Open(engine, dir, interpret.Options{Slots: c.Int("side-by-side")})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		n := c.Int("samples")
		if n == 0 {
			n = len(r.Split.Test)
		}
		file := fmt.Sprintf("%s-%d-%d", name, n, c.Uint64("seed"))
		if c.IsSet("minutes") {
			file = fmt.Sprintf("%s-%gmin-%d", name, c.Float64("minutes"), c.Uint64("seed"))
		}
		if c.Bool("no-controls") {
			file += "-no-controls"
		}
		if shard.N > 0 {
			file += fmt.Sprintf("-shard-%d-of-%d", shard.I, shard.N)
		}
		bar := newProgress(c.App.ErrWriter, "answering")
		opts := evaluate.Options{Seed: c.Uint64("seed"), Shard: shard, Controls: !c.Bool("no-controls")}
		path := filepath.Join(dir, file+".jsonl")
		if c.IsSet("minutes") {
			if n, err = samplesFor(c.Float64("minutes"), path, n, func(n int) error {
				_, err := measure(r, c.Context, n, opts)
				return err
			}); err != nil {
				return err
			}
			bar.note(fmt.Sprintf("%g minutes have time for %d of %d test sequences", c.Float64("minutes"), n, len(r.Split.Test)))
		}
		opts.Path, opts.Progress = path, func(done, total int) { bar.to(done, total, "samples") }
		result, err := measure(r, c.Context, n, opts)
		bar.end()
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(c, result)
		}
		return show(c, r, result)
	})
}

// samplesFor gives the number of samples of an evaluation that has some minutes: the number it began with, or what fits.
func samplesFor(minutes float64, path string, total int, ask func(samples int) error) (int, error) {
	if n, err := evaluate.Begun(path); n > 0 || err != nil {
		return n, err
	}
	return evaluate.Fit(time.Duration(minutes*float64(time.Minute)), total, ask, time.Now)
}

// trainedFor says what was measured, on how much, and of which adapter.
func trainedFor(r *run.Run, what string, n int, shard string) string {
	if shard != "" {
		shard = fmt.Sprintf(" (shard %s alone; recint evaluate merge joins all)", shard)
	}
	return fmt.Sprintf("%s on the test split, n = %d%s; adapter %s trained on %d samples in %.1f minutes",
		what, n, shard, r.Spec.Adapter, r.Provenance.Samples, r.Provenance.Minutes)
}

func showResidual(c *cli.Context, r *run.Run, result *evaluate.Result) error {
	fmt.Fprintln(c.App.Writer, trainedFor(r, "residual accuracy", result.N, result.Shard))
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\texact\t95 % interval\tcontains\t95 % interval\tpaper\t95 % interval\tanswers that are a title")
	for _, condition := range result.Conditions {
		fmt.Fprint(w, evaluate.ConditionNames[condition.Name])
		for _, s := range []evaluate.Share{condition.Exact, condition.Contains, condition.Paper} {
			fmt.Fprintf(w, "\t%.2f %%\t%.2f–%.2f", 100*s.Value, 100*s.Low, 100*s.High)
		}
		fmt.Fprintf(w, "\t%.1f %%\n", 100*condition.Valid.Value)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, condition := range result.Conditions {
		if s := condition.Ranked; s != nil {
			fmt.Fprintf(c.App.Writer, "among the %d likeliest titles: %.2f %% (%.2f–%.2f)\n", condition.Places, 100*s.Value, 100*s.Low,
				100*s.High)
		}
	}
	return nil
}

func showRecovery(c *cli.Context, r *run.Run, result *evaluate.RecoveryResult) error {
	fmt.Fprintln(c.App.Writer, trainedFor(r, "items recovered", result.N, result.Shard))
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tmean, exact\tmore than 5\t95 % interval\tmean, contains\tmore than 5\tmean, paper\tmore than 5\ttitles in an answer")
	for _, condition := range result.Conditions {
		over := condition.Exact.OverFive
		fmt.Fprintf(w, "%s\t%.2f\t%.2f %%\t%.2f–%.2f", evaluate.ConditionNames[condition.Name], condition.Exact.Mean, 100*over.Value,
			100*over.Low, 100*over.High)
		for _, s := range []evaluate.Recovered{condition.Contains, condition.Paper} {
			fmt.Fprintf(w, "\t%.2f\t%.2f %%", s.Mean, 100*s.OverFive.Value)
		}
		fmt.Fprintf(w, "\t%.1f\n", condition.Valid)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, "\nsamples by the number of items recovered, own states, exact:")
	w = tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', tabwriter.AlignRight)
	for n, samples := range result.Conditions[0].Exact.Histogram {
		fmt.Fprintf(w, "%d\t%d\t%.1f %%\t %s\n", n, samples, 100*float64(samples)/float64(result.N),
			strings.Repeat("█", (50*samples+result.N-1)/result.N))
	}
	return w.Flush()
}
