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
		Description: "Takes the flags of recint align. Measures the speed of this machine for half a second, with matrix products like the LLM's;\n" +
			"the time holds for a machine that does nothing else.",
		Flags: append(alignFlags(),
			&cli.IntFlag{Name: "ranks", Value: 1, Usage: "number `N` of processes that share the work"},
			&cli.Float64Flag{Name: "network", Value: 10, Usage: "network `RATE` between them, in Gb/s"},
			&cli.IntFlag{Name: "histories", DefaultText: "none", Usage: "also estimate the time to answer questions about `M` histories"},
			jsonFlag),
		Action: planAction,
	}
}

func planAction(c *cli.Context) error {
	if err := oneSource(c); err != nil {
		return err
	}
	ranks, histories := c.Int("ranks"), c.Int("histories")
	if ranks < 1 || histories < 0 || !(c.Float64("network") > 0) {
		return usage(c, "--ranks must be at least 1, --histories at least 0 and --network above 0")
	}
	s, err := spec(c)
	if err != nil {
		return err
	}
	s.LongPasses = s.LongPasses && ranks == 1
	return withEngine(c, func(engine *cgo.Engine) error {
		p, err := run.Plan(engine, s)
		if err != nil {
			return err
		}
		var shared *align.Sharing // nil on one rank
		if ranks > 1 {
			sharing := p.Shared(s.Config, ranks, 1e9*c.Float64("network"))
			shared = &sharing
		}
		if c.Bool("json") {
			return printJSON(c, struct {
				align.Estimate
				Shared    *align.Sharing `json:"shared,omitempty"`
				Answering float64        `json:"answering_hours,omitempty"`
			}{p, shared, p.Answering(histories, ranks)})
		}
		if err := showPlan(c, p); err != nil {
			return err
		}
		if shared != nil {
			fmt.Fprintf(c.App.Writer, `on %d ranks like this machine, each with %s of device memory and %s for sums of gradients:
  a step takes %.2f s, and %.3f s of the network; the run takes %.1f minutes; efficiency of a step %.0f %%
  limited by %s
`, ranks, align.Mebibytes(shared.Memory), align.Mebibytes(shared.Sums), shared.Compute, shared.Network, shared.Minutes, 100*shared.Share, shared.Limit)
		}
		if histories > 0 {
			fmt.Fprintf(c.App.Writer, "answers about %d histories take about %.1f hours on %d ranks, limited by computing; each answers a --shard\n",
				histories, p.Answering(histories, ranks), ranks)
		}
		return nil
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
	fmt.Fprintf(w, "work for a sample\t%.1f GFLOP at %.1f positions%s\n", p.FLOP/1e9, p.Positions, padded(p.Padding))
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

// padded says how much of the rows of a pass is padding, where there is any.
func padded(share float64) string {
	if share == 0 {
		return ""
	}
	return fmt.Sprintf("; padding is %.0f %% of the rows of a pass", 100*share)
}

// howToFit is the remedy for a run that does not fit.
const howToFit = "a smaller --pass-positions shrinks the longest pass, --precision bf16 the matrices, --hidden, --tokens and " +
	"--adapter mlp the adapter; --backend cpu uses the computer's own memory; or take a smaller LLM"

// peakMemory describes the peak memory of this process, if the system reports it, and the GPU
// memory in use.
func peakMemory(ofGPU int64) string {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return ""
	}
	bytes := int64(usage.Maxrss)
	if runtime.GOOS == "linux" {
		bytes *= 1024 // Linux counts kilobytes, other systems bytes
	}
	text := ", peak memory " + align.Mebibytes(bytes)
	if ofGPU > 0 {
		text += "; of the GPU's, with what other programs hold, " + align.Mebibytes(ofGPU)
	}
	return text
}
