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
		Usage: "train an adapter through the frozen LLM; repeat the command to resume",
		Description: "Set the training length with --minutes or --samples. The run's folder gets run.json (its inputs and settings), log.jsonl, a\n" +
			"checkpoint and, at the end, adapter.safetensors.",
		Flags:  append(alignFlags(), &cli.StringFlag{Name: "out", Usage: "the run's `FOLDER` (required)"}, jsonFlag),
		Action: onRanks(alignAction),
	}
}

// alignFlags are the flags for the inputs and settings of a run.
func alignFlags() []cli.Flag {
	d := run.DefaultSpec()
	coarse := d.With(d.Template, adapter.Projection)
	or := func(usual, of any) string { return fmt.Sprintf("%v; %s: %v", usual, adapter.Projection, of) }
	return []cli.Flag{
		dataFlag(),
		recommenderOr("states"), statesFlag(),
		llmFlag(),
		promptFlag(),
		&cli.StringFlag{Name: "task", DefaultText: "that of --prompt", Usage: "train on several `TASKS` instead of one --prompt: prompts separated by commas, e.g. genres,decade,residual"},
		&cli.Float64Flag{Name: "hold-out-items", Usage: "exclude a `SHARE` of the items from all training data; evaluations report them separately"},
		&cli.Float64Flag{Name: "minutes", DefaultText: "none; give this or --samples", Usage: "training time in `MINUTES`, including the warm start"},
		&cli.IntFlag{Name: "samples", DefaultText: "none; give this or --minutes", Usage: "train on `SAMPLES` training samples in whole batches; a sample that is used again counts again"},
		&cli.StringFlag{Name: "adapter", Usage: "`KIND`: " + adapter.Help(),
			DefaultText: fmt.Sprintf("%s for one question about the last item's title, %s for one about a whole history, else %s", adapter.DefaultForTitle, adapter.DefaultForHistory, adapter.Default)},
		&cli.IntFlag{Name: "hidden", Value: d.Hidden, Usage: "`UNITS` in the hidden layer of " + adapter.Names(func(e adapter.Entry) bool { return e.Hidden })},
		&cli.IntFlag{Name: "tokens", Value: d.Tokens, Usage: "soft `TOKENS` per state; per entry in adapters that look up several"},
		&cli.StringFlag{Name: "precision", Value: string(d.Precision), Usage: "`TYPE` of the LLM's weights during training: bf16, or f32 (exact mode)"},
		&cli.IntFlag{Name: "batch", DefaultText: or(d.Config.BatchSize, coarse.Config.BatchSize), Usage: "`SAMPLES` per update, shared among ranks"},
		&cli.IntFlag{Name: "pass-positions", Value: d.Config.PassPositions, DefaultText: fmt.Sprintf("%d; on a GPU a whole update's, or what its memory has room for", d.Config.PassPositions),
			Usage: "most token `POSITIONS` per pass through the LLM, not counting the cached prefix; a lower number saves memory"},
		&cli.Float64Flag{Name: "learning-rate", DefaultText: or(d.Config.LearningRate, coarse.Config.LearningRate), Usage: "peak learning `RATE`"},
		&cli.Float64Flag{Name: "noise", DefaultText: fmt.Sprintf("%v for %s if all questions are about attributes of the last item, else none", run.DefaultNoise, adapter.Default),
			Usage: "add Gaussian noise of up to this standard `DEVIATION`, drawn for each sample, to standardised states during training; it helps answers about unseen items, and costs some about seen ones"},
		&cli.StringFlag{Name: "schedule", Value: string(d.Config.Schedule), Usage: "learning rate schedule `NAME`: linear, cosine or constant"},
		&cli.IntFlag{Name: "validate-every", Value: d.Config.ValidateEvery, Usage: "validate after this many `UPDATES` (0: only at the end); the adapter with the lowest loss is kept"},
		&cli.IntFlag{Name: "validation-samples", Value: d.Config.ValidationSamples, Usage: "`SAMPLES` per validation"},
		&cli.IntFlag{Name: "patience", DefaultText: "never early", Usage: "stop after `N` validations without a lower loss"},
		&cli.IntFlag{Name: "warm-steps", DefaultText: or(d.Config.WarmSteps, coarse.Config.WarmSteps), Usage: "`STEPS` of the warm start; the default is multiplied by the number of questions if each has a first layer of its own (0: none; " + adapter.Names(func(e adapter.Entry) bool { return e.Cold != "" }) + " has none, " +
			adapter.Names(func(e adapter.Entry) bool { return e.LookUps }) + " needs them)"},
		&cli.IntFlag{Name: "warm-micro-batch", DefaultText: "each rank repeats the warm start", Usage: "with several ranks: `SAMPLES` of each warm-start update that one rank computes"},
		&cli.Float64Flag{Name: "drawn", Value: d.Drawn, Usage: "`SHARE` of training histories whose last item is replaced by a random item, so that rare items are learned too; not used by prompts about the whole history"},
		&cli.Uint64Flag{Name: "seed", Value: d.Config.Seed, Usage: "random seed, a `NUMBER`"},
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
	// The states of all samples are most of Go's memory. Collecting garbage more often costs
	// nothing compared with a step.
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	return withEngine(c, func(engine *cgo.Engine) error {
		bar := newProgress(c.App.ErrWriter, "")
		defer bar.end()
		var ofGPU int64
		result, err := run.Train(c.Context, engine, dir, s, bar.note, func(e align.Event) {
			if e.Phase == "validation" { // everything is loaded and has been used
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

// spec reads the inputs and settings of a run.
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
	kind, err := run.DefaultAdapter(asked)
	if err != nil {
		return run.Spec{}, err
	}
	if c.IsSet("adapter") {
		kind = adapter.Parse(c.String("adapter"))
	}
	s := run.DefaultSpec().With(asked[0], kind)
	if s.Config.Noise, err = run.NoiseFor(asked, kind); err != nil {
		return s, err
	}
	if c.IsSet("noise") {
		s.Config.Noise = c.Float64("noise")
	}
	s.HoldOut = c.Float64("hold-out-items")
	if len(asked) > 1 {
		s.Also = asked[1:]
		s.Config.WarmSteps *= max(1, len(s.Apart()))
	}
	if s.Dataset, err = datasetPath(c, c.String("data")); err != nil {
		return run.Spec{}, err
	}
	if s.LLM, err = modelPath(c, c.String("llm")); err != nil {
		return run.Spec{}, err
	}
	s.Recommender, s.States, s.Precision = c.String("recommender"), c.String("states"), run.Precision(c.String("precision"))
	s.Tokens = c.Int("tokens")
	s.Config.Minutes, s.Config.Samples, s.Config.Seed = c.Float64("minutes"), c.Int("samples"), c.Uint64("seed")
	if c.IsSet("batch") {
		s.Config.BatchSize = c.Int("batch")
	}
	if c.IsSet("learning-rate") {
		s.Config.LearningRate = c.Float64("learning-rate")
	}
	s.Config.PassPositions, s.LongPasses = c.Int("pass-positions"), !c.IsSet("pass-positions")
	s.Config.Schedule = align.Schedule(c.String("schedule"))
	s.Config.ValidateEvery, s.Config.ValidationSamples = c.Int("validate-every"), c.Int("validation-samples")
	s.Config.Patience = c.Int("patience")
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

// showEvent shows an event of the training as progress.
func showEvent(bar *progress, e align.Event) {
	switch e.Phase {
	case "warm start":
		bar.what = "warm start"
		bar.to(e.Step, e.Plan, fmt.Sprintf("steps, error %.3f", e.Loss))
	case "training":
		bar.what = "training"
		bar.to(e.Step, e.Plan, fmt.Sprintf("steps, loss %.3f, %.1f samples/s", e.Loss, e.Speed))
	case "validation":
		bar.note(fmt.Sprintf("step %d: validation loss %.3f after %.1f minutes", e.Step, e.Loss, e.Seconds/60))
	case "skipped":
		bar.note(fmt.Sprintf("step %d was skipped: %s", e.Step, e.Problem))
	}
}
