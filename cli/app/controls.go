package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
)

func controlsCommand() *cli.Command {
	return &cli.Command{
		Name:  "controls",
		Usage: "test whether a run's answers come from the recommender's states",
		Description: "Asks the questions of recint evaluate and compares the answers, by micro-F1, with those of controls: a state of zeros,\n" +
			"states of other samples, one constant answer, the adapter without the LLM, probes on the same states (linear, MLP, and\n" +
			"linear on an untrained recommender), the recommender with its item table permuted, the history with another last item,\n" +
			"the history as plain text for the same LLM, and runs named with --beside, such as one with the adapter bias. Uses a\n" +
			"bootstrap over users, with p-values adjusted across the table (Holm), and shows McNemar's test beside it. Rows are marked\n" +
			"NOT SHOWN if they do not show that answers come from the states, NOT BETTER if the same states may say as much without\n" +
			"the LLM, and NOT LEARNED if those of an untrained recommender may. With --also, the table pools runs of several seeds: it\n" +
			"shows their lowest and highest figures, and the bootstrap draws users with their samples of all runs. Repeat the command\n" +
			"to resume.",
		Flags: []cli.Flag{
			runFlag(),
			alsoFlag(),
			&cli.StringSliceFlag{Name: "beside", Usage: "use another run as a control: `NAME=FOLDER`; may be repeated, also with the same name for each run of --also"},
			taskFlag(), wordingFlag(), samplesFlag(), evaluationSeed(), sideBySideFlag(), jsonFlag,
		},
		Action: controlsAction,
	}
}

func alsoFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "also", Usage: "pool --run with the run in `FOLDER`, trained with other seeds; may be repeated"}
}

// pooledRuns are the folders of --run and --also.
func pooledRuns(c *cli.Context) []string {
	return append([]string{c.String("run")}, c.StringSlice("also")...)
}

func controlsAction(c *cli.Context) error {
	if err := checkEvaluation(c); err != nil {
		return err
	}
	runs := pooledRuns(c)
	beside, err := controlRuns(c, len(runs))
	if err != nil {
		return err
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		var all []control.Evaluated
		var first answered
		for i, folder := range runs {
			one, err := controlled(c, engine, folder, true)
			if err != nil {
				return err
			}
			if i == 0 {
				first = one
			}
			for _, other := range beside {
				answers, err := controlled(c, engine, other.folders[i], false)
				if err != nil {
					return err
				}
				one.Others = append(one.Others, control.Other{Name: other.name, Answers: answers.Answers})
			}
			all = append(all, one.Evaluated)
		}
		table, err := control.New(all, first.userOf)
		if err != nil {
			return err
		}
		err = artifact.WriteAtomic(first.table, func(w io.Writer) error { return json.NewEncoder(w).Encode(table) }) // for reports
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(c, table)
		}
		return table.Write(c.App.Writer)
	})
}

// controlRun is a control that is another run, with one folder for each evaluated run.
type controlRun struct {
	name    string
	folders []string
}

// controlRuns are the runs of --beside.
func controlRuns(c *cli.Context, runs int) (all []controlRun, err error) {
	for _, beside := range c.StringSlice("beside") {
		name, folder, ok := strings.Cut(beside, "=")
		if !ok || name == "" || folder == "" {
			return nil, usage(c, "--beside is %q; it must be NAME=FOLDER", beside)
		}
		at := slices.IndexFunc(all, func(r controlRun) bool { return r.name == name })
		if at < 0 {
			at, all = len(all), append(all, controlRun{name: name})
		}
		all[at].folders = append(all[at].folders, folder)
	}
	for _, r := range all {
		if len(r.folders) != runs {
			return nil, usage(c, "--beside names %d runs %q beside %d; name one for each run", len(r.folders), r.name, runs)
		}
	}
	return all, nil
}

// answered is an evaluation and its controls.
type answered struct {
	control.Evaluated
	userOf func(sample string) (int32, error)
	table  string // the file for the table of its controls
}

