package app

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/run"
)

func alignCommand() *cli.Command {
	d := run.DefaultSpec()
	return &cli.Command{
		Name:  "align",
		Usage: "train the adapter through the frozen LLM; the same command goes on after an interruption",
		Description: "Give the length in minutes or in samples. The folder gets run.json (what it is made from), log.jsonl, a checkpoint\n" +
			"and in the end adapter.safetensors.",
		Flags: []cli.Flag{
			dataFlag(),
			&cli.StringFlag{Name: "recommender", Usage: "its weights, `FILE`.safetensors (required)"},
			llmFlag(),
			&cli.StringFlag{Name: "prompt", Value: d.Template.Name, Usage: "`PROMPT`: residual, or a JSON file with the keys name and text, whose text holds {before} and {after}"},
			&cli.StringFlag{Name: "out", Usage: "the run's `FOLDER` (required)"},
			&cli.Float64Flag{Name: "minutes", DefaultText: "or give --samples", Usage: "train for so many `MINUTES`, warm start included"},
			&cli.IntFlag{Name: "samples", DefaultText: "or give --minutes", Usage: "train on so many `SAMPLES`, repetitions counted"},
			&cli.StringFlag{Name: "adapter", Value: string(d.Adapter), Usage: "`KIND`: mlp, or linear as in the paper"},
			&cli.IntFlag{Name: "hidden", Value: d.Hidden, Usage: "hidden `UNITS` of an mlp"},
			&cli.IntFlag{Name: "tokens", Value: d.Tokens, Usage: "soft `TOKENS` for each state"},
			&cli.StringFlag{Name: "precision", Value: string(d.Precision), Usage: "`TYPE` of the LLM's weights while training: bf16, or f32, the exact mode"},
			&cli.IntFlag{Name: "batch", Value: d.Config.BatchSize, Usage: "`SAMPLES` of one update"},
			&cli.Float64Flag{Name: "learning-rate", Value: d.Config.LearningRate, Usage: "`RATE` at its highest"},
			&cli.IntFlag{Name: "warm-steps", Value: d.Config.WarmSteps, Usage: "`STEPS` of the warm start (0: none)"},
			&cli.Uint64Flag{Name: "seed", Value: d.Config.Seed, Usage: "`NUMBER` that all random numbers follow from"},
			jsonFlag,
		},
		Action: alignAction,
	}
}

func alignAction(c *cli.Context) error {
	if err := onlyFlags(c, "recommender", "out"); err != nil {
		return err
	}
	if c.IsSet("minutes") == c.IsSet("samples") {
		return usage(c, "give the length of the training, either --minutes or --samples")
	}
	s := run.DefaultSpec()
	var err error
	if s.Template, err = template(c.String("prompt")); err != nil {
		return err
	}
	if s.Dataset, err = datasetPath(c, c.String("data")); err != nil {
		return err
	}
	if s.LLM, err = modelPath(c, c.String("llm")); err != nil {
		return err
	}
	s.Recommender, s.Precision = c.String("recommender"), run.Precision(c.String("precision"))
	s.Adapter, s.Hidden, s.Tokens = align.Kind(c.String("adapter")), c.Int("hidden"), c.Int("tokens")
	if s.Adapter == align.Linear {
		s.Hidden = 0
	}
	s.Config.Minutes, s.Config.Samples, s.Config.Seed = c.Float64("minutes"), c.Int("samples"), c.Uint64("seed")
	s.Config.BatchSize, s.Config.LearningRate = c.Int("batch"), c.Float64("learning-rate")
	s.Config.WarmSteps = c.Int("warm-steps")
	dir := c.String("out")
	return withEngine(c, func(engine *cgo.Engine) error {
		bar := newProgress(c.App.ErrWriter, "")
		defer bar.end()
		result, err := run.Train(c.Context, engine, dir, s, bar.note, func(e align.Event) { showEvent(bar, e) })
		if err != nil {
			return err
		}
		bar.end()
		if c.Bool("json") {
			return printJSON(c, result.Cursor)
		}
		_, err = fmt.Fprintf(c.App.Writer, "%s: %d samples in %.1f minutes, validation loss %.3f\n",
			filepath.Join(dir, align.AdapterFile), result.Provenance.Samples, result.Provenance.Minutes,
			result.Cursor.Validations[len(result.Cursor.Validations)-1].Loss)
		return err
	})
}

// template reads a prompt by its name or from a file.
func template(name string) (prompt.Template, error) {
	if strings.HasSuffix(name, ".json") {
		return prompt.ReadTemplate(name)
	}
	return prompt.Named(name)
}

// showEvent turns what the training tells into progress.
func showEvent(bar *progress, e align.Event) {
	switch e.Phase {
	case "warm start":
		bar.what = "warm start"
		bar.to(e.Step, e.Plan, fmt.Sprintf("steps, error %.3f", e.Loss))
	case "training":
		bar.what = "training"
		bar.to(e.Step, max(e.Plan, e.Step), fmt.Sprintf("steps, loss %.3f, %.1f samples/s", e.Loss, e.Speed))
	case "validation":
		bar.note(fmt.Sprintf("step %d: validation loss %.3f after %.1f minutes", e.Step, e.Loss, e.Seconds/60))
	case "skipped":
		bar.note(fmt.Sprintf("step %d was skipped: %s", e.Step, e.Problem))
	}
}
