package app

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	why "github.com/recinterpreter/recinterpreter/core/explain"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

func explainCommand() *cli.Command {
	return &cli.Command{
		Name:  "explain",
		Usage: "find the smallest change of a history that changes the recommendation",
		Description: "Runs the recommender on the history with items removed or replaced, fewest changes first and removals before replacements,\n" +
			"until it recommends another item; with --top N, until its top N is less than half similar to the one before, where an item\n" +
			"counts less the further it moves down (arXiv 2508.03606). Never recommends items of the history. Uses no LLM. --samples\n" +
			"measures how often such changes exist on the test part, for the top 1, 5, 10 and 20, and how often those of the top 1 also\n" +
			"change the others.",
		Flags: []cli.Flag{
			dataFlag(), recommenderFlag(),
			userFlag(), historyFlag(1),
			&cli.IntFlag{Name: "samples", Usage: "measure on the first `N` test sequences"},
			&cli.IntFlag{Name: "top", Value: 1, Usage: "change the top `ITEMS`"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "random seed of the replacements, a `NUMBER`"},
			jsonFlag,
		},
		Action: explainAction,
	}
}

// explained is an explanation in words.
type explained struct {
	History []string `json:"history"`
	Before  []string `json:"recommended"`
	Changes []string `json:"changes"`
	After   []string `json:"recommended_after"`
	Tried   int      `json:"tried"`
}

func explainAction(c *cli.Context) error {
	if err := onlyFlags(c, "recommender"); err != nil {
		return err
	}
	if !oneOf(c, "user", "history", "samples") {
		return usage(c, "say whose recommendations to explain: one of --user, --history and --samples")
	}
	if c.Int("top") < 1 || c.IsSet("samples") && c.Int("samples") < 1 {
		return usage(c, "--top and --samples must be 1 or more")
	}
	return withRecommender(c, func(_ *cgo.Engine, r recommender.Live, d *dataset.Dataset, split dataset.Split) error {
		if r.Generates() {
			return fmt.Errorf("%s draws an oracle for each recommendation, so that another draw changes it, too; choose another recommender",
				r.Name())
		}
		options := why.Options{Items: r.Catalogue(), Top: c.Int("top"), Seed: c.Uint64("seed")}
		if c.IsSet("samples") {
			return measureExplanations(c, r, split, options)
		}
		history, err := history(c, d, r.Positions())
		if err != nil {
			return err
		}
		e, err := why.Find(c.Context, r, history[max(0, len(history)-r.Positions()):], options)
		if err != nil {
			return err
		}
		x := inWords(e, d)
		if c.Bool("json") {
			return printJSON(c, x)
		}
		return x.write(c.App.Writer)
	})
}

func measureExplanations(c *cli.Context, r recommender.Live, split dataset.Split, options why.Options) error {
	bar := newProgress(c.App.ErrWriter, "explaining")
	test := split.Test[:min(c.Int("samples"), len(split.Test))]
	measured, err := why.MeasureTest(c.Context, r, test, r.Positions(), options, func(done, total int) { bar.to(done, total, "explanations") })
	bar.end()
	switch {
	case err != nil:
		return err
	case c.Bool("json"):
		return printJSON(c, measured)
	}
	return why.WriteMeasured(c.App.Writer, measured)
}

// inWords names items by their titles.
func inWords(e *why.Explanation, d *dataset.Dataset) explained {
	title := func(item int32) string { return oneLine(d.Items[item].Title) }
	x := explained{Changes: []string{}, Tried: e.Tried}
	for _, item := range e.History {
		x.History = append(x.History, title(item))
	}
	for _, s := range e.Before {
		x.Before = append(x.Before, title(s.Item))
	}
	for _, s := range e.After {
		x.After = append(x.After, title(s.Item))
	}
	for _, change := range e.Changes {
		text := fmt.Sprintf("without %q", title(e.History[change.At]))
		if change.By != why.Removed {
			text = fmt.Sprintf("with %q instead of %q", title(change.By), title(e.History[change.At]))
		}
		x.Changes = append(x.Changes, text)
	}
	return x
}

func (x explained) write(w io.Writer) error {
	fmt.Fprintf(w, "after %s\nthe recommender names %s\n", strings.Join(x.History, ", "), strings.Join(x.Before, ", "))
	if len(x.Changes) == 0 {
		_, err := fmt.Fprintf(w, "none of %d changed histories changes that enough\n", x.Tried)
		return err
	}
	_, err := fmt.Fprintf(w, "%s it would name %s\n(no smaller change was found among %d changed histories)\n", strings.Join(x.Changes, " and "),
		strings.Join(x.After, ", "), x.Tried)
	return err
}
