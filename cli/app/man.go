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

func manCommand() *cli.Command {
	return &cli.Command{
		Name:  "man",
		Usage: "print the manual page; show it with recint man | man -l -",
		Action: func(c *cli.Context) error {
			if err := onlyFlags(c); err != nil {
				return err
			}
			page, err := man()
			if err == nil {
				_, err = c.App.Writer.Write(page)
			}
			return err
		},
	}
}

// man makes the manual page in the language of troff.
func man() ([]byte, error) {
	t, err := texttemplate.New("man.md").Funcs(texttemplate.FuncMap{"plain": plain, "flag": flagParts}).Parse(manText)
	if err != nil {
		return nil, err
	}
	a := New(io.Discard, io.Discard)
	var page strings.Builder
	err = t.Execute(&page, map[string]any{"App": a, "Version": Version, "Commands": named(a.Name, a.Commands)})
	if err != nil {
		return nil, err
	}
	return md2man.Render([]byte(page.String())), nil
}

// namedCommand is a command with the words that call it.
type namedCommand struct {
	Path string
	*cli.Command
}

// named lists commands, each with those below it behind it.
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

// flagParts are a flag with what its help calls the value, and the help.
func flagParts(f cli.Flag) (parts struct{ Name, Value, Help string }) {
	head, help, _ := strings.Cut(f.String(), "\t")
	parts.Name, parts.Value, _ = strings.Cut(head, " ")
	parts.Help = plain(help)
	return parts
}