// controlled evaluates a run, with all of its controls or none, or reads the answers from its
// folder.
func controlled(c *cli.Context, engine *cgo.Engine, folder string, all bool) (a answered, err error) {
	asking := run.Asking{Task: c.String("task"), Wording: c.Int("wording") - 1}
	r, err := run.OpenAsking(engine, engine, folder, asking, interpret.Options{Slots: c.Int("side-by-side")})
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	n := c.Int("samples")
	if n == 0 {
		n = len(r.Split.Test)
	}
	bar := newProgress(c.App.ErrWriter, "answering")
	defer bar.end()
	kept := run.AnswersOf{Samples: n, Seed: c.Uint64("seed"), Controls: true, Wording: asking.Wording}
	a.userOf, a.table = r.UserOf, run.ControlsPath(folder, r.Task, kept)
	if !all {
		kept.Controls = false // a control needs none
		a.Answers, err = r.Answers(c.Context, folder, kept, func(done, total int) { bar.to(done, total, "samples") })
		return a, err
	}
	a.Evaluated, err = r.WithControls(c.Context, folder, kept, func(what string, done, total int) {
		bar.what = what
		bar.to(done, total, "samples")
	})
	return a, err
}

func ranksCommand() *cli.Command {
	return &cli.Command{
		Name:  "ranks",
		Usage: "rank the titles of held-out items, which no adapter was trained to say",
		Description: "For test sequences that end in a held-out item, the LLM scores the titles of all held-out items. The table shows the rank of\n" +
			"the true title given its own states, given another sample's states, and when each title's mean over all states is\n" +
			"subtracted. Lookups know none of these titles. Repeat the command to resume.",
		Flags: []cli.Flag{
			runFlag(), taskFlag(),
			&cli.IntFlag{Name: "samples", DefaultText: "all", Usage: "number `N` of random test sequences that end in a held-out item"},
			evaluationSeed(), jsonFlag,
		},
		Action: ranksAction,
	}
}

func ranksAction(c *cli.Context) error {
	if err := onlyFlags(c, "run"); err != nil {
		return err
	}
	n, seed, dir := c.Int("samples"), c.Uint64("seed"), c.String("run")
	if n < 0 {
		return usage(c, "--samples is %d; it must be 2 or more", n)
	}
	return withEngine(c, func(engine *cgo.Engine) (err error) {
		r, err := run.OpenAsking(engine, engine, dir, run.Asking{Task: c.String("task")}, interpret.Options{Slots: 1})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		bar := newProgress(c.App.ErrWriter, "scoring titles")
		cost := sayCost(bar.note, " for each sequence; --samples asks about fewer")
		ranks, err := r.TitleRanks(c.Context, n, seed, run.RanksPath(dir, r.Task, n, seed), cost,
			func(done, total int) { bar.to(done, total, "sequences") })
		bar.end()
		switch {
		case err != nil:
			return err
		case c.Bool("json"):
			return printJSON(c, map[string]any{"evaluation": ranks, "rows": ranks.Rows})
		}
		return ranks.Write(c.App.Writer)
	})
}

func abstentionCommand() *cli.Command {
	return &cli.Command{
		Name:  "abstention",
		Usage: "test whether states unlike the training states are recognised",
		Description: "A state counts as unlike the training states if its Mahalanobis distance from their mean exceeds that of 99 % of the\n" +
			"validation states. The table shows how many states are marked on the test split, and how many of states that this\n" +
			"recommender did not compute. Uses no LLM.",
		Flags:  []cli.Flag{runFlag(), taskFlag(), samplesFlag(), evaluationSeed(), jsonFlag},
		Action: abstentionAction,
	}
}

func abstentionAction(c *cli.Context) error {
	if err := onlyFlags(c, "run"); err != nil {
		return err
	}
	return withEngine(c, func(engine *cgo.Engine) (err error) {
		r, err := run.OpenAsking(engine, engine, c.String("run"), run.Asking{Task: c.String("task")}, interpret.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		all, err := r.Abstentions(c.Context, c.Int("samples"), c.Uint64("seed"))
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(c, all)
		}
		w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "states\tn\tunlike those of training")
		for _, a := range all {
			fmt.Fprintf(w, "%s\t%d\t%.1f %%\n", a.States, a.N, 100*a.Unlike)
		}
		return w.Flush()
	})
}
