package app

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/run"
)

var oracleSeed = &cli.Uint64Flag{Name: "seed", Value: 1, Usage: "random `SEED` of the oracles and of the choice of sequences"}

func oracleCommand() *cli.Command {
	return &cli.Command{
		Name:  "oracle",
		Usage: "describe in words the ideal next item that a diffusion recommender generates",
		Description: "A diffusion recommender generates an oracle: a vector for the ideal next item, which need not equal any item's vector. The run\n" +
			"describes it freely and by the likeliest titles of the catalogue. A run that asks for the last item reads the oracle as a\n" +
			"virtual last item of the history; a run of the item prompt reads the oracle alone. The table also shows the items nearest to\n" +
			"the oracle.",
		Flags: []cli.Flag{
			runFlag(),
			userFlag(), historyFlag(1),
			&cli.IntFlag{Name: "samples", Usage: "use `N` random test sequences instead of --user or --history"},
			&cli.StringFlag{Name: "against", Usage: "with --samples: compare the oracles with the top recommendations of another recommender, `FILE`.safetensors, by the item that came next"},
			oracleSeed,
			jsonFlag,
		},
		Action: oracleAction,
	}
}

func oracleAction(c *cli.Context) error {
	if err := onlyFlags(c, "run"); err != nil {
		return err
	}
	if !oneOf(c, "user", "history", "samples") {
		return usage(c, "say for whom: one of --user, --history and --samples")
	}
	if c.IsSet("samples") && c.Int("samples") < 1 {
		return usage(c, "--samples is %d; it must be 1 or more", c.Int("samples"))
	}
	if c.IsSet("against") && !c.IsSet("samples") {
		return usage(c, "--against compares oracles of test sequences; give --samples, too")
	}
	return withEngine(c, func(engine *cgo.Engine) (err error) {
		r, err := run.Open(engine, c.String("run"), interpret.Options{Slots: 64})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		if c.IsSet("against") {
			return oraclesAgainst(c, engine, r)
		}
		if c.IsSet("samples") {
			return oraclesOfTest(c, r)
		}
		history, err := history(c, r.Data, r.Source.Positions())
		if err != nil {
			return err
		}
		oracles, err := r.Oracles(c.Context, [][]int32{history}, c.Uint64("seed"))
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(c, oracles[0])
		}
		fmt.Fprintf(c.App.Writer, "%s: %s\n\n", whose(c), strings.Join(oracles[0].History, ", "))
		return showOracle(c.App.Writer, oracles[0])
	})
}

// showOracle prints one oracle.
func showOracle(to io.Writer, o run.Oracle) error {
	fmt.Fprintf(to, "the oracle in words: %s\n", oneLine(o.Words))
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  the likeliest titles\tprobability\titems that fit it best\tscore")
	for i := range max(len(o.Titles), len(o.Nearest)) {
		line := []any{"", "", "", ""}
		if i < len(o.Titles) {
			line[0], line[1] = oneLine(o.Titles[i].Title), fmt.Sprintf("%.3f", o.Titles[i].Score)
		}
		if i < len(o.Nearest) {
			line[2], line[3] = oneLine(o.Nearest[i].Title), fmt.Sprintf("%.2f", o.Nearest[i].Score)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", line...)
	}
	return w.Flush()
}

// oraclesAgainst compares oracles and another recommender's choices with the truth.
func oraclesAgainst(c *cli.Context, engine *cgo.Engine, r *run.Run) error {
	oracles, err := testOracles(c, r)
	if err != nil {
		return err
	}
	other, err := recommender.Load(engine, c.String("against"))
	if err != nil {
		return err
	}
	defer other.Close()
	table, err := r.OracleTruth(c.Context, oracles, other)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, table)
	}
	fmt.Fprintf(c.App.Writer, "what came next, against %s, n = %d; figures are micro-F1, intervals are a bootstrap over users\n",
		filepath.Base(c.String("against")), oracles.N)
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tn\toracle\trecommendation\tdifference\t95 % interval\tMcNemar p\tadjusted p")
	for _, row := range table.Rows {
		fmt.Fprintf(w, "%s\t%d\t%v\t%v\t%+.3f\t%+.3f to %+.3f\t%.2g\t%.2g\n", row.Control, row.N, row.OwnF1, row.OtherF1, row.Difference.Mean,
			row.Difference.Low, row.Difference.High, row.McNemar, row.Adjusted)
	}
	return w.Flush()
}

// testOracles puts the oracles of test sequences into words, or takes them from the run's folder.
func testOracles(c *cli.Context, r *run.Run) (*run.OracleResult, error) {
	n, seed := c.Int("samples"), c.Uint64("seed")
	bar := newProgress(c.App.ErrWriter, "reading oracles")
	defer bar.end()
	return r.EvaluateOracles(c.Context, n, seed, run.OraclesPath(c.String("run"), n, seed),
		func(done, total int) { bar.to(done, total, "oracles") })
}

// oraclesOfTest summarises the oracles of test sequences.
func oraclesOfTest(c *cli.Context, r *run.Run) error {
	result, err := testOracles(c, r)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, result)
	}
	fmt.Fprintf(c.App.Writer, "oracles of the test split, n = %d; adapter %s trained on %d samples in %.1f minutes\n", result.N,
		r.Spec.Adapter.Label(), r.Provenance.Samples, r.Provenance.Minutes)
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "the words of an oracle …\t\t95 % interval")
	for _, line := range []struct {
		what  string
		share evaluate.Share
	}{
		{"are a title of the catalogue", result.Valid},
		{"are the item whose embedding fits it best", result.Nearest},
		{"are the item that came next", result.Next},
		{"have it among the likeliest titles", result.NextAmong},
		{"sanity: an item's own embedding in its place names it", result.Sanity},
	} {
		fmt.Fprintf(w, "%s\t%.2f %%\t%.2f–%.2f\n", line.what, 100*line.share.Value, 100*line.share.Low, 100*line.share.High)
	}
	return w.Flush()
}
