package app

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/reproduce"
)

func reproduceCommand() *cli.Command {
	return &cli.Command{
		Name:  "reproduce",
		Usage: "reproduce the paper's three results and compare the figures",
		Description: "Trains the paper's recommenders and adapters for the residual and recovery prompts, evaluates them on the test part, and has\n" +
			"oracles judged against another recommender's top recommendations. From 2h on, three seeds of recommender and adapter also\n" +
			"answer questions about the genres of held-out items, next to controls and with moved states, and recommendations are\n" +
			"explained. Prints the plan of time and memory first. Repeat the command to resume; a finished reproduction stays as it is.\n" +
			"FOLDER gets table.md, report.html, and both as JSON for programs.",
		Flags: append([]cli.Flag{
			dataFlag(), llmFlag(),
			&cli.StringFlag{Name: "budget", Value: "30m", Usage: "total `TIME` on two cores: 30m, 4h, or full (24h)"},
			&cli.BoolFlag{Name: "plan", DisableDefaultText: true, Usage: "show the plan and do nothing"},
			&cli.StringFlag{Name: "out", Usage: "write everything to `FOLDER` (required)"},
		}, endpointFlags()...),
		Action: reproduceAction,
	}
}

func reproduceAction(c *cli.Context) error {
	if err := onlyFlags(c, "out"); err != nil {
		return err
	}
	budget := 24 * time.Hour
	if text := c.String("budget"); text != "full" {
		var err error
		if budget, err = time.ParseDuration(text); err != nil || budget < reproduce.Least {
			return usage(c, "--budget is %q; it must be a time of at least %v such as 30m or 4h, or full", text, reproduce.Least)
		}
	}
	if c.IsSet("endpoint") != c.IsSet("model") {
		return usage(c, "a judge behind an endpoint needs --endpoint and --model")
	}
	data, err := datasetPath(c, c.String("data"))
	if err != nil {
		return err
	}
	llm, err := modelPath(c, c.String("llm"))
	if err != nil {
		return err
	}
	bar := newProgress(c.App.ErrWriter, "")
	defer bar.end()
	o := reproduce.Options{Folder: c.String("out"), Dataset: data, LLM: llm, Budget: budget, Stage: bar.note,
		Progress: func(what, unit string, done, of int) { bar.what = what; bar.to(done, of, unit) }}
	return withEngine(c, func(engine *cgo.Engine) error {
		plan, err := reproduce.NewPlan(c.Context, engine, o)
		if err != nil {
			return err
		}
		if err := showReproduction(c, plan, budget); err != nil || c.Bool("plan") {
			return err
		}
		if c.IsSet("endpoint") { // finds a wrong key early
			if err := tryEndpoint(c); err != nil {
				return err
			}
		}
		o.Judge = func() (judge.Judge, func() error, error) { return openJudge(c, engine) }
		table, err := reproduce.Run(c.Context, engine, o, plan)
		if errors.Is(err, artifact.ErrDoesNotFit) {
			return fmt.Errorf("%w; take a smaller --llm, or compute in the computer's own memory with --backend cpu", err)
		}
		if err != nil {
			return err
		}
		bar.end()
		if err := table.WriteMarkdown(c.App.Writer); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.App.Writer, "\n%s\n", filepath.Join(o.Folder, "report.html"))
		return err
	})
}

// showReproduction shows the time and memory of a reproduction.
func showReproduction(c *cli.Context, p *reproduce.Plan, budget time.Duration) error {
	w := tabwriter.NewWriter(c.App.ErrWriter, 0, 0, 2, ' ', 0)
	rest := budget.Minutes()
	for _, t := range p.Trainings {
		rest -= t.Minutes
		all := "all"
		if !t.Fits() {
			all = fmt.Sprintf("%d", max(1, int(60*t.Minutes/t.Epoch)))
		}
		fmt.Fprintf(w, "%s\tup to %.1f minutes: time for %s of at most %d epochs of %.1f seconds, measured\n", t.Name(), t.Minutes, all, t.Epochs, t.Epoch)
	}
	for _, s := range slices.Concat(p.Runs, p.Controlled) {
		rest -= s.Minutes
		fmt.Fprintf(w, "%s\t%.1f minutes of training: %s, adapter %s\n", s.Name, s.Minutes, s.Recommender, s.Adapter.Label())
	}
	samples := "all"
	if p.Samples > 0 {
		samples = fmt.Sprintf("up to %d", p.Samples)
	}
	judge := p.LLM + ", the same LLM: a small one knows little more than the place; --endpoint names another"
	if c.IsSet("endpoint") {
		judge = c.String("model")
	}
	if controlling := p.Controlling().Minutes(); controlling > 0 {
		rest -= controlling
		fmt.Fprintf(w, "controls, edits\tabout %.0f minutes, or more on a slow machine, which asks about a hundred sequences and moves one state with each seed at least\n", controlling)
	}
	fmt.Fprintf(w, "evaluations\tabout %.0f minutes: %s test sequences for each run, %d oracles judged\n", rest, samples, p.Oracles)
	fmt.Fprintf(w, "the judge\t%s\n", judge)
	fmt.Fprintf(w, "in all\tabout %s, and up to %s of memory\n", p.Budget, align.Mebibytes(p.Memory))
	return w.Flush()
}
