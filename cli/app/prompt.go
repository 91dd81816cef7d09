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
		", or FILE.json (recint prompt show --help); of varied ones training draws a wording at random"}
}

func promptCommand() *cli.Command {
	return &cli.Command{
		Name:  "prompt",
		Usage: "show what the LLM is asked",
		Subcommands: []*cli.Command{{
			Name:  "show",
			Usage: "print a prompt token by token, with the positions of the soft tokens",
			Description: "A JSON file of your own has the keys name, asks (\"last item\" or \"history\") and texts, a list of wordings; and, where\n" +
				"you like, reply, how the answer's message starts, and examples, lists of titles. Texts or reply hold the slots: {state}\n" +
				"and {after} are the state after the history, {before} that without its last item. docs/training.md lists all slots and\n" +
				"has an example.",
			Flags: []cli.Flag{
				llmFlag(),
				promptFlag(),
				&cli.IntFlag{Name: "tokens", Value: run.DefaultSpec().Tokens, Usage: "soft `TOKENS` for each state"},
				&cli.IntFlag{Name: "states", Value: 1, Usage: "`STATES` in each slot: more than one for adapters that read the state after each item"},
				&cli.StringFlag{Name: "answer", Usage: "also show the answer `TEXT` as it is trained"},
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
