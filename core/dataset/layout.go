package dataset

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// movieLensLicence sums up the terms of use in the archives' README.
const movieLensLicence = "GroupLens terms of use for MovieLens: research use with acknowledgement (F. M. Harper and " +
	"J. A. Konstan, 2015, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 19:1-19:19); no redistribution and no " +
	"commercial use without permission"

// Columns names the columns of an import. An empty name stands for the usual ones.
type Columns struct {
	User, Item, Time, Rating, Title string
}

// column gives the named column, or the one with a usual name.
func (c Columns) column(noun, name string, usual ...string) column {
	if name != "" {
		return column{noun: noun, names: []string{name}}
	}
	return column{noun: noun, names: usual}
}

var usualItems = []string{"item", "itemid", "movieid", "artistid", "trackid", "bookid", "productid", "gameid", "parentasin", "asin"}

func (c Columns) events() []column {
	rating := c.column("rating", c.Rating, "rating", "score", "stars", "overall")
	rating.optional = c.Rating == ""
	return []column{
		c.column("user", c.User, "user", "userid", "uid", "reviewerid"),
		c.column("item", c.Item, usualItems...),
		c.column("time", c.Time, "time", "timestamp", "date", "datetime", "unixreviewtime"),
		rating,
	}
}

func (c Columns) items() []column {
	return []column{
		c.column("item", c.Item, usualItems...),
		c.column("title", c.Title, "title", "movietitle", "itemtitle", "name", "itemname", "artistname"),
	}
}

// source is what an import reads.
type source struct {
	layout  string // in words
	licence string
	items   *table
	events  *table   // nil for data that came split
	given   []*table // for data that came split: its parts
}

// scanners by the ending of a file's name.
var scanners = map[string]scanner{
	".csv": scanCSV, ".tsv": separated("\t"), ".inter": separated("\t"), ".item": separated("\t"), ".jsonl": scanJSONL,
	".ndjson": scanJSONL, ".parquet": scanParquet,
}

// open makes the table of a file with named columns.
func open(folder fs.FS, file string, columns []column) (*table, error) {
	ending := strings.ToLower(path.Ext(file))
	scan := scanners[ending]
	if scan == nil {
		return nil, &FormatError{file, 0, fmt.Sprintf("the ending %q says nothing of its format", ending),
			"known are .csv, .tsv, .jsonl, .ndjson, .parquet, and RecBole's .inter and .item"}
	}
	if ending == ".item" {
		columns = append(columns, column{"year", []string{"releaseyear"}, true})
	}
	return &table{folder: folder, file: file, scan: scan, columns: columns}, nil
}

// locate finds out what lies at a path: a folder in a layout that is known, or a file of events, whose titles stand in the
// file items.
func locate(folder fs.FS, at, items string, c Columns) (source, error) {
	info, err := fs.Stat(folder, at)
	if err != nil {
		return source{}, fmt.Errorf("dataset: cannot read: %w", err)
	}
	if !info.IsDir() {
		if items == "" {
			return source{}, fmt.Errorf("dataset: %s holds events; name the file with the titles of their items, too", at)
		}
		return locateFiles(folder, "files with named columns", at, items, c)
	}
	entries, err := fs.ReadDir(folder, at)
	if err != nil {
		return source{}, fmt.Errorf("dataset: cannot read: %w", err)
	}
	has := func(names ...string) bool {
		for _, name := range names {
			if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name }) {
				return false
			}
		}
		return true
	}
	if items != "" {
		return source{}, fmt.Errorf("dataset: %s is a folder and brings its own titles; leave out %s", at, items)
	}
	bare := func(name, separator string, columns []column, header ...string) *table {
		return &table{folder: folder, file: filepath.Join(at, name), scan: separated(separator), columns: columns, header: header,
			latin1: true}
	}
	switch {
	case has("u.data", "u.item"):
		rest := make([]string, 22) // two dates, address, nineteen genres
		return source{"MovieLens 100K, official archive", movieLensLicence,
			bare("u.item", "|", c.items(), append([]string{"item_id", "title"}, rest...)...),
			bare("u.data", "\t", c.events(), "user_id", "item_id", "rating", "time"), nil}, nil
	case has("ratings.dat", "movies.dat"):
		return source{"MovieLens 1M or 10M, official archive", movieLensLicence,
			bare("movies.dat", "::", c.items(), "item_id", "title", "genres"),
			bare("ratings.dat", "::", c.events(), "user_id", "item_id", "rating", "time"), nil}, nil
	case has("ratings.csv", "movies.csv"):
		s, err := locateFiles(folder, "MovieLens 20M, 25M or 32M, official archive", filepath.Join(at, "ratings.csv"),
			filepath.Join(at, "movies.csv"), c)
		s.licence = movieLensLicence
		return s, err
	case has(itemsFile, partFiles[train], partFiles[validation], partFiles[test]):
		s := source{layout: "sequences in three parts"}
		if s.items, err = open(folder, filepath.Join(at, itemsFile), c.items()); err != nil {
			return source{}, err
		}
		for _, name := range partFiles {
			s.given = append(s.given, partTable(folder, filepath.Join(at, name)))
		}
		return s, nil
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".inter"); ok && has(name+".item") {
			return locateFiles(folder, "RecBole's atomic files", filepath.Join(at, e.Name()), filepath.Join(at, name+".item"), c)
		}
	}
	return source{}, fmt.Errorf("dataset: %s has no layout that is known: u.data and u.item, ratings.dat and movies.dat, "+
		"ratings.csv and movies.csv, NAME.inter and NAME.item, or items.tsv, train.tsv, validation.tsv and test.tsv; or name a "+
		"file of events and one of titles", at)
}

func locateFiles(folder fs.FS, layout, events, items string, c Columns) (s source, err error) {
	s.layout = layout
	if s.events, err = open(folder, events, c.events()); err != nil {
		return source{}, err
	}
	s.items, err = open(folder, items, c.items())
	return s, err
}
