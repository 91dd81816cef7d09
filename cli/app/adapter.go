package app

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/align"
)

func adapterCommand() *cli.Command {
	file := &cli.StringFlag{Name: "adapter", Usage: "`FILE`.safetensors, adapter.safetensors of a run (required)"}
	return &cli.Command{
		Name:  "adapter",
		Usage: "look at a trained adapter, or take it elsewhere",
		Subcommands: []*cli.Command{
			{
				Name:   "info",
				Usage:  "say what an adapter is and what it was made from",
				Flags:  []cli.Flag{file, jsonFlag},
				Action: adapterInfo,
			},
			{
				Name:  "export",
				Usage: "write the weights with the names that PyTorch's modules give them",
				Description: "linear: nn.Linear; mlp and positions: nn.Sequential(nn.Linear, nn.GELU(approximate=\"tanh\"), nn.Linear); mixture: mix,\n" +
					"a number for each position, and weight and bias; dictionary: nn.Sequential(nn.Linear, nn.GELU(approximate=\"tanh\"),\n" +
					"nn.Linear, nn.Softmax, nn.Linear without a bias), then each soft token times turn, plus bias; recall: nn.Sequential(\n" +
					"nn.Linear, nn.GELU(), nn.Linear), whose best scores choose rows of entries; docs/training.md has the rest. Inputs are the\n" +
					"recommender's states as they are; outputs are the soft tokens of an input side by side. The metadata says what the\n" +
					"adapter was made from.",
				Flags:  []cli.Flag{file, &cli.StringFlag{Name: "out", Usage: "`FILE`.safetensors to write (required)"}},
				Action: adapterExport,
			},
		},
	}
}

func adapterInfo(c *cli.Context) error {
	if err := onlyFlags(c, "adapter"); err != nil {
		return err
	}
	adapter, p, err := align.LoadAdapter(c.String("adapter"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, map[string]any{"shape": adapter.Shape, "provenance": p})
	}
	kind := string(adapter.Kind)
	if adapter.Hidden > 0 {
		kind += fmt.Sprintf(" of %d hidden units", adapter.Hidden)
	}
	if adapter.Entries > 0 {
		kind += fmt.Sprintf(" and %d entries", adapter.Entries)
	}
	if adapter.Mixed > 0 {
		kind += fmt.Sprintf(" of %d states", adapter.Mixed)
	}
	if adapter.LookUps > 0 {
		kind += fmt.Sprintf(", of which it looks up %d, for %d soft tokens each", adapter.LookUps, adapter.TokensOfEntry())
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"kind", kind},
		{"reads", fmt.Sprintf("states %d wide", adapter.In)},
		{"writes", fmt.Sprintf("%d soft tokens for each input, %d wide", adapter.Tokens, adapter.Embd)},
		{"trained", fmt.Sprintf("on %d samples in %.1f minutes", p.Samples, p.Minutes)},
		{"prompt", fmt.Sprintf("%s, which asks for the %s", p.Template.Name, p.Template.Asks)},
		{"recommender", p.Recommender}, {"LLM", p.LLM}, {"data set", p.Dataset},
	} {
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	return w.Flush()
}

func adapterExport(c *cli.Context) error {
	if err := onlyFlags(c, "adapter", "out"); err != nil {
		return err
	}
	out := c.String("out")
	if !strings.HasSuffix(out, ".safetensors") {
		return usage(c, "--out is %q; it must end in .safetensors", out)
	}
	adapter, p, err := align.LoadAdapter(c.String("adapter"))
	if err != nil {
		return err
	}
	if err := newFile(out); err != nil {
		return err
	}
	if err := adapter.Export(out, p); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, out)
	return nil
}
