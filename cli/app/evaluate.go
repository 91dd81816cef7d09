package app

import (
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"

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
		Subcommands: []*cli.Command{{
			Name:  "residual",
			Usage: "the item between two states, on the test split, free generation",
			Description: "Every answer is kept in the run's folder, in residual-N-SEED.jsonl; the same command goes on after an interruption.\n" +
				"Three scorers stand side by side: exact (the answer is the title), contains (it holds the title as whole words),\n" +
				"paper (it holds the title as it is written, the test of the paper's evaluator). Controls: a state of zeros, and the\n" +
				"states of another sample.",
			Flags: []cli.Flag{
				runFlag(),
				&cli.IntFlag{Name: "samples", DefaultText: "all", Usage: "`N` test sequences, drawn by the seed"},
				&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER` that the drawing and the shuffled control follow from"},
				&cli.BoolFlag{Name: "no-controls", DisableDefaultText: true, Usage: "leave the controls out: a third of the time"},
				&cli.IntFlag{Name: "side-by-side", Value: 64, Usage: "`SAMPLES` answered at once, 1 to 255"},
				jsonFlag,
			},
			Action: evaluateResidual,
		}},
	}
}

func evaluateResidual(c *cli.Context) error {
	if err := onlyFlags(c, "run"); err != nil {
		return err
	}
	if c.Int("samples") < 0 {
		return usage(c, "--samples is %d; it must be 1 or more", c.Int("samples"))
	}
	if n := c.Int("side-by-side"); n < 1 || n > 255 {
		return usage(c, "--side-by-side is %d; it must be 1 to 255", n)
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
		name := fmt.Sprintf("residual-%d-%d.jsonl", n, c.Uint64("seed"))
		if c.Bool("no-controls") {
			name = fmt.Sprintf("residual-%d-%d-no-controls.jsonl", n, c.Uint64("seed"))
		}
		bar := newProgress(c.App.ErrWriter, "answering")
		result, err := r.EvaluateResidual(c.Context, n, evaluate.Options{
			Seed: c.Uint64("seed"), Controls: !c.Bool("no-controls"), Path: filepath.Join(dir, name),
			Progress: func(done, total int) { bar.to(done, total, "samples") },
		})
		bar.end()
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(c, result)
		}
		return showResidual(c, r, result)
	})
}

func showResidual(c *cli.Context, r *run.Run, result *evaluate.Result) error {
	fmt.Fprintf(c.App.Writer, "residual accuracy on the test split, free generation, n = %d; adapter %s trained on %d samples in %.1f minutes\n",
		result.N, r.Spec.Adapter, r.Provenance.Samples, r.Provenance.Minutes)
	names := map[string]string{evaluate.TrueState: "own states", evaluate.ZeroState: "control: zero state",
		evaluate.ShuffledState: "control: shuffled states"}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\texact\t95 % interval\tcontains\t95 % interval\tpaper\t95 % interval\tanswers that are a title")
	for _, condition := range result.Conditions {
		fmt.Fprint(w, names[condition.Name])
		for _, s := range []evaluate.Share{condition.Exact, condition.Contains, condition.Paper} {
			fmt.Fprintf(w, "\t%.2f %%\t%.2f–%.2f", 100*s.Value, 100*s.Low, 100*s.High)
		}
		fmt.Fprintf(w, "\t%.1f %%\n", 100*condition.Valid.Value)
	}
	return w.Flush()
}
