package app

import (
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

func dataImportCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "make a data set of files that you have",
		ArgsUsage: "SOURCE",
		Description: "SOURCE is a folder: MovieLens as GroupLens packs it (100K, 1M, 10M, 20M, 25M, 32M), RecBole's NAME.inter and\n" +
			"NAME.item, or sequences in three parts (items.tsv, train.tsv, validation.tsv, test.tsv). Or it is a file of events with\n" +
			"named columns, CSV, TSV, JSONL or Parquet, beside one with titles (--items). Columns with usual names are found.\n" +
			"Rows that cannot be used are left out, counted, and the first few shown. docs/data.md has an example of each.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "put the data set into this new `FOLDER` (required)"},
			&cli.StringFlag{Name: "items", Usage: "`FILE` with the titles, where SOURCE is a file"},
			&cli.StringFlag{Name: "user", Usage: "`COLUMN` of users"},
			&cli.StringFlag{Name: "item", Usage: "`COLUMN` of items, in both files"},
			&cli.StringFlag{Name: "time", Usage: "`COLUMN` of times: numbers that grow, or dates"},
			&cli.StringFlag{Name: "rating", Usage: "`COLUMN` of ratings"},
			&cli.StringFlag{Name: "title", Usage: "`COLUMN` of titles"},
			&cli.Float64Flag{Name: "min-rating", Usage: "leave out events with a rating below `R`"},
			&cli.IntFlag{Name: "k-core", Usage: "leave out users and items with fewer than `K` events, until there are none"},
			&cli.StringFlag{Name: "split", DefaultText: "chronological",
				Usage: "record a `SPLIT`: chronological (8:1:1 over all sequences) or leave-one-out (the last event of each user to test)"},
			&cli.BoolFlag{Name: "strict", DisableDefaultText: true, Usage: "fail at the first row that cannot be used"},
			jsonFlag,
		},
		Action: dataImport,
	}
}

func dataImport(c *cli.Context) error {
	from, to := c.Args().First(), c.String("to")
	if c.Args().Len() != 1 || from == "" {
		return usage(c, "name one folder or file to import")
	}
	if to == "" {
		return usage(c, "--to is missing")
	}
	o := dataset.ImportOptions{
		Name: filepath.Base(filepath.Clean(to)), Items: c.String("items"), KCore: c.Int("k-core"),
		SplitBy: dataset.SplitKind(c.String("split")), Strict: c.Bool("strict"),
		Columns: dataset.Columns{User: c.String("user"), Item: c.String("item"), Time: c.String("time"),
			Rating: c.String("rating"), Title: c.String("title")},
	}
	if c.IsSet("min-rating") {
		lowest := float32(c.Float64("min-rating"))
		o.MinRating = &lowest
	}
	defer frugal()()
	p := newProgress(c.App.ErrWriter, "importing")
	o.Progress = func(at dataset.ImportProgress) {
		p.to(int(100*at.Share), 100, fmt.Sprintf("%%, %s, %d rows", at.Doing, at.Rows))
	}
	d, report, err := dataset.Import(c.Context, from, to, o)
	p.end()
	if err != nil {
		return err
	}
	s, err := dataset.Describe(c.Context, d, dataset.DefaultProtocol())
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, struct {
			Import dataset.ImportReport `json:"import"`
			Stats  dataset.Stats        `json:"stats"`
		}{report, s})
	}
	for _, line := range reportLines(report) {
		fmt.Fprintln(c.App.ErrWriter, line)
	}
	return showStats(c, to, d.Licence, s)
}

// reportLines says in words what was left out or mended, and gives examples.
func reportLines(r dataset.ImportReport) []string {
	lines := []string{fmt.Sprintf("%s: %d rows", r.Layout, r.Rows)}
	for _, c := range []struct {
		n    int
		what string
	}{
		{r.Malformed, "rows left out that could not be read"},
		{r.Untitled, "rows left out whose item has no title"},
		{r.BelowRating, "events left out below the lowest rating"},
		{r.Duplicates, "events left out that repeat user, item and time of another one"},
		{r.OutsideCore, "events left out outside the k-core"},
		{r.Latin1, "fields that were not UTF-8, read as Latin-1: check accents in the titles"},
	} {
		if c.n > 0 {
			lines = append(lines, fmt.Sprintf("  %d %s", c.n, c.what))
		}
	}
	for _, why := range r.First {
		lines = append(lines, "  "+why)
	}
	return lines
}
