package app

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

func controlsCommand() *cli.Command {
	return &cli.Command{
		Name:  "controls",
		Usage: "test whether a run's answers come from the recommender's states",
		Description: "The answers of recint evaluate are compared, sample by sample, with what controls answer to the same questions: a state of\n" +
			"zeros, the states of other samples, one constant answer, and runs that you name with --beside, such as one whose adapter\n" +
			"ignores the state or whose recommender is untrained. McNemar's test and a bootstrap over users; p-values are adjusted across the\n" +
			"table (Holm). A row that does not show that the states do better is marked. The same command goes on after an interruption.",
		Flags: []cli.Flag{
			runFlag(),
			&cli.StringSliceFlag{Name: "beside", Usage: "another run as a control, `NAME=FOLDER`; may be given several times"},
			taskFlag(), wordingFlag(), samplesFlag(), evaluationSeed(), sideBySideFlag(), jsonFlag,
		},
		Action: controlsAction,
	}
}

func controlsAction(c *cli.Context) error {
	if err := checkEvaluation(c); err != nil {
		return err
	}
	names, folders := []string{""}, []string{c.String("run")}
	for _, beside := range c.StringSlice("beside") {
		name, folder, ok := strings.Cut(beside, "=")
		if !ok || name == "" || folder == "" {
			return usage(c, "--beside is %q; it must be NAME=FOLDER", beside)
		}
		names, folders = append(names, name), append(folders, folder)
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		var all []*evaluate.Answers
		var split dataset.Split
		for _, folder := range folders {
			answers, of, err := controlled(c, engine, folder)
			if err != nil {
				return err
			}
			if all = append(all, answers); len(all) == 1 {
				split = of
			}
		}
		var others []control.Other
		for i, answers := range all[1:] {
			others = append(others, control.Other{Name: names[i+1], Answers: answers})
		}
		table, err := control.New(all[0], others, func(sample string) (int32, error) {
			s, err := task.TestSequence(split, sample)
			return s.User, err
		})
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(c, table)
		}
		return table.Write(c.App.Writer)
	})
}

// controlled evaluates a run with its controls, or takes the answers from its folder.
func controlled(c *cli.Context, engine *cgo.Engine, folder string) (_ *evaluate.Answers, _ dataset.Split, err error) {
	asking := run.Asking{Task: c.String("task"), Wording: c.Int("wording") - 1}
	r, err := run.OpenAsking(engine, engine, folder, asking, interpret.Options{Slots: c.Int("side-by-side")})
	if err != nil {
		return nil, dataset.Split{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	n := c.Int("samples")
	if n == 0 {
		n = len(r.Split.Test)
	}
	bar := newProgress(c.App.ErrWriter, "answering")
	opts := evaluate.Options{Seed: c.Uint64("seed"), Controls: true, Progress: func(done, total int) { bar.to(done, total, "samples") }}
	opts.Path = run.AnswersPath(folder, r.Task, run.AnswersOf{Samples: n, Seed: opts.Seed, Controls: true, Wording: asking.Wording})
	_, err = r.Evaluate(c.Context, n, opts)
	bar.end()
	if err != nil {
		return nil, dataset.Split{}, err
	}
	answers, err := evaluate.ReadAnswers(opts.Path)
	return answers, r.Split, err
}
