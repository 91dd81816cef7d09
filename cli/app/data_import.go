package app

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/importer"
)

func dataImportCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "convert your own files to a data set",
		ArgsUsage: "SOURCE",
		Description: "SOURCE is a folder or a table of events.\n" +
			"Folders: MovieLens as published by GroupLens (100K, 1M, 10M, 20M, 25M, 32M), RecBole (NAME.inter, or NAME.train.inter,\n" +
			"NAME.valid.inter and NAME.test.inter, and NAME.item), or a split data set (items.tsv, train.tsv, validation.tsv, test.tsv).\n" +
			"Tables with named columns: a file, a folder of part files, a pattern such as 'events-*.csv', or - for a pipe; CSV with any\n" +
			"usual separator, TSV, JSON or Parquet, compressed or not. Titles are a column of the events or a separate file (--items).\n" +
			"Columns with usual names are found by themselves; names that end in id come first. With --sql, DuckDB reads the data:\n" +
			"\n" +
			"   recint data import --sql \"SELECT user, item, time, title FROM 'log.parquet' WHERE country = 'NZ'\" --to data/nz\n" +
			"\n" +
			"Every row is imported, or skipped and counted by reason. docs/data.md has an example of each format.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "write the data set to a new `FOLDER` (required)"},
			&cli.StringFlag{Name: "items", Usage: "`FILE`, folder or pattern with the titles and attributes of items"},
			&cli.StringFlag{Name: "users", Usage: "`FILE`, folder or pattern with attributes of users"},
			&cli.StringFlag{Name: "sql", Usage: "import the rows of `QUERY`: user, item, time[, rating][, title]"},
			&cli.StringFlag{Name: "format", DefaultText: "recognised by the content", Usage: "`FORMAT` of SOURCE: csv, tsv, json or parquet"},
			&cli.StringFlag{Name: "user", Usage: "`COLUMN` of users"},
			&cli.StringFlag{Name: "item", Usage: "`COLUMN` of items, in both files"},
			&cli.StringFlag{Name: "time", Usage: "`COLUMN` of times: increasing numbers or dates; rows uses the order of the rows"},
			&cli.StringFlag{Name: "time-unit", DefaultText: "numbers are not converted", Usage: "convert numeric times in this `UNIT` to seconds: s, ms, us or ns"},
			&cli.StringFlag{Name: "rating", Usage: "`COLUMN` of ratings"},
			&cli.StringFlag{Name: "title", Usage: "`COLUMN` of titles"},
			&cli.StringFlag{Name: "titles", Value: "clean", Usage: "`HOW` to treat titles: clean (\"Matrix, The (1999)\" becomes \"The Matrix\") or as-is"},
			&cli.Float64Flag{Name: "min-rating", Usage: "skip events whose rating is below `R` or missing"},
			&cli.IntFlag{Name: "k-core", Usage: "skip users and items with fewer than `K` events, repeatedly until none is left"},
			&cli.StringFlag{Name: "split", DefaultText: "chronological",
				Usage: "record a `SPLIT`: chronological (8:1:1 over all sequences), leave-one-out (the last event of each user to test) or given (as the source is split)"},
			&cli.BoolFlag{Name: "strict", DisableDefaultText: true, Usage: "fail at the first unusable row"},
			jsonFlag,
		},
		Action: dataImport,
	}
}

func dataImport(c *cli.Context) error {
	from, to := c.Args().First(), c.String("to")
	how := c.String("titles")
	switch {
	case c.Args().Len() > 1, from == "" && c.String("sql") == "":
		return usage(c, "name one folder or file to import")
	case to == "":
		return usage(c, "--to is missing")
	case how != "clean" && how != "as-is":
		return usage(c, "--titles is %q, expected clean or as-is", how)
	}
	o := importer.Options{
		Name: filepath.Base(filepath.Clean(to)), Items: c.String("items"), Users: c.String("users"), Query: c.String("sql"),
		Format: importer.Format(c.String("format")), TimeUnit: c.String("time-unit"), Raw: how == "as-is", KCore: c.Int("k-core"),
		SplitBy: dataset.SplitKind(c.String("split")), Strict: c.Bool("strict"),
		Columns: importer.Columns{User: c.String("user"), Item: c.String("item"), Time: c.String("time"),
			Rating: c.String("rating"), Title: c.String("title")},
	}
	if c.IsSet("min-rating") {
		lowest := float32(c.Float64("min-rating"))
		o.MinRating = &lowest
	}
	defer frugal()()
	p := newProgress(c.App.ErrWriter, "importing")
	o.Progress = func(at importer.Progress) {
		p.to(int(100*at.Share), 100, fmt.Sprintf("%%, %s, %d rows", at.Doing, at.Rows))
	}
	d, report, err := importer.Import(c.Context, from, to, o)
	p.end()
	if err != nil {
		return err
	}
	s, err := dataset.Describe(c.Context, d, dataset.DefaultProtocol())
	if err != nil {
		return err
	}
	if s.Train == 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("no sequence is left to train on: one is an event with at least %d earlier ones of "+
			"its user", dataset.DefaultProtocol().MinHistory))
	}
	if c.Bool("json") {
		return printJSON(c, struct {
			Import importer.Report `json:"import"`
			Stats  dataset.Stats   `json:"stats"`
		}{report, s})
	}
	for _, line := range reportLines(report) {
		fmt.Fprintln(c.App.ErrWriter, line)
	}
	return showStats(c, to, d.Licence, s)
}

// reportLines accounts for the rows, reports decisions, and shows examples of skipped rows.
func reportLines(r importer.Report) []string {
	lines := []string{fmt.Sprintf("%s: %d rows read, %d imported, %d skipped", r.Layout, r.Rows, r.Imported, r.Rows-r.Imported)}
	count := func(n int, what string) {
		if n > 0 {
			lines = append(lines, fmt.Sprintf("  %d %s", n, what))
		}
	}
	count(r.Malformed, "skipped that cannot be read")
	count(r.Untitled, "skipped whose item has no title")
	count(r.BelowRating, "skipped below the lowest rating, or without one")
	count(r.Duplicates, "skipped that repeat user, item and time of another one")
	count(r.OutsideCore, "skipped outside the k-core")
	lines = append(lines, fmt.Sprintf("titles: %d rows read, %d items imported", r.Items.Rows, r.Items.Imported))
	count(r.Items.Repeated, "repeat an item")
	count(r.Items.Malformed, "skipped that cannot be read or have no title")
	count(r.Latin1, "fields that were not UTF-8, read as Windows-1252: check accents in the titles")
	var columns []string
	for _, noun := range []string{"user", "item", "time", "rating", "title"} {
		if name := r.Columns[noun]; name != "" {
			columns = append(columns, noun+" from "+name)
		}
	}
	lines = append(lines, "columns: "+strings.Join(columns, ", "))
	if len(r.Attributes) > 0 {
		lines = append(lines, "attributes: "+strings.Join(r.Attributes, ", "))
	}
	lines = append(lines, r.Notes...)
	for _, why := range r.First {
		lines = append(lines, "  "+why)
	}
	return lines
}
