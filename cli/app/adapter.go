package app

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

func adapterCommand() *cli.Command {
	file := &cli.StringFlag{Name: "adapter", Usage: "`FILE`.safetensors, adapter.safetensors of a run (required)"}
	return &cli.Command{
		Name:  "adapter",
		Usage: "describe a trained adapter, or export its weights",
		Subcommands: []*cli.Command{
			{
				Name:   "info",
				Usage:  "describe an adapter: kind, sizes, training, and the files it belongs to",
				Flags:  []cli.Flag{file, jsonFlag},
				Action: adapterInfo,
			},
			{
				Name:  "export",
				Usage: "export the weights as a PyTorch state dict",
				Description: adapter.Modules() + "See docs/training.md for the formulas. Inputs are the recommender's states, not standardised;\n" +
					"outputs are the soft tokens of each input, concatenated. The metadata names the files the adapter belongs to.",
				Flags: []cli.Flag{file, &cli.StringFlag{Name: "out", Usage: "`FILE`.safetensors to write (required)"},
					&cli.StringFlag{Name: "question", Usage: "the `QUESTION` whose weights to write, as recint adapter info lists them (required if there are several)"}},
				Action: adapterExport,
			},
		},
	}
}

func adapterInfo(c *cli.Context) error {
	if err := onlyFlags(c, "adapter"); err != nil {
		return err
	}
	trained, p, err := align.LoadAdapter(c.String("adapter"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, map[string]any{"shape": trained.Shape, "provenance": p})
	}
	kind := trained.Kind.Label()
	if trained.Hidden > 0 {
		kind += fmt.Sprintf(" of %d hidden units", trained.Hidden)
	}
	if trained.Entries > 0 {
		kind += fmt.Sprintf(" and %d entries", trained.Entries)
	}
	if trained.Mixed > 0 {
		kind += fmt.Sprintf(" of %d states", trained.Mixed)
	}
	if trained.LookUps > 0 {
		kind += fmt.Sprintf(", of which it looks up %d, for %d soft tokens each", trained.LookUps, trained.TokensOfEntry())
	}
	asks := fmt.Sprintf("%s, which asks for the %s", p.Template.Name, p.Template.Asks)
	if len(trained.Questions) > 0 {
		asks = fmt.Sprintf("of each question, with a first layer of its own: %s", questions(trained))
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"kind", kind},
		{"reads", fmt.Sprintf("states %d wide", trained.In)},
		{"writes", fmt.Sprintf("%d soft tokens for each input, %d wide", trained.Tokens, trained.Embd)},
		{"trained", fmt.Sprintf("on %d samples in %.1f minutes", p.Samples, p.Minutes)},
		{"prompt", asks},
		{"recommender", p.Recommender}, {"LLM", p.LLM}, {"data set", p.Dataset},
	} {
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	return w.Flush()
}

// questions lists those that have a first layer of their own.
func questions(a *align.Adapter) string {
	names := make([]string, len(a.Questions))
	for i, asked := range a.Questions {
		names[i] = string(asked)
	}
	return strings.Join(names, ", ")
}

func adapterExport(c *cli.Context) error {
	if err := onlyFlags(c, "adapter", "out"); err != nil {
		return err
	}
	out := c.String("out")
	if !strings.HasSuffix(out, ".safetensors") {
		return usage(c, "--out is %q; it must end in .safetensors", out)
	}
	trained, p, err := align.LoadAdapter(c.String("adapter"))
	if err != nil {
		return err
	}
	if err := newFile(out); err != nil {
		return err
	}
	if len(trained.Questions) > 0 {
		asked := prompt.Asked(c.String("question"))
		if !slices.Contains(trained.Questions, asked) {
			return usage(c, "--question is %q; the adapter has a first layer for each of these: %s", asked, questions(trained))
		}
		if asked != p.Template.Asks {
			p.Template = prompt.Template{Asks: asked} // the file holds that of the first question alone
		}
		if trained, err = trained.For(asked); err != nil {
			return err
		}
	}
	if err := trained.Export(out, p); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, out)
	return nil
}
