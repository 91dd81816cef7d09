package importer

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// source is the input of an import. Exactly one of events, parts and splits is set.
type source struct {
	at        string // its path
	layout    string // in words
	items     *table
	users     *table // may be nil
	events    *table
	parts     [3]*table // sequences to train, to validate and to test; nil: none
	splits    [3]*table // events of these; nil: none
	together  bool      // items and events are the same files
	rawTitles bool      // titles are clean already
	movieLens fs.FS     // the folder, where the layout is one of GroupLens's
	tidy      func(*dataset.Dataset)
}

func (s source) given() bool { return s.parts[0] != nil || s.splits[0] != nil }

// locate finds out what is at a path: a folder in a layout that is known, or events with named
// columns in a file, in a folder of parts, or in files that match a pattern.
func (im *importer) locate(at string) (s source, err error) {
	if im.o.Query != "" {
		return im.locateQuery(at)
	}
	if info, err := os.Stat(at); err == nil && info.IsDir() && im.o.Items == "" {
		if s, err = im.locateFolder(paths{}, at); s.layout != "" || err != nil {
			return s, err
		}
	}
	files, err := im.files(at, im.o.Format)
	if err != nil {
		return s, err
	}
	s = source{at: at, layout: "files with named columns", events: &table{files: files, columns: im.o.Columns.events()}}
	return s, im.beside(&s)
}

func (im *importer) locateQuery(at string) (s source, err error) {
	if at != "" {
		return s, fmt.Errorf("dataset: both a source, %s, and a query are given; the query names its files itself", at)
	}
	s = source{at: "the query", layout: "a query", events: &table{query: im.o.Query, columns: im.o.Columns.events()}}
	return s, im.beside(&s)
}

// beside finds tables of titles and users next to events with named columns.
func (im *importer) beside(s *source) (err error) {
	s.items = &table{files: s.events.files, query: s.events.query, columns: im.o.Columns.items()}
	if s.together = im.o.Items == ""; !s.together {
		s.items.query = ""
		if s.items.files, err = im.files(im.o.Items, ""); err != nil {
			return err
		}
		s.together = slices.Equal(labels(s.items.files), labels(s.events.files))
	}
	return im.besideUsers(s)
}

func (im *importer) besideUsers(s *source) (err error) {
	if im.o.Users != "" {
		s.users = &table{columns: im.o.Columns.users()}
		s.users.files, err = im.files(im.o.Users, "")
	}
	return err
}

func labels(files []file) (all []string) {
	for _, f := range files {
		all = append(all, f.label())
	}
	return all
}

// files finds the files at a path: one, the parts in a folder, or those that match a pattern. A
// pipe is kept.
func (im *importer) files(at string, format Format) (files []file, err error) {
	info, err := os.Stat(at)
	switch {
	case at == "-" || err == nil && !info.IsDir() && !info.Mode().IsRegular():
		temp, err := im.temporary()
		if err != nil {
			return nil, err
		}
		f, err := spool(at, temp)
		f.format = format
		return []file{f}, err
	case err == nil && !info.IsDir():
		return []file{{folder: paths{}, path: at, format: format}}, nil
	case err != nil && strings.Contains(at, "**"):
		return nil, fmt.Errorf("dataset: ** is not known in the pattern %s; name the folder: all files in it and in its folders are read", at)
	}
	matches := []string{at}
	if err != nil {
		if some, bad := filepath.Glob(at); bad == nil && len(some) > 0 {
			matches, err = some, nil
		}
	}
	var found []string
	for _, match := range matches {
		var parts []string
		if err == nil {
			parts, err = partsIn(match)
		}
		found = append(found, parts...)
	}
	if err != nil {
		return nil, fmt.Errorf("dataset: cannot read: %w", err)
	}
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Size() == 0 && len(found) > 1 { // a part without rows
			continue
		}
		files = append(files, file{folder: paths{}, path: path, format: format})
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("dataset: the folder %s has no files to read; hidden ones, and those whose names begin with _, do not count", at)
	}
	return files, nil
}

// partsIn finds a file, or the files in a folder and its folders, except those that programs add to
// their output, such as _SUCCESS and .part-0.crc.
func partsIn(dir string) (found []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if hidden := strings.HasPrefix(e.Name(), "_") || strings.HasPrefix(e.Name(), "."); hidden && path != dir {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !e.IsDir() {
			found = append(found, path)
		}
		return nil
	})
	return found, err
}

