package importer

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// movieLensLicence sums up the terms of use in the archives' README.
const movieLensLicence = "GroupLens terms of use for MovieLens: research use with acknowledgement (F. M. Harper and " +
	"J. A. Konstan, 2015, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 19:1-19:19); no redistribution and no " +
	"commercial use without permission"

// archives are GroupLens's, by the numbers of films and ratings in them.
var archives = map[[2]int]string{
	{1682, 100_000}: "100K", {3883, 1_000_209}: "1M", {10_681, 10_000_054}: "10M", {27_278, 20_000_263}: "20M",
	{62_423, 25_000_095}: "25M", {87_585, 32_000_204}: "32M", {9742, 100_836}: "latest-small",
}

// genres100K are the genres of MovieLens 100K in the order of its u.item.
var genres100K = strings.Split("unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|Film-Noir|Horror|"+
	"Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western", "|")

var yearAtEnd = regexp.MustCompile(`\((\d{4})\)$`)

// recognise distinguishes GroupLens's own archives from other data in their layouts, by their
// README or their numbers: only the former get GroupLens's name and licence.
func (im *importer) recognise(s source) {
	if s.tidy != nil {
		s.tidy(im.d)
	}
	if s.movieLens == nil {
		return
	}
	name, known := archives[[2]int{im.report.Items.Rows, im.report.Rows}]
	switch {
	case known:
		im.report.Layout = "MovieLens " + name + ", official archive"
	case im.official || readmeOfGroupLens(s.movieLens):
		im.report.Layout = s.layout + ", official archive"
	default:
		im.report.Layout = "files in the layout of " + s.layout
		return
	}
	im.d.Licence = movieLensLicence
}

// readmeOfGroupLens reports whether a folder has the README of one of GroupLens's archives, which
// asks for a citation, as those of others may, and states terms of use.
func readmeOfGroupLens(folder fs.FS) bool {
	for _, name := range []string{"README", "README.txt", "README.html"} {
		text, err := fs.ReadFile(folder, name)
		words := strings.Join(strings.Fields(strings.ToLower(string(text))), " ")
		of := func(part string) bool { return strings.Contains(words, part) }
		theirs := of("university of minnesota") || of("usage license") || of("grouplens research")
		if err == nil && theirs && of("grouplens") && of("harper") && of("konstan") {
			return true
		}
	}
	return false
}

// tidyMovieLens100K makes two attributes, year and genres, of the columns of u.item, which has one
// for each genre.
func tidyMovieLens100K(d *dataset.Dataset) {
	a := d.ItemAttributes
	d.ItemAttributes = dataset.Attributes{Names: []string{"year", "genres"}}
	for i, item := range d.Items {
		year := ""
		if found := yearAtEnd.FindStringSubmatch(item.RawTitle); found != nil {
			year = found[1]
		}
		var genres []string
		for at, name := range a.Names {
			if a.Values[i][at] == "1" {
				genres = append(genres, name)
			}
		}
		d.ItemAttributes.Values = append(d.ItemAttributes.Values, []string{year, strings.Join(genres, "|")})
	}
}

// MovieLens100K reads MovieLens-100K from a folder (or a sub-folder of an archive) in either of its
// two forms: the official u.data and u.item (Latin-1), or RecBole's ml-100k.inter and ml-100k.item
// (UTF-8). Either way the dense item id is the official id − 1, all items are kept, including the
// one called "unknown", and the attributes are year and genres. A broken line gives a
// *dataset.FormatError.
func MovieLens100K(ctx context.Context, folder fs.FS) (*dataset.Dataset, error) {
	im := newImporter(ctx, Options{Name: "ml-100k", Strict: true})
	defer im.close()
	im.official = true
	s, err := im.locateFolder(folder, ".")
	if err == nil && s.layout == "" {
		err = fmt.Errorf("dataset: this is not MovieLens 100K: it has neither u.data and u.item nor ml-100k.inter and ml-100k.item")
	}
	if err == nil {
		err = im.run(s)
	}
	if err != nil {
		return nil, err
	}
	d := im.d
	for i, item := range d.Items {
		if item.ID != strconv.Itoa(i+1) {
			return nil, fmt.Errorf("dataset: this is not MovieLens 100K: item %d has the id %q; fetch the data again", i+1, item.ID)
		}
	}
	if at := slices.Index(d.ItemAttributes.Names, "class"); at >= 0 {
		d.ItemAttributes.Names[at] = "genres"
	}
	if at := slices.Index(d.ItemAttributes.Names, "release_year"); at >= 0 {
		d.ItemAttributes.Names[at] = "year"
		for _, values := range d.ItemAttributes.Values {
			if values[at] == misspelled {
				values[at] = ""
			}
		}
	}
	d.Licence = movieLensLicence
	return d, nil
}
