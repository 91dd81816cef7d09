package app

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

func alignCommand() *cli.Command {
	return &cli.Command{
		Name:  "align",
		Usage: "train the adapter through the frozen LLM; the same command goes on after an interruption",
		Description: "Give the length in minutes or in samples. The folder gets run.json (what it is made from), log.jsonl, a checkpoint\n" +
			"and in the end adapter.safetensors.",
		Flags:  append(alignFlags(), &cli.StringFlag{Name: "out", Usage: "the run's `FOLDER` (required)"}, jsonFlag),
		Action: onRanks(alignAction),
	}
}

// alignFlags are those that say what a run is made from and how.
func alignFlags() []cli.Flag {
	d := run.DefaultSpec()
	return []cli.Flag{
		dataFlag(),
		recommenderOr("states"), statesFlag(),
		llmFlag(),
		promptFlag(),
		&cli.StringFlag{Name: "task", DefaultText: "that of --prompt", Usage: "train on `TASKS` together, in place of --prompt: prompts separated by commas, e.g. genres,decade,residual"},
		&cli.Float64Flag{Name: "hold-out-items", Usage: "keep `SHARE` of the items out of all that the adapter is trained on; evaluations report them apart"},
		&cli.Float64Flag{Name: "minutes", DefaultText: "none; give this or --samples", Usage: "train for so many `MINUTES`, warm start included"},
		&cli.IntFlag{Name: "samples", DefaultText: "none; give this or --minutes", Usage: "train on so many `SAMPLES`, repetitions counted, in whole batches"},
		&cli.StringFlag{Name: "adapter", Value: string(d.Adapter), Usage: "`KIND`: " + adapter.Help()},
		&cli.IntFlag{Name: "hidden", Value: d.Hidden, Usage: "hidden `UNITS` of " + adapter.Names(func(e adapter.Entry) bool { return e.Hidden })},
		&cli.IntFlag{Name: "tokens", Value: d.Tokens, Usage: "soft `TOKENS` for each state, or for each entry of an adapter that looks several up"},
		&cli.StringFlag{Name: "precision", Value: string(d.Precision), Usage: "`TYPE` of the LLM's weights while training: bf16, or f32, the exact mode"},
		&cli.IntFlag{Name: "batch", Value: d.Config.BatchSize, Usage: "`SAMPLES` of one update, which ranks share"},
		&cli.IntFlag{Name: "pass-positions", Value: d.Config.PassPositions, Usage: "`POSITIONS` of one pass through the LLM, behind the prompt's beginning; fewer need less memory"},
		&cli.Float64Flag{Name: "learning-rate", Value: d.Config.LearningRate, Usage: "`RATE` at its highest"},
		&cli.Float64Flag{Name: "noise", Usage: "standard `DEVIATION` of Gaussian noise on standardised states during training, so that what is read holds for items that training has not seen"},
		&cli.StringFlag{Name: "schedule", Value: string(d.Config.Schedule), Usage: "how the rate falls, `NAME`: linear, cosine or constant"},
		&cli.IntFlag{Name: "validate-every", Value: d.Config.ValidateEvery, Usage: "`UPDATES` between validations (0: one at the end); the adapter with the lowest loss is kept"},
		&cli.IntFlag{Name: "validation-samples", Value: d.Config.ValidationSamples, Usage: "`SAMPLES` of a validation"},
		&cli.IntFlag{Name: "patience", DefaultText: "never early", Usage: "end after `N` validations without a lower loss"},
		&cli.IntFlag{Name: "warm-steps", Value: d.Config.WarmSteps, Usage: "`STEPS` of the warm start (0: none; " + adapter.Names(func(e adapter.Entry) bool { return e.Cold != "" }) + " has none, " +
			adapter.Names(func(e adapter.Entry) bool { return e.LookUps }) + " needs them)"},
		&cli.IntFlag{Name: "warm-micro-batch", DefaultText: "each rank repeats the warm start", Usage: "with several ranks, `SAMPLES` of an update of the warm start that one rank computes"},
		&cli.Float64Flag{Name: "drawn", Value: d.Drawn, Usage: "`SHARE` of the sequences that end in an item drawn evenly from the catalogue, so that rare items are learned too; none where a history is asked for"},
		&cli.Uint64Flag{Name: "seed", Value: d.Config.Seed, Usage: "`NUMBER` that all random numbers follow from"},
	}
}

