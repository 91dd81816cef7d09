package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/bench"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// allOf means every bench, or every peer.
const allOf = "all"

func benchCommand() *cli.Command {
	of := map[string]string{
		bench.Encoder:  "recommenders: training, one state, many states, oracles",
		bench.Adapter:  "adapters: states to soft tokens",
		bench.Train:    "training adapters through the frozen LLM",
		bench.Generate: "generation of many sequences at once",
		bench.Evaluate: "answers to the residual prompt, and the probabilities of all titles",
		bench.Latency:  "latency of a run, in process and over HTTP (needs --run)",
		bench.Bulk:     "a bulk job of a run, compared with the tokens of its LLM alone (needs --run)",
		allOf:          "all of these; latency and bulk if --run is given",
	}
	command := &cli.Command{
		Name:  "bench",
		Usage: "measure speed on this machine, alone or next to other programs",
		Description: "Builds models with random weights from the data set and the LLM, warms up, and measures in rounds. Peers compute the same\n" +
			"results, which is checked first, and alternate with recint in every round. Run nothing else on the machine. bench/README.md\n" +
			"says how to install the peers.",
	}
	for _, name := range append(slices.Clone(bench.Names), allOf) {
		command.Subcommands = append(command.Subcommands, &cli.Command{Name: name, Usage: of[name], Flags: benchFlags(name),
			Action: benchAction})
	}
	command.Subcommands = append(command.Subcommands,
		&cli.Command{
			Name:      "compare",
			Usage:     "compare two results and show which figures differ by more than chance",
			ArgsUsage: "BEFORE.json AFTER.json",
			Description: "Compares the rounds by the Mann-Whitney U test; each result needs at least four rounds. About one of twenty figures differs\n" +
				"by chance. Also lists other differences between the results (machine, threads, LLM, data) and figures that only one of them\n" +
				"has.",
			Flags:  []cli.Flag{jsonFlag},
			Action: benchCompare,
		},
		&cli.Command{
			Name:      "page",
			Usage:     "write a Markdown page of results, with a plot of each sweep",
			ArgsUsage: "RESULT.json…",
			Flags:     []cli.Flag{&cli.StringFlag{Name: "out", Usage: "write `FILE`.md (required)"}},
			Action: func(c *cli.Context) error {
				if c.NArg() == 0 {
					return usage(c, "name the results of recint bench")
				}
				if !strings.HasSuffix(c.String("out"), ".md") {
					return usage(c, "--out is %q; name the page that is to be written, e.g. --out docs/benchmarks.md", c.String("out"))
				}
				return bench.WritePage(c.String("out"), c.Args().Slice())
			},
		})
	return command
}

func benchFlags(name string) []cli.Flag {
	flags := []cli.Flag{
		dataFlag(), llmFlag(),
		&cli.IntFlag{Name: "rounds", Value: 5, Usage: "measure each figure in `ROUNDS` rounds"},
		&cli.StringSliceFlag{Name: "peer", Usage: "also measure `PROGRAM`, in alternation with recint: " + strings.Join(bench.PeerNames, ", ") + " or all; may be repeated"},
		&cli.StringFlag{Name: "python", Value: filepath.FromSlash("bench/venv/bin/python"), Usage: "Python `INTERPRETER` that has the peers' packages",
			EnvVars: []string{"PYTHON"}},
		&cli.StringFlag{Name: "format", Value: "table", Usage: "print as `FORMAT`: " + strings.Join(bench.Formats, ", ")},
		&cli.StringFlag{Name: "out", Usage: "also write the result to `FILE`.json"},
	}
	if slices.Contains(bench.OfRun, name) || name == allOf {
		flags = append(flags, &cli.StringFlag{Name: "run", Usage: "measure the run in `FOLDER`, whose task must be the residual prompt"})
	}
	if name == bench.Encoder {
		flags = append(flags, &cli.StringSliceFlag{Name: "model", DefaultText: "all",
			Usage: "measure the recommender `MODEL`: " + lowered(models.Names()) + "; may be repeated"})
	}
	batch := map[string]*cli.IntFlag{
		bench.Train:    {DefaultText: "64, on a GPU 256", Usage: "train with updates of so many `SAMPLES`"},
		bench.Generate: {DefaultText: "32, on a GPU 256", Usage: "generate so many `SEQUENCES` side by side"},
		allOf: {DefaultText: "64 and 32, on a GPU 256",
			Usage: "train with updates of so many `SAMPLES`, and generate so many sequences side by side"},
	}[name]
	if batch != nil {
		batch.Name = "batch"
		flags = append(flags, batch)
	}
	if name == bench.Train || name == allOf {
		flags = append(flags, &cli.IntFlag{Name: "micro-batch", DefaultText: "16, on a GPU those of the update, or what its memory has room for",
			Usage: "take so many `SAMPLES` of an update through the LLM together"})
	}
	if sweeps := bench.Sweeps[name]; len(sweeps) > 0 {
		flags = append(flags,
			&cli.StringFlag{Name: "sweep", Usage: "vary `WHAT`: " + strings.Join(sweeps, ", ")},
			&cli.StringFlag{Name: "plot", Usage: "draw the sweep to `FILE`.png or .svg"})
	}
	return flags
}

