package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// movieLensLicence sums up the terms of use in the archive's README.
const movieLensLicence = "GroupLens terms of use for MovieLens 100K: research use with acknowledgement (F. M. Harper and " +
	"J. A. Konstan, 2015, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 19:1-19:19); no redistribution and no " +
	"commercial use without permission"

// ImportMovieLens100K reads MovieLens-100K from a folder (or a sub-folder of an archive) in either of its two forms:
// the official u.data and u.item (Latin-1), or RecBole's ml-100k.inter and ml-100k.item (UTF-8, title and year in
// columns of their own; the raw title is put together again). Either way the dense item id is the official id − 1, so
// item ids must run from 1 without a gap, and all items are kept, the one called "unknown" too. A broken line gives a
// *FormatError.
func ImportMovieLens100K(folder fs.FS) (*Dataset, error) {
	d := &Dataset{Name: "ml-100k", Licence: movieLensLicence}
	var items, events *table
	var rawTitle func(row) string
	switch {
	case exists(folder, "u.data") && exists(folder, "u.item"):
		d.Source = "MovieLens 100K, official archive"
		const flags = 24 // id, title, two dates, address, nineteen genres
		items = &table{file: "u.item", separator: "|", latin1: true, fields: flags, columns: []string{"movie id", "title"}}
		events = &table{file: "u.data", separator: "\t", fields: 4, columns: []string{
			"user_id", "item_id", "rating", "time"}}
		rawTitle = func(r row) string { return collapse(r.fields[1]) }
	case exists(folder, "ml-100k.inter") && exists(folder, "ml-100k.item"):
		d.Source = "MovieLens 100K, RecBole's atomic files"
		items = &table{file: "ml-100k.item", separator: "\t", header: true,
			columns: []string{"item_id", "movie_title", "release_year"}}
		events = &table{file: "ml-100k.inter", separator: "\t", header: true,
			columns: []string{"user_id", "item_id", "rating", "timestamp"}}
		rawTitle = recBoleTitle
	default:
		return nil, errors.New("dataset: no MovieLens-100K here: expected u.data and u.item, or ml-100k.inter and ml-100k.item")
	}
	if err := d.importItems(folder, items, rawTitle); err != nil {
		return nil, err
	}
	if err := d.importEvents(folder, events); err != nil {
		return nil, err
	}
	return d, nil
}

func exists(folder fs.FS, name string) bool {
	_, err := fs.Stat(folder, name)
	return err == nil
}

// recBoleTitle undoes RecBole's separation of title and year. Its item 267, "unkonwn" there, is "unknown" in the
// original.
func recBoleTitle(r row) string {
	title, year := collapse(r.fields[1]), collapse(r.fields[2])
	if title == "unkonwn" && year == title {
		return "unknown"
	}
	if year == "" {
		return title
	}
	return fmt.Sprintf("%s (%s)", title, year)
}

// importItems places each item by its id, whatever the order of lines.
func (d *Dataset) importItems(folder fs.FS, t *table, rawTitle func(row) string) error {
	byID := map[int64]Item{}
	last := int64(0)
	err := t.open(folder, t.file, func(r row) error {
		id, err := r.integer(0)
		if err != nil {
			return err
		}
		if _, twice := byID[id]; twice || id < 1 {
			return r.errorf("fetch the data again", "%s %d occurs twice or is below 1", t.columns[0], id)
		}
		raw := rawTitle(r)
		if raw == "" {
			return r.errorf("fetch the data again", "item %d has no title", id)
		}
		byID[id] = Item{ID: r.fields[0], Title: CleanTitle(raw), RawTitle: raw}
		last = max(last, id)
		return nil
	})
	if err != nil {
		return err
	}
	if len(byID) == 0 || last != int64(len(byID)) {
		return &FormatError{t.file, 0, fmt.Sprintf("%d items with ids up to %d, expected ids from 1 without a gap", len(byID),
			last),
			"fetch the data again"}
	}
	d.Items = make([]Item, len(byID))
	for id, item := range byID {
		d.Items[id-1] = item
	}
	return nil
}

// importEvents reads events whose ids are numbers; columns are user, item, rating, time.
func (d *Dataset) importEvents(folder fs.FS, t *table) error {
	var raw []rawEvent
	err := t.open(folder, t.file, func(r row) error {
		user, err := r.integer(0)
		if err != nil {
			return err
		}
		item, err := r.integer(1)
		if err != nil {
			return err
		}
		if user < 1 || item < 1 || item > int64(len(d.Items)) {
			return r.errorf("fetch the data again", "user %d or item %d is unknown: ids start at 1, and there are %d items",
				user, item, len(d.Items))
		}
		rating, err := r.rating(2)
		if err != nil {
			return err
		}
		time, err := r.integer(3)
		if err != nil {
			return err
		}
		raw = append(raw, rawEvent{r.fields[0], Event{Item: int32(item - 1), Time: time, Rating: rating}})
		return nil
	})
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		return &FormatError{t.file, 0, "it has no events", "fetch the data again"}
	}
	d.setEvents(slices.Clip(raw))
	return nil
}
