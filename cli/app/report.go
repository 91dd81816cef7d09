package app

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/report"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "write one page with the results of runs that works offline",
		ArgsUsage: "RUN…",
		Description: "The page shows training curves, tables of finished evaluations, accuracy by popularity, item, position in the history and\n" +
			"token, every answer with its token probabilities, oracles and verdicts. It names the file behind each figure.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "write `FILE`.html, and FILE.json with the same for programs (required)"},
		},
		Action: func(c *cli.Context) error {
			out := c.String("out")
			if c.NArg() == 0 {
				return usage(c, "name the folders of one or more runs")
			}
			if out == "" {
				return usage(c, "--out is missing; name the page that is to be written, e.g. --out report.html")
			}
			base, isPage := strings.CutSuffix(out, ".html")
			if !isPage {
				return usage(c, "--out is %q; it must end in .html", out)
			}
			r, err := report.New(c.Args().Slice())
			if err != nil {
				return err
			}
			for path, write := range map[string]func(io.Writer) error{out: r.WriteHTML, base + ".json": r.WriteJSON} {
				if err := artifact.WriteAtomic(path, write); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintln(c.App.Writer, out)
			return err
		},
	}
}
