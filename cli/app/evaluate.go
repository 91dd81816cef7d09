package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

func runFlag() cli.Flag {
	return &cli.StringFlag{Name: "run", Usage: "a run's `FOLDER`, made by recint align (required)"}
}

func evaluateCommand() *cli.Command {
	c := &cli.Command{
		Name:  "evaluate",
		Usage: "measure how often a run's answers are right",
		Description: "The question is the run's prompt or, in a run trained on several, the one named by --task. If training held items out, samples\n" +
			"that end in one are reported separately. Each command below is the same for one kind of question.\n" +
			evaluated("NAME", "it is the expected answer and nothing else"),
		Flags: evaluateFlags(),
		Action: func(c *cli.Context) error {
			if c.Args().Present() || c.NumFlags() == 0 {
				return group(c)
			}
			return evaluateRun(c, nil)
		},
	}
	for _, t := range task.Evaluations() {
		if !t.Own {
			continue
		}
		c.Subcommands = append(c.Subcommands, &cli.Command{
			Name:        t.Name,
			Usage:       t.Usage + ", on the test split",
			Description: evaluated(t.Name, t.Right),
			Flags:       evaluateFlags(),
			Action:      func(c *cli.Context) error { return evaluateRun(c, &t) },
		})
	}
	c.Subcommands = append(c.Subcommands, controlsCommand(), editsCommand(), ranksCommand(), abstentionCommand(), &cli.Command{
		Name:      "merge",
		Usage:     "merge the answer files of all shards of an evaluation",
		ArgsUsage: "SHARD.jsonl…",
		Description: "The result equals, byte for byte, the file that the evaluation writes without --shard. Put it in that file's place, and the\n" +
			"same command without --shard prints the figures.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "to", Usage: "the merged `FILE` (required)"}},
		Action: func(c *cli.Context) error {
			if c.String("to") == "" || c.NArg() == 0 {
				return usage(c, "name the merged file with --to, and the files of all shards")
			}
			return evaluate.Merge(c.String("to"), c.Args().Slice())
		},
	})
	return c
}

// evaluated describes an evaluation's files and scorers.
func evaluated(name, right string) string {
	return "Answers are stored in the run's folder with the probability of each token: in " + name + "-N-SEED.jsonl, with --minutes in\n" +
		name + "-MINUTESmin-SEED.jsonl, with --no-controls in …-no-controls.jsonl, for a shard in …-shard-2-of-4.jsonl. Repeat the command\n" +
		"to resume. Three scorers: exact (" + right + "), contains (the answer contains the title as whole words), paper (the\n" +
		"answer contains the title as written, like the paper's evaluator). Every question is answered twice: freely, and restricted by\n" +
		"beam search to the allowed answers, such as the catalogue's titles. Controls: a state of zeros, and the states of another sample."
}

// evaluateFlags are the flags for the evaluation of one run.
func evaluateFlags() []cli.Flag {
	return []cli.Flag{
		runFlag(), taskFlag(), wordingFlag(), samplesFlag(),
		&cli.Float64Flag{Name: "minutes", DefaultText: "none; --samples says how many", Usage: "use as many test sequences as fit into `MINUTES`; the speed is measured first, and a repeated command uses the " +
			"same number"},
		evaluationSeed(),
		&cli.StringFlag{Name: "shard", Usage: fmt.Sprintf("answer only `PART` of the samples, e.g. 2/4, in groups of %d samples; "+
			"recint evaluate merge merges the files", evaluate.Chunk)},
		&cli.BoolFlag{Name: "no-controls", DisableDefaultText: true, Usage: "skip the controls"},
		sideBySideFlag(),
		jsonFlag,
	}
}

func taskFlag() cli.Flag {
	return &cli.StringFlag{Name: "task", DefaultText: "the first one", Usage: "the `TASK` to ask, in a run trained on several"}
}

func wordingFlag() cli.Flag {
	return &cli.IntFlag{Name: "wording", Value: 1, Usage: "use wording `NUMBER` of the prompt; the last ones were never used in training"}
}

func samplesFlag() cli.Flag {
	return &cli.IntFlag{Name: "samples", DefaultText: "all", Usage: "number `N` of random test sequences"}
}

