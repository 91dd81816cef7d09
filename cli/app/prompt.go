package app

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// promptFlag names a prompt.
func promptFlag() cli.Flag {
	return &cli.StringFlag{Name: "prompt", Value: task.Default().Name, Usage: "`PROMPT`: " + strings.Join(task.Prompts(), ", ") +
		", item:COLUMN or user:COLUMN for a column of the data set, or FILE.json (recint prompt show --help); training picks a random wording of the varied ones"}
}

func promptCommand() *cli.Command {
	return &cli.Command{
		Name:  "prompt",
		Usage: "show prompts",
		Subcommands: []*cli.Command{{
			Name:  "show",
			Usage: "print a prompt token by token, with the positions of the soft tokens",
			Description: "A prompt of your own is a JSON file with the keys name, asks (\"last item\", \"history\" or the name of a question, such as\n" +
				"genres) and texts, a list of wordings; optional are reply, the beginning of the answer, and examples, lists of titles. Texts\n" +
				"and reply contain slots: {state} and {after} stand for the state after the history, {before} for the state before its last\n" +
				"item. docs/training.md lists all questions and slots, and has an example.",
			Flags: []cli.Flag{
				llmFlag(),
				promptFlag(),
				&cli.IntFlag{Name: "tokens", Value: run.DefaultSpec().Tokens, Usage: "soft `TOKENS` for each state"},
				&cli.IntFlag{Name: "states", Value: 1, Usage: "number of `STATES` per slot: more than one for adapters that read the state after each item"},
				&cli.StringFlag{Name: "answer", Usage: "also show the tokens of the answer `TEXT`"},
			},
			Action: promptShow,
		}},
	}
}

func promptShow(c *cli.Context) error {
	if err := onlyFlags(c); err != nil {
		return err
	}
	if c.Int("tokens") < 1 || c.Int("states") < 1 {
		return usage(c, "--tokens and --states must be 1 or more")
	}
	t, err := task.Prompt(c.String("prompt"))
	if err != nil {
		return err
	}
	gguf, _, err := openModel(c, c.String("llm"))
	if err != nil {
		return err
	}
	defer gguf.Close()
	if info, err := gguf.Describe(); err == nil && info.OddTemplate {
		fmt.Fprintln(c.App.ErrWriter, "note: the model has a chat template that llama.cpp does not understand; the prompt is written without it")
	}
	prompts, err := task.Compile(gguf, t, prompt.Shown{Tokens: c.Int("tokens"), PerState: 1, AllItems: c.Int("states") > 1})
	if err != nil {
		return err
	}
	var answer []int32
	if c.IsSet("answer") {
		if answer, err = prompt.Tokens(gguf, c.String("answer")); err != nil {
			return err
		}
	}
	for i, p := range prompts {
		if len(prompts) > 1 {
			fmt.Fprintf(c.App.Writer, "wording %d of %d:\n", i+1, len(prompts))
		}
		counts := make([]int, p.Slots())
		for slot := range counts {
			counts[slot] = c.Int("states")
		}
		if err := p.Show(c.App.Writer, gguf, counts, answer); err != nil {
			return err
		}
	}
	return nil
}
