package app

import (
	"fmt"
	"runtime"
	"syscall"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/run"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name:  "plan",
		Usage: "estimate the memory and time of recint align before the LLM is loaded",
		Description: "Takes the flags of recint align. The speed of the machine is measured with products of the LLM's kind in half a second;\n" +
			"a plan of the time holds for a machine that does nothing else.",
		Flags:  append(alignFlags(), jsonFlag),
		Action: planAction,
	}
}

func planAction(c *cli.Context) error {
	if err := oneSource(c); err != nil {
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

func showPlan(c *cli.Context, p align.Estimate) error {
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, row := range []struct {
		what  string
		bytes int64
	}{
		{"the LLM's matrices and their transposes", p.Weights}, {"keys and values of the prompt's beginning", p.Prefix},
		{"the longest pass", p.Pass}, {"the adapter, its gradient and moments", p.Optimiser},
		{"in all", p.Total()}, {"free on " + p.Device, p.Free}, {"states to train on, in the computer's own memory", p.States},
	} {
		fmt.Fprintf(w, "%s\t%s\n", row.what, align.Mebibytes(row.bytes))
	}
	fmt.Fprintf(w, "work for a sample\t%.1f GFLOP at %.1f positions\n", p.FLOP/1e9, p.Positions)
	fmt.Fprintf(w, "large products on this machine\t%.0f GFLOP/s\n", p.Speed/1e9)
	fmt.Fprintf(w, "expected speed\t%.1f samples/s\n", p.Rate)
	fmt.Fprintf(w, "the run\t%d samples in %.1f minutes, %.1f of them for the warm start; validations come on top\n", p.Samples, p.Minutes,
		p.Warm)
	if err := w.Flush(); err != nil || p.Fits {
		return err
	}
	_, err := fmt.Fprintf(c.App.Writer, "It does not fit: %s.\n", howToFit)
	return err
}

// howToFit is what to do about a run that does not fit.
const howToFit = "a smaller --pass-positions shrinks the longest pass, --precision bf16 the matrices, --hidden, --tokens and " +
	"--adapter mlp the adapter; --backend cpu uses the computer's own memory; or take a smaller LLM"

// peakMemory says how much memory this process has had at most, where the system tells, and how much of the GPU's was taken.
func peakMemory(ofGPU int64) string {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return ""
	}
	bytes := int64(usage.Maxrss)
	if runtime.GOOS == "linux" {
		bytes *= 1024 // where others count bytes
	}
	text := ", peak memory " + align.Mebibytes(bytes)
	if ofGPU > 0 {
		text += "; of the GPU's, with what other programs hold, " + align.Mebibytes(ofGPU)
	}
	return text
}