// locateFolder recognises the layout of a folder with titles; layout is "" if it recognises none.
func (im *importer) locateFolder(folder fs.FS, at string) (s source, err error) {
	entries, err := fs.ReadDir(folder, at)
	if err != nil {
		return s, fmt.Errorf("dataset: cannot read: %w", err)
	}
	has := func(names ...string) bool {
		for _, name := range names {
			if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name }) {
				return false
			}
		}
		return true
	}
	c := im.o.Columns
	of := func(columns []column, name, separator string, header ...string) *table {
		f := file{folder: folder, path: path.Join(at, name), separator: separator, header: header, latin1: header != nil}
		return &table{files: []file{f}, columns: columns}
	}
	optional := func(t *table) *table {
		if has(path.Base(t.files[0].path)) {
			return t
		}
		return nil
	}
	s = source{at: at}
	sub, err := fs.Sub(folder, at)
	if _, machine := folder.(paths); machine {
		sub, err = os.DirFS(at), nil
	}
	if err != nil {
		return s, err
	}
	ratings := []string{"user_id", "item_id", "rating", "time"}
	switch {
	case has("u.data", "u.item"):
		s.layout, s.movieLens, s.tidy = "MovieLens 100K", sub, tidyMovieLens100K
		s.items = of(c.items(), "u.item", "|", append([]string{"item_id", "title", "", "", ""}, genres100K...)...)
		s.events = of(c.events(), "u.data", "\t", ratings...)
		s.users = optional(of(c.users(), "u.user", "|", "user_id", "age", "gender", "occupation", "zip_code"))
	case has("ratings.dat", "movies.dat"):
		s.layout, s.movieLens = "MovieLens 1M or 10M", sub
		s.items = of(c.items(), "movies.dat", "::", "item_id", "title", "genres")
		s.events = of(c.events(), "ratings.dat", "::", ratings...)
	case has("ratings.csv", "movies.csv"):
		s.layout, s.movieLens = "MovieLens 20M, 25M or 32M", sub
		s.items, s.events = of(c.items(), "movies.csv", ""), of(c.events(), "ratings.csv", "")
	case has("items.tsv", "train.tsv", "validation.tsv", "test.tsv"):
		s.layout, s.rawTitles = "sequences in three parts", true
		s.items = of(c.items(), "items.tsv", "")
		for i, name := range []string{"train.tsv", "validation.tsv", "test.tsv"} {
			s.parts[i] = of([]column{{historyRole, "history", []string{"history"}, false}, {nextRole, "next", []string{"next"}, false}}, name, "")
		}
	default:
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), ".item")
			if !ok || s.layout != "" {
				continue
			}
			s.items = of(append(c.items(), column{yearRole, "year", []string{"release_year"}, true}), e.Name(), "")
			s.users = optional(of(c.users(), name+".user", ""))
			if has(name + ".inter") {
				s.layout, s.events = "RecBole's atomic files", of(c.events(), name+".inter", "")
			} else if has(name+".train.inter", name+".valid.inter", name+".test.inter") {
				s.layout, s.users = "RecBole's atomic files, split", nil
				for i, part := range []string{".train.inter", ".valid.inter", ".test.inter"} {
					s.splits[i] = of(c.splits(), name+part, "")
				}
			}
		}
		if s.layout == "" && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return knownNames[path.Ext(e.Name())] }) {
			return s, fmt.Errorf("dataset: %s has no known layout: u.data and u.item, ratings.dat and movies.dat, ratings.csv and "+
				"movies.csv, NAME.inter (or NAME.train.inter, NAME.valid.inter and NAME.test.inter) and NAME.item, or items.tsv, "+
				"train.tsv, validation.tsv and test.tsv; or name a file of events and one of titles", at)
		}
		if s.layout == "" {
			return source{}, nil
		}
	}
	return s, im.besideUsers(&s)
}

// knownNames are endings of files by which layouts are recognised: a folder with such files is not
// a folder of parts.
var knownNames = map[string]bool{".data": true, ".dat": true, ".inter": true, ".item": true, ".base": true}

// splits are the columns of events that are already split; times may be absent, and histories may
// be present.
func (c Columns) splits() []column {
	columns := append(c.events(), column{historyRole, "history", []string{"item_id_list"}, true},
		column{nextRole, "next", usual[itemRole], false})
	for i := range columns {
		columns[i].optional = columns[i].optional || columns[i].role == timeRole && c.Time == ""
	}
	return columns
}