func alignAction(c *cli.Context) error {
	if err := oneSource(c, "out"); err != nil {
		return err
	}
	s, err := spec(c)
	if err != nil {
		return err
	}
	dir := c.String("out")
	// The states of all samples are most of what Go holds. To collect what is left of making them
	// more often costs nothing beside a step.
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	return withEngine(c, func(engine *cgo.Engine) error {
		bar := newProgress(c.App.ErrWriter, "")
		defer bar.end()
		var ofGPU int64
		result, err := run.Train(c.Context, engine, dir, s, bar.note, func(e align.Event) {
			if e.Phase == "validation" { // all is loaded, and has been used
				if info, err := engine.Describe(); err == nil {
					ofGPU = max(ofGPU, info.GPUMemory())
				}
			}
			showEvent(bar, e)
		})
		if errors.Is(err, artifact.ErrDoesNotFit) {
			return fmt.Errorf("%w; %s", err, howToFit)
		}
		if err != nil {
			return err
		}
		bar.end()
		if c.Bool("json") {
			return printJSON(c, result.Cursor)
		}
		validated := "not validated"
		if best := result.Cursor.Best(); best != nil {
			validated = fmt.Sprintf("validation loss %.3f", best.Loss)
		}
		_, err = fmt.Fprintf(c.App.Writer, "%s: %d samples in %.1f minutes, %s%s\n", filepath.Join(dir, align.AdapterFile),
			result.Provenance.Samples, result.Provenance.Minutes, validated, peakMemory(ofGPU))
		return err
	})
}

// spec reads what a run is made from and how.
func spec(c *cli.Context) (run.Spec, error) {
	if c.IsSet("minutes") == c.IsSet("samples") {
		return run.Spec{}, usage(c, "give the length of the training, either --minutes or --samples")
	}
	if c.IsSet("minutes") && !(c.Float64("minutes") > 0) || c.IsSet("samples") && c.Int("samples") < 1 {
		return run.Spec{}, usage(c, "the length of the training must be above 0")
	}
	names := []string{c.String("prompt")}
	if c.IsSet("task") {
		if c.IsSet("prompt") {
			return run.Spec{}, usage(c, "give --prompt or --task, not both")
		}
		names = strings.Split(c.String("task"), ",")
	}
	var asked []prompt.Template
	for _, name := range names {
		t, err := task.Prompt(strings.TrimSpace(name))
		if err != nil {
			return run.Spec{}, err
		}
		asked = append(asked, t)
	}
	s := run.DefaultSpec().With(asked[0], adapter.Parse(c.String("adapter")))
	s.Also, s.HoldOut = asked[1:], c.Float64("hold-out-items")
	if len(s.Also) == 0 {
		s.Also = nil
	}
	var err error
	if s.Dataset, err = datasetPath(c, c.String("data")); err != nil {
		return run.Spec{}, err
	}
	if s.LLM, err = modelPath(c, c.String("llm")); err != nil {
		return run.Spec{}, err
	}
	s.Recommender, s.States, s.Precision = c.String("recommender"), c.String("states"), run.Precision(c.String("precision"))
	s.Tokens = c.Int("tokens")
	s.Config.Minutes, s.Config.Samples, s.Config.Seed = c.Float64("minutes"), c.Int("samples"), c.Uint64("seed")
	s.Config.BatchSize, s.Config.LearningRate = c.Int("batch"), c.Float64("learning-rate")
	s.Config.PassPositions, s.Config.Schedule = c.Int("pass-positions"), align.Schedule(c.String("schedule"))
	s.Config.ValidateEvery, s.Config.ValidationSamples = c.Int("validate-every"), c.Int("validation-samples")
	s.Config.Patience, s.Config.Noise = c.Int("patience"), c.Float64("noise")
	if c.IsSet("hidden") {
		s.Hidden = c.Int("hidden")
	}
	if s.States != "" {
		s.Drawn = 0
	}
	if c.IsSet("drawn") {
		s.Drawn = c.Float64("drawn")
	}
	s.Config.WarmMicroBatch = c.Int("warm-micro-batch")
	if c.IsSet("warm-steps") {
		s.Config.WarmSteps = c.Int("warm-steps")
	}
	if err := s.Validate(); err != nil {
		return s, refused(c, err)
	}
	return s, nil
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
