package app

import (
	_ "embed"
	"io"
	"strings"
	texttemplate "text/template"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/urfave/cli/v2"
)

//go:embed man.md
var manText string

//go:embed commands.md
var commandsText string

func manCommand() *cli.Command {
	return &cli.Command{
		Name:  "man",
		Usage: "print the manual page; show it with recint man | man -l -",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "markdown", DisableDefaultText: true, Usage: "print docs/commands.md instead"}},
		Action: func(c *cli.Context) error {
			if err := onlyFlags(c); err != nil {
				return err
			}
			text := manText
			if c.Bool("markdown") {
				text = commandsText
			}
			page, err := describe(text)
			if err == nil && !c.Bool("markdown") {
				page = string(md2man.Render([]byte(page)))
			}
			if err == nil {
				_, err = io.WriteString(c.App.Writer, page)
			}
			return err
		},
	}
}

// describe fills a template with all commands and flags.
func describe(text string) (string, error) {
	t, err := texttemplate.New("").Funcs(texttemplate.FuncMap{"plain": plain, "flag": flagParts, "sentence": sentence, "cell": cell}).Parse(text)
	if err != nil {
		return "", err
	}
	a := New(io.Discard, io.Discard)
	var page strings.Builder
	err = t.Execute(&page, map[string]any{"App": a, "Version": Version, "Commands": named(a.Name, a.Commands)})
	return page.String(), err
}

// namedCommand is a command with the words that call it.
type namedCommand struct {
	Path string
	*cli.Command
}

// named lists commands, each followed by its subcommands.
func named(path string, commands []*cli.Command) (all []namedCommand) {
	for _, c := range commands {
		if !c.Hidden {
			all = append(append(all, namedCommand{path + " " + c.Name, c}), named(path+" "+c.Name, c.Subcommands)...)
		}
	}
	return all
}

// plain keeps Markdown from reading marks into a text.
func plain(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`, "`", "").Replace(text)
}

// sentence begins a text with a capital letter and ends it with a full stop.
func sentence(text string) string {
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// cell keeps a table of Markdown from reading bars in a text.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// flagParts are a flag, the placeholder of its value, and the help.
func flagParts(f cli.Flag) (parts struct{ Name, Value, Help string }) {
	head, help, _ := strings.Cut(f.String(), "\t")
	parts.Name, parts.Value, _ = strings.Cut(head, " ")
	parts.Help = plain(help)
	return parts
}