func evaluationSeed() cli.Flag {
	return &cli.Uint64Flag{Name: "seed", Value: 1, Usage: "random seed of the sample and of the shuffled control, a `NUMBER`"}
}

func sideBySideFlag() cli.Flag {
	return &cli.IntFlag{Name: "side-by-side", Value: 64, Usage: fmt.Sprintf("answer up to `SAMPLES` at once, 1 to %d", cgo.MaxSlots)}
}

// checkSideBySide refuses a --side-by-side that a generator has no slots for.
func checkSideBySide(c *cli.Context) error {
	if n := c.Int("side-by-side"); n < 1 || n > cgo.MaxSlots {
		return usage(c, "--side-by-side is %d; it must be 1 to %d", n, cgo.MaxSlots)
	}
	return nil
}

// checkEvaluation refuses invalid flags of an evaluation.
func checkEvaluation(c *cli.Context) error {
	if err := onlyFlags(c, "run"); err != nil {
		return err
	}
	if c.Int("samples") < 0 {
		return usage(c, "--samples is %d; it must be 1 or more", c.Int("samples"))
	}
	return checkSideBySide(c)
}

// evaluateRun evaluates a run and prints the result. If a task is given, it must be that of the
// run.
func evaluateRun(c *cli.Context, only *task.Task) error {
	if err := checkEvaluation(c); err != nil {
		return err
	}
	if c.IsSet("minutes") && (c.IsSet("samples") || c.IsSet("shard") || !(c.Float64("minutes") > 0)) {
		return usage(c, "--minutes is %g; it must be above 0, and not be combined with --samples or --shard", c.Float64("minutes"))
	}
	shard, err := evaluate.ParseShard(c.String("shard"))
	if err != nil {
		return usage(c, "--shard: %w", err)
	}
	dir := c.String("run")
	return withEngine(c, func(engine *cgo.Engine) (err error) {
		asking := run.Asking{Task: c.String("task"), Wording: c.Int("wording") - 1}
		r, err := run.OpenAsking(engine, engine, dir, asking, interpret.Options{Slots: c.Int("side-by-side")})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		if only != nil && r.Task.Name != only.Name {
			return fmt.Errorf("the prompt of this run asks for the %s, not for the %s; recint evaluate --run %s measures it", r.Task.Asks, only.Asks,
				dir)
		}
		n := c.Int("samples")
		if n == 0 {
			n = len(r.Split.Test)
		}
		bar := newProgress(c.App.ErrWriter, "answering")
		opts := evaluate.Options{Seed: c.Uint64("seed"), Shard: shard, Controls: !c.Bool("no-controls")}
		path := run.AnswersPath(dir, r.Task, run.AnswersOf{Samples: n, Minutes: c.Float64("minutes"), Seed: opts.Seed, Controls: opts.Controls,
			Wording: asking.Wording, Shard: shard})
		if c.IsSet("minutes") {
			within := time.Duration(c.Float64("minutes") * float64(time.Minute))
			if n, err = evaluate.Within(within, path, n, func(n int) error {
				_, err := r.Evaluate(c.Context, n, opts)
				return err
			}); err != nil {
				return err
			}
			bar.note(fmt.Sprintf("%g minutes have time for %d of %d test sequences", c.Float64("minutes"), n, len(r.Split.Test)))
			opts.Drawn = n
		}
		opts.Path, opts.Progress = path, func(done, total int) { bar.to(done, total, "samples") }
		result, err := r.Evaluate(c.Context, n, opts)
		bar.end()
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(c, result)
		}
		about := result.About()
		fmt.Fprintln(c.App.Writer, trainedFor(r, result.What(), about.N, about.Shard))
		return result.Write(c.App.Writer)
	})
}

// trainedFor describes the evaluation: the task, the samples and the adapter.
func trainedFor(r *run.Run, what string, n int, shard string) string {
	if shard != "" {
		shard = fmt.Sprintf(" (shard %s alone; recint evaluate merge joins all)", shard)
	}
	return fmt.Sprintf("%s on the test split, n = %d%s; adapter %s trained on %d samples in %.1f minutes",
		what, n, shard, r.Spec.Adapter.Label(), r.Provenance.Samples, r.Provenance.Minutes)
}
