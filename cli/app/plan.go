package app

import (
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/run"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name:  "plan",
		Usage: "say what recint align would take, in memory and in time, before anything is loaded",
		Description: "Takes the flags of recint align. The speed of the machine is measured with products of the LLM's kind in half a second;\n" +
			"a plan of the time holds for a machine that does nothing else.",
		Flags:  append(alignFlags(), jsonFlag),
		Action: planAction,
	}
}

func planAction(c *cli.Context) error {
	if err := onlyFlags(c, "recommender"); err != nil {
		return err
	}
	s, err := spec(c)
	if err != nil {
		return err
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		p, err := run.Plan(engine, s)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(c, p)
		}
		return showPlan(c, p)
	})
}

func showPlan(c *cli.Context, p align.Plan) error {
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, row := range []struct {
		what  string
		bytes int64
	}{
		{"the LLM's matrices and their transposes", p.Weights}, {"keys and values of the prompt's beginning", p.Prefix},
		{"the longest pass", p.Pass}, {"the adapter, its gradient and moments", p.Optimiser}, {"states to train on", p.Samples},
		{"in all", p.Total()}, {"free", p.Free},
	} {
		fmt.Fprintf(w, "%s\t%s\n", row.what, mebibytes(row.bytes))
	}
	fmt.Fprintf(w, "work for a sample\t%.1f GFLOP at %.1f positions\n", p.FLOP/1e9, p.Positions)
	fmt.Fprintf(w, "large products on this machine\t%.0f GFLOP/s\n", p.Speed/1e9)
	fmt.Fprintf(w, "expected speed\t%.1f samples/s\n", p.Rate)
	if p.Minutes > 0 {
		fmt.Fprintf(w, "expected time\t%.0f minutes, without the warm start\n", p.Minutes)
	}
	if err := w.Flush(); err != nil || p.Fits {
		return err
	}
	_, err := fmt.Fprintln(c.App.Writer, "It does not fit. --micro-batch shrinks the longest pass, --precision bf16 the matrices; --backend cpu uses the "+
		"computer's own memory; or take a smaller LLM.")
	return err
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
