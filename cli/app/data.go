package app

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/fetch"
)

func dataCommand() *cli.Command {
	return &cli.Command{
		Name:  "data",
		Usage: "fetch data sets and look at them",
		Subcommands: []*cli.Command{
			{
				Name:      "fetch",
				Usage:     "bring a data set to this machine, with its licence",
				ArgsUsage: ml100k,
				Flags:     []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "put it into `FOLDER` (default: recint's own)"}},
				Action: func(c *cli.Context) error {
					if c.Args().Len() != 1 || c.Args().First() != ml100k {
						return usage(c, "name the data set to fetch; known is %s", ml100k)
					}
					if dir := c.String("dir"); dir != "" {
						return fetch.ML100K(c.Context, dir, c.App.Writer)
					}
					dir, err := datasetPath(c, ml100k)
					if err == nil {
						fmt.Fprintln(c.App.Writer, dir)
					}
					return err
				},
			},
			{
				Name:   "stats",
				Usage:  "describe a data set in numbers",
				Flags:  []cli.Flag{dataFlag(), jsonFlag},
				Action: dataStats,
			},
		},
	}
}

func dataStats(c *cli.Context) error {
	if err := onlyFlags(c); err != nil {
		return err
	}
	dir, err := datasetPath(c, c.String("data"))
	if err != nil {
		return err
	}
	d, err := dataset.Load(dir)
	if err != nil {
		return err
	}
	s, err := dataset.Describe(d, dataset.DefaultProtocol())
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, s)
	}
	day := func(t int64) string { return time.Unix(t, 0).UTC().Format(time.DateOnly) }
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "data set\t%s (%s)\n", s.Name, dir)
	fmt.Fprintf(w, "licence\t%s\n", d.Licence)
	fmt.Fprintf(w, "content\t%s\n", s.Hash)
	fmt.Fprintf(w, "users, items, events\t%d, %d, %d (%.2f %% of all pairs)\n", s.Users, s.Items, s.Events, 100*s.Density)
	fmt.Fprintf(w, "time\t%s to %s\n", day(s.FirstTime), day(s.LastTime))
	fmt.Fprintf(w, "events of a user\t%d (median)\n", s.MedianEvents)
	fmt.Fprintf(w, "sequences\t%d to train, %d to validate, %d to test; history of %d items (median)\n", s.Train,
		s.Validation, s.Test, s.MedianHistory)
	fmt.Fprintf(w, "items that share a title\t%d\n", s.DuplicateTitles)
	for i, item := range s.TopItems {
		label := ""
		if i == 0 {
			label = "most seen"
		}
		fmt.Fprintf(w, "%s\t%s (%d)\n", label, item.Title, item.Events)
	}
	return w.Flush()
}
