package app

import (
	"cmp"
	"fmt"
	"io"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/fetch"
)

func dataCommand() *cli.Command {
	return &cli.Command{
		Name:  "data",
		Usage: "fetch, import and describe data sets",
		Subcommands: []*cli.Command{
			{
				Name:      "fetch",
				Usage:     "download a data set and show its licence",
				ArgsUsage: ml100k,
				Flags:     []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "write it to `FOLDER` (default: recint's own folder)"}},
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
				Usage:  "show the size, splits and attributes of a data set, and leakage between splits",
				Flags:  []cli.Flag{dataFlag(), jsonFlag},
				Action: dataStats,
			},
			dataImportCommand(),
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
	defer frugal()()
	d, err := dataset.Load(dir)
	if err != nil {
		return err
	}
	s, err := dataset.Describe(c.Context, d, dataset.DefaultProtocol())
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, s)
	}
	return showStats(c, dir, d.Licence, s)
}

// frugal makes Go collect garbage early, and returns the function that ends this. A large data set
// is a few large arrays: scanning them costs next to nothing, and garbage should not double them.
func frugal() func() {
	before := debug.SetGCPercent(15)
	return func() { debug.SetGCPercent(before) }
}

// showStats prints the statistics of a data set folder.
func showStats(c *cli.Context, dir, licence string, s dataset.Stats) error {
	unit, _ := dataset.UnitOf(s.LastTime)
	day := func(t int64) string { return time.Unix(t/unit.PerSecond, 0).UTC().Format(time.DateOnly) }
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "data set\t%s (%s)\n", s.Name, dir)
	fmt.Fprintf(w, "licence\t%s\n", cmp.Or(licence, "not known: ask whom the data came from"))
	fmt.Fprintf(w, "content\t%s\n", s.Hash)
	if s.SplitBy == dataset.Given {
		fmt.Fprintf(w, "items\t%d\n", s.Items)
	} else {
		fmt.Fprintf(w, "users, items, events\t%d, %d, %d (%.2f %% of all pairs)\n", s.Users, s.Items, s.Events, 100*s.Density)
		fmt.Fprintf(w, "time\t%s to %s%s\n", day(s.FirstTime), day(s.LastTime), inUnit(unit))
		fmt.Fprintf(w, "events of a user\t%d (median)\n", s.MedianEvents)
		if s.SingleEvents > 0 {
			fmt.Fprintf(w, "\t%d users have one event and give no sequence\n", s.SingleEvents)
		}
	}
	fmt.Fprintf(w, "split\t%s\n", s.SplitBy)
	fmt.Fprintf(w, "sequences\t%d to train, %d to validate, %d to test; history of %d items (median)\n", s.Train,
		s.Validation, s.Test, s.MedianHistory)
	for i, line := range leakageLines(s) {
		fmt.Fprintf(w, "%s\t%s\n", first(i, "leakage"), line)
	}
	fmt.Fprintf(w, "items that share a title\t%d\n", s.DuplicateTitles)
	for i, item := range s.TopItems {
		fmt.Fprintf(w, "%s\t%s (%d)\n", first(i, "most seen"), item.Title, item.Events)
	}
	showColumns(w, "attributes of items", s.ItemColumns)
	showColumns(w, "attributes of users", s.UserColumns)
	return w.Flush()
}

// showColumns writes a line for each column of attributes.
func showColumns(w io.Writer, label string, columns []dataset.Column) {
	for i, c := range columns {
		fmt.Fprintf(w, "%s\t%s: known of %d, %d values", first(i, label), c.Name, c.Known, c.Values)
		for _, v := range c.Top {
			fmt.Fprintf(w, ", %s (%d)", v.Value, v.Rows)
		}
		fmt.Fprintln(w)
	}
}

// inUnit names an unusual unit of times.
func inUnit(unit dataset.TimeUnit) string {
	if unit.PerSecond == 1 {
		return ""
	}
	return fmt.Sprintf(" (in %s)", unit.Words)
}

// first is the label of the first of several lines.
func first(i int, label string) string {
	if i > 0 {
		return ""
	}
	return label
}

// leakageLines describes how much training sees of the future and of the sequences that it is
// measured on.
func leakageLines(s dataset.Stats) []string {
	l := s.Leakage
	future := fmt.Sprintf("%d of %d test users and %d of %d validation users have a target there that is earlier than the last one in "+
		"training", l.TestUsersAhead, l.TestUsers, l.ValidationUsersAhead, l.ValidationUsers)
	if s.SplitBy == dataset.Given {
		future = "the sequences came without times: whether training sees the future is unknown"
	}
	lines := []string{future}
	if l.TrainAfterTest > 0 {
		lines = append(lines, fmt.Sprintf("%.1f %% of the training targets are later than the first test target", 100*l.TrainAfterTest))
	}
	return append(lines, fmt.Sprintf("%d of %d test sequences are in training or validation, too, and %d of %d validation sequences "+
		"in training", l.TestRepeats, s.Test, l.ValidationRepeats, s.Validation))
}
