package app

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
)

func editCommand() *cli.Command {
	return &cli.Command{
		Name:  "edit",
		Usage: "move a state towards an attribute; compare words and recommendations before and after",
		Description: "Moves the state after the history along the attribute's direction: the mean of the training states after items with the\n" +
			"attribute minus the mean after other items. Held-out items do not contribute. Dose 1 is the whole difference. The recommender\n" +
			"scores the moved state like any other.",
		Flags: []cli.Flag{
			runFlag(), taskFlag(),
			userFlag(), historyFlag(2),
			&cli.StringFlag{Name: "toward", Usage: "`ATTRIBUTE=VALUE`, e.g. genres=Horror or decade=1950s (required)"},
			&cli.Float64Flag{Name: "dose", Value: 1, Usage: "step size as a `MULTIPLE` of the difference of means; a negative one moves away"},
			jsonFlag,
		},
		Action: editAction,
	}
}

// editedState is an edited state's answer and recommendations.
type editedState struct {
	Says  string   `json:"says"`
	Items []string `json:"items"`
}

func editAction(c *cli.Context) error {
	if err := onlyFlags(c, "run", "toward"); err != nil {
		return err
	}
	if !oneOf(c, "user", "history") {
		return usage(c, "say whose state to move, either --user or --history")
	}
	attribute, value, ok := strings.Cut(c.String("toward"), "=")
	if !ok || attribute == "" || value == "" {
		return usage(c, "--toward is %q; it must be ATTRIBUTE=VALUE", c.String("toward"))
	}
	return withEngine(c, func(engine *cgo.Engine) (err error) {
		r, err := run.OpenAsking(engine, engine, c.String("run"), run.Asking{Task: c.String("task")}, interpret.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		history, err := history(c, r.Data, r.Source.Positions())
		if err != nil {
			return err
		}
		if len(history) < 2 {
			return fmt.Errorf("the history has one item; name at least two")
		}
		space, err := r.Space(c.Context, attribute)
		if err != nil {
			return err
		}
		direction, err := space.Direction(value)
		if err != nil {
			return err
		}
		var states []editedState
		for _, dose := range []float64{0, c.Float64("dose")} {
			edited, err := r.Edit(c.Context, [][]int32{history}, direction, dose)
			if err != nil {
				return err
			}
			state := editedState{Says: edited[0].Answers[0].Text}
			for _, s := range edited[0].Top {
				state.Items = append(state.Items, r.Data.Items[s.Item].Title)
			}
			states = append(states, state)
		}
		if c.Bool("json") {
			return printJSON(c, map[string]any{"history": r.Titles(history), "before": states[0], "after": states[1]})
		}
		fmt.Fprintf(c.App.Writer, "%s, %g times towards %s %s:\n", whose(c), c.Float64("dose"), attribute, value)
		w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "  \tbefore\tafter\n  the LLM says\t%s\t%s\n", oneLine(states[0].Says), oneLine(states[1].Says))
		for i, title := range states[0].Items {
			mark := word(slices.Contains(states[0].Items, states[1].Items[i]), "", "new")
			fmt.Fprintf(w, "  %d\t%s\t%s\t%s\n", i+1, oneLine(title), oneLine(states[1].Items[i]), mark)
		}
		return w.Flush()
	})
}

func editsCommand() *cli.Command {
	return &cli.Command{
		Name:  "edits",
		Usage: "test whether words and recommendations follow edits of the states",
		Description: "For each value that at least --items items have, moves the states after test histories towards it (see recint edit) with\n" +
			"doses from -2 to 2, and along random directions of the same length. The table shows the probability of the value in the\n" +
			"LLM's answer and its share of the recommender's top 10, the means of all runs that are named, each of which weighs the same.\n" +
			"Repeat the command to resume.",
		Flags: []cli.Flag{
			runFlag(), alsoFlag(), taskFlag(),
			&cli.IntFlag{Name: "samples", Value: 200, Usage: "number `N` of random test sequences that the recommender continues"},
			&cli.IntFlag{Name: "asked", Value: 20, Usage: "ask the LLM about `N` of them"},
			&cli.Float64Flag{Name: "minutes", DefaultText: "none; --asked says how many", Usage: "ask the LLM about as many as fit into `MINUTES` for each run; the speed is measured first"},
			&cli.IntFlag{Name: "items", Value: 50, Usage: "test values that at least this `NUMBER` of items have"},
			evaluationSeed(), sideBySideFlag(), jsonFlag,
		},
		Action: editsAction,
	}
}

func editsAction(c *cli.Context) error {
	if err := checkEvaluation(c); err != nil {
		return err
	}
	of := run.EditsOf{Samples: c.Int("samples"), Asked: c.Int("asked"), Minutes: c.Float64("minutes"), Items: c.Int("items"), Seed: c.Uint64("seed")}
	switch {
	case of.Samples < 1 || of.Asked < 1 || of.Items < 1:
		return usage(c, "--samples, --asked and --items must be 1 or more")
	case c.IsSet("minutes") && (c.IsSet("asked") || !(of.Minutes > 0)):
		return usage(c, "--minutes is %g; it must be above 0, and not be combined with --asked", of.Minutes)
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		var all []*run.Edits
		for _, folder := range pooledRuns(c) {
			one, err := editsOf(c, engine, folder, of)
			if len(all) > 0 { // whose edits are kept
				err = artifact.Resumable(err)
			}
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		edits, err := run.PoolEdits(all)
		switch {
		case err != nil:
			return err
		case c.Bool("json"):
			return printJSON(c, map[string]any{"evaluation": edits, "values": edits.Values})
		}
		return edits.Write(c.App.Writer)
	})
}

// editsOf evaluates edits of a run, or reads what its folder has of them.
func editsOf(c *cli.Context, engine *cgo.Engine, folder string, of run.EditsOf) (_ *run.Edits, err error) {
	r, err := run.OpenAsking(engine, engine, folder, run.Asking{Task: c.String("task")}, interpret.Options{Slots: c.Int("side-by-side")})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	bar := newProgress(c.App.ErrWriter, filepath.Base(folder)+": moving states")
	defer bar.end()
	return r.EvaluateEdits(c.Context, of, run.EditsPath(folder, r.Task, of), func(done, total int) { bar.to(done, total, "values") })
}