func benchAction(c *cli.Context) (err error) {
	if err := onlyFlags(c); err != nil {
		return err
	}
	if !slices.Contains(bench.Formats, c.String("format")) {
		return usage(c, "--format is %q; known are %s", c.String("format"), strings.Join(bench.Formats, ", "))
	}
	if plot := c.String("plot"); plot != "" { // before anything is measured
		if err := bench.CheckPlot(plot, c.String("sweep")); err != nil {
			return err
		}
	}
	for _, file := range []string{c.String("out"), c.String("plot")} {
		if _, err := os.Stat(filepath.Dir(file)); err != nil {
			return fmt.Errorf("bench: %s cannot be written: %w", file, err)
		}
	}
	o := bench.Options{Benches: []string{c.Command.Name}, Sweep: c.String("sweep"), Models: c.StringSlice("model"), Run: c.String("run"), Rounds: c.Int("rounds"),
		Batch: c.Int("batch"), Micro: c.Int("micro-batch"),
		Engine: engineParams(c)}
	if c.Command.Name == allOf {
		o.Benches = slices.DeleteFunc(slices.Clone(bench.Names), func(name string) bool { return slices.Contains(bench.OfRun, name) && o.Run == "" })
	}
	if o.Peers, err = benchPeers(c); err != nil {
		return err
	}
	if o.Dataset, err = datasetPath(c, c.String("data")); err != nil {
		return err
	}
	if o.LLM, err = modelPath(c, c.String("llm")); err != nil {
		return err
	}
	bar := newProgress(c.App.ErrWriter, "")
	o.Progress = func(what string, round, rounds int) {
		bar.what = what
		bar.to(round, rounds, "rounds")
	}
	result, err := bench.Run(c.Context, o)
	bar.end()
	if result == nil || len(result.Figures) == 0 {
		return err
	}
	err = errors.Join(err, result.Write(c.App.Writer, c.String("format")))
	if out := c.String("out"); out != "" {
		if result.Unfinished { // which must not replace a complete one
			out += ".unfinished"
			fmt.Fprintf(c.App.ErrWriter, "the results so far are in %s\n", out)
		}
		err = errors.Join(err, result.Save(out))
	}
	if plot := c.String("plot"); plot != "" {
		err = errors.Join(err, result.Plot(plot))
	}
	return err
}

// benchPeers finds the peers to compare with, in the top folder of the source.
func benchPeers(c *cli.Context) (p bench.Peers, err error) {
	names := c.StringSlice("peer")
	if slices.Contains(names, allOf) {
		names = bench.PeerNames
	}
	program, err := os.Executable()
	if err != nil {
		return p, fmt.Errorf("bench: %w", err)
	}
	return bench.Peers{Names: names, Python: c.String("python"), Scripts: filepath.FromSlash("bench/peers"), Tools: filepath.Dir(program)}, nil
}

func benchCompare(c *cli.Context) error {
	if c.NArg() != 2 {
		return usage(c, "name two results, the earlier one first")
	}
	before, err := bench.Read(c.Args().Get(0))
	if err != nil {
		return err
	}
	after, err := bench.Read(c.Args().Get(1))
	if err != nil {
		return err
	}
	comparison, err := bench.Compare(before, after)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, comparison)
	}
	return comparison.Write(c.App.Writer)
}
