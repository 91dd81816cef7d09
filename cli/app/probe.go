package app

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/probe"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/states"
)

func probeCommand() *cli.Command {
	return &cli.Command{
		Name:  "probe",
		Usage: "measure how well a classifier names the last item from the states, without an LLM",
		Description: "Trains a linear classifier and one with a hidden layer (MLP) on the states of the training split. Both name the last item of a\n" +
			"history, from the state after it and, like a prompt with two states, from the states before and after it. Learning rates and\n" +
			"epochs are chosen on the validation split; the test split is used once. The figures show how easily the item can be read\n" +
			"from the states: compare an adapter's accuracy with them. A probe cannot name items that were never a target in training. A\n" +
			"catalogue like MovieLens-100K's takes about a minute; the time grows with the number of items. Repeat the command to resume;\n" +
			"the checkpoint is kept in $RECINT_HOME or the cache folder.",
		Flags: []cli.Flag{
			dataFlag(), recommenderOr("states"), statesFlag(),
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "random `SEED` of the initial weights and of the training order"},
			microBatchFlag(), jsonFlag,
		},
		Action: onRanks(probeStates),
	}
}

func probeStates(c *cli.Context) error {
	if err := oneSource(c); err != nil {
		return err
	}
	if c.String("states") == "" {
		return withRecommender(c, func(engine *cgo.Engine, r recommender.Live, d *dataset.Dataset, split dataset.Split) error {
			return probeSource(c, engine, r, len(d.Items), split, r.Name())
		})
	}
	return withStates(c, c.String("states"), func(f *states.File, d *dataset.Dataset) error {
		split, err := f.Split()
		if err != nil {
			return err
		}
		return withEngine(c, func(engine *cgo.Engine) error {
			return probeSource(c, engine, f, len(d.Items), split, c.String("states"))
		})
	})
}

// probeSource probes a source of states with a name.
func probeSource(c *cli.Context, engine *cgo.Engine, source adapter.Source, items int, split dataset.Split, name string) error {
	dir, err := home()
	if err != nil {
		return err
	}
	bar := newProgress(c.App.ErrWriter, "probing")
	report, err := probe.Measure(c.Context, engine, source, items, split, probe.Options{
		Seed: c.Uint64("seed"), MicroBatch: c.Int("micro-batch"), Checkpoints: filepath.Join(dir, "checkpoints"),
		Progress: func(p probe.Progress) {
			bar.to(p.Done, p.Total, fmt.Sprintf("batches, %s probe of states %s the item", p.Probe, p.Inputs))
		},
	})
	bar.end()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, report)
	}
	return showProbes(c, name, report)
}

// showProbes prints a row for each kind of input, and how the figures were obtained.
func showProbes(c *cli.Context, model string, report *probe.Report) error {
	out, first := c.App.Writer, report.Figures[0]
	fmt.Fprintf(out, "how often a probe names the last item from states of %s, test part, n = %d\n", model, first.Test.N)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\tlinear\t95 % interval\tMLP\t95 % interval")
	rows := map[string]string{probe.After: "state after the item", probe.BeforeAndAfter: "states before and after it"}
	chosen := map[string][]string{}
	for i, f := range report.Figures {
		if i == 0 || f.Inputs != report.Figures[i-1].Inputs {
			fmt.Fprintf(w, "\n%s", rows[f.Inputs])
		}
		fmt.Fprintf(w, "\t%.2f %%\t%.2f–%.2f", 100*f.Test.Value, 100*f.Test.Low, 100*f.Test.High)
		chosen[f.Probe] = append(chosen[f.Probe], fmt.Sprintf("%d of %d at %g", f.Epoch, f.Epochs, f.LearningRate))
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, `trained on %d sequences of the train part; the MLP has %d hidden units
epoch and learning rate chosen on validation (n = %d): linear %s; MLP %s
%.2f %% of the test items occur in training; no probe can name the others, and chance is %.2f %%
The better probe is the honest ceiling of an adapter: an LLM that reads these states can be expected to name no more. The
states may hold more than a probe of this size finds in so many epochs.
`, report.Train, report.Figures[1].Hidden, first.Validation.N, strings.Join(chosen["linear"], ", "),
		strings.Join(chosen["mlp"], ", "), 100*report.Known.Value, 100/float64(report.Items))
	return err
}
