package app

import (
	"embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// The scripts ask recint completion words, so that they need not change with the commands.
//
//go:embed completion.bash completion.zsh completion.fish
var scripts embed.FS

func completionCommand() *cli.Command {
	command := &cli.Command{
		Name:  "completion",
		Usage: "print a script that completes command lines in a shell",
		Subcommands: []*cli.Command{{
			Name:      "words",
			Usage:     "print possible completions of the last word, for the scripts",
			ArgsUsage: "-- WORD…",
			Hidden:    true,
			Action: func(c *cli.Context) error {
				for _, w := range completions(c.App, c.Args().Slice()) {
					if _, err := fmt.Fprintln(c.App.Writer, w.word+"\t"+w.says); err != nil {
						return err
					}
				}
				return nil
			},
		}},
	}
	for shell, where := range map[string]string{
		"bash": "completion for bash: add source <(recint completion bash) to ~/.bashrc",
		"fish": "completion for fish: recint completion fish > ~/.config/fish/completions/recint.fish",
		"zsh":  "completion for zsh: add source <(recint completion zsh) to ~/.zshrc, after compinit",
	} {
		command.Subcommands = append(command.Subcommands, &cli.Command{
			Name:  shell,
			Usage: where,
			Action: func(c *cli.Context) error {
				if err := onlyFlags(c); err != nil {
					return err
				}
				script, err := scripts.ReadFile("completion." + shell)
				if err == nil {
					_, err = c.App.Writer.Write(script)
				}
				return err
			},
		})
	}
	slices.SortFunc(command.Subcommands, func(a, b *cli.Command) int { return strings.Compare(a.Name, b.Name) })
	return command
}

// completion is a possible next word of a command line.
type completion struct{ word, says string }

// values lists the values of a flag, by its name and the placeholder in its help. A flag that also
// takes a file accepts other words, too.
var values = map[string][]string{
	"adapter KIND":   texts(adapter.Kinds),
	"backend DEVICE": {"auto", "cpu", "cuda", "metal"},
	"budget TIME":    {"30m", "4h", "full"},
	"data FOLDER":    {ml100k},
	"layout LAYOUT":  models.Layouts(),
	"like SHAPE":     shapeNames(),
	"llm FILE":       {smollm2},
	"model MODEL":    strings.Split(lowered(models.Names()), ", "),
	"part PART":      {"train", "validation", "test"},
	"precision TYPE": {"bf16", "f32"},
	"prompt PROMPT":  task.Prompts(),
	"schedule NAME":  {string(align.LinearDecay), string(align.CosineDecay), string(align.Constant)},
	"split SPLIT":    {"chronological", "leave-one-out"},
	"tokenizer FILE": {smollm2},
	"type TYPE":      {"f32", "f16", "bf16"},
}

// names are the possible arguments of a command other than files.
var names = map[string][]string{
	"data fetch":   {ml100k},
	"models fetch": {smollm2},
}

// completions lists the possible last words of a command line (without recint itself), in the order
// of the help; none where a file or any text is expected.
func completions(a *cli.App, words []string) []completion {
	if len(words) == 0 {
		return nil
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	if slices.Contains(before, "--") {
		return nil
	}
	commands, flags, path := a.Commands, a.Flags, ""
	for len(before) > 0 {
		if strings.HasPrefix(before[0], "-") {
			n := flagLength(flags, before)
			if n > len(before) {
				return valuesOf(flags, strings.TrimLeft(before[0], "-"), last)
			}
			before = before[n:]
			continue
		}
		if len(commands) > 0 {
			i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(before[0]) })
			if i < 0 {
				return nil
			}
			path = strings.TrimSpace(path + " " + before[0])
			commands, flags = commands[i].Subcommands, slices.Concat(commands[i].Flags, a.Flags)
		}
		before = before[1:]
	}
	if name, value, assigned := strings.Cut(last, "="); assigned && strings.HasPrefix(name, "-") {
		list := valuesOf(flags, strings.TrimLeft(name, "-"), value)
		for i := range list {
			list[i].word = name + "=" + list[i].word
		}
		return list
	}
	var all []completion
	if strings.HasPrefix(last, "-") {
		for _, f := range append(slices.Clone(flags), cli.HelpFlag) {
			_, says := placeholder(f)
			all = append(all, completion{"--" + f.Names()[0], says})
		}
	}
	for _, c := range commands {
		if !c.Hidden {
			all = append(all, completion{c.Name, c.Usage})
		}
	}
	for _, name := range names[path] {
		all = append(all, completion{word: name})
	}
	return starting(all, last)
}

// valuesOf lists the values of a flag that start with a prefix.
func valuesOf(flags []cli.Flag, name, value string) (list []completion) {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return nil
	}
	called, _ := placeholder(flags[i])
	for _, word := range values[name+" "+called] {
		list = append(list, completion{word: word})
	}
	return starting(list, value)
}

func starting(all []completion, with string) []completion {
	return slices.DeleteFunc(all, func(c completion) bool { return !strings.HasPrefix(c.word, with) })
}

var quoted = regexp.MustCompile("`([^`]*)`")

// placeholder returns the placeholder of a flag's value and the help.
func placeholder(f cli.Flag) (name, help string) {
	documented, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return "", ""
	}
	help = documented.GetUsage()
	if match := quoted.FindStringSubmatch(help); match != nil {
		name = match[1]
	}
	return name, strings.ReplaceAll(help, "`", "")
}

func texts[T ~string](list []T) (all []string) {
	for _, s := range list {
		all = append(all, string(s))
	}
	return all
}
