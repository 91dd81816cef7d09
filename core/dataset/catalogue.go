package dataset

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Catalogue looks items up by title. It is built once from a data set, is immutable, and is safe
// for concurrent use.
type Catalogue struct {
	titles []string         // clean titles, by item
	ids    []int32          // title id of each item: the first item with the same clean title
	raw    map[string]int32 // folded raw title → item
	clean  map[string]int32 // folded clean title → first item
	commas int              // the largest number of commas in any title
}

// Catalogue indexes the titles of the data set.
func (d *Dataset) Catalogue() *Catalogue {
	c := &Catalogue{raw: map[string]int32{}, clean: map[string]int32{}}
	for i, item := range d.Items {
		first := func(index map[string]int32, title string) int32 {
			key := fold(title)
			if _, ok := index[key]; !ok {
				index[key] = int32(i)
			}
			return index[key]
		}
		first(c.raw, item.RawTitle)
		c.titles = append(c.titles, item.Title)
		c.ids = append(c.ids, first(c.clean, item.Title))
		c.commas = max(c.commas, strings.Count(item.RawTitle, ","), strings.Count(item.Title, ","))
	}
	return c
}

// TitleID returns the first item that has the same clean title, case ignored: items with one title
// share one id.
func (c *Catalogue) TitleID(item int32) int32 { return c.ids[item] }

// SameTitle reports whether two items have the same clean title and so count as one answer.
func (c *Catalogue) SameTitle(a, b int32) bool { return c.ids[a] == c.ids[b] }

// Lookup finds an item by its raw title, its clean title, or any form that CleanTitle turns into it
// ("Matrix, The"). Case and whitespace do not matter. Of several items with one clean title the
// first is returned; the raw title, with the year, tells them apart.
func (c *Catalogue) Lookup(title string) (item int32, ok bool) {
	key := fold(title)
	if key == "" {
		return 0, false
	}
	if item, ok = c.raw[key]; ok {
		return item, true
	}
	if item, ok = c.clean[key]; ok {
		return item, true
	}
	item, ok = c.clean[fold(CleanTitle(title))]
	return item, ok
}

// Nearest returns up to n different clean titles, the most similar first: by edit distance, where a
// title that contains the query counts as one edit away. Equally near titles come in catalogue
// order.
func (c *Catalogue) Nearest(title string, n int) []string {
	query := fold(CleanTitle(title))
	type candidate struct {
		title    string
		distance int
	}
	var all []candidate
	for i, t := range c.titles {
		if c.ids[i] != int32(i) {
			continue
		}
		key := fold(t)
		distance := levenshtein.ComputeDistance(query, key)
		if len(query) >= 3 && strings.Contains(key, query) {
			distance = min(distance, 1)
		}
		all = append(all, candidate{t, distance})
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var nearest []string
	for _, c := range all[:min(max(n, 0), len(all))] {
		nearest = append(nearest, c.title)
	}
	return nearest
}

// UnknownTitles is the error for a list that names items outside the catalogue.
type UnknownTitles struct {
	Unknown []UnknownTitle
}

// UnknownTitle is one piece of the list, with the titles nearest to it.
type UnknownTitle struct {
	Title   string
	Nearest []string
}

// Error names every unknown piece and the titles that may have been meant.
func (e *UnknownTitles) Error() string {
	var parts []string
	for _, u := range e.Unknown {
		part := fmt.Sprintf("unknown title %q", u.Title)
		for i, title := range u.Nearest {
			part += fmt.Sprintf([]string{" (did you mean %q", ", %q"}[min(i, 1)], title)
		}
		if len(u.Nearest) > 0 {
			part += "?)"
		}
		parts = append(parts, part)
	}
	return "dataset: " + strings.Join(parts, "; ")
}

// ParseHistory reads a list of titles separated by commas, oldest first. Titles may hold commas
// themselves: at each place the longest run of pieces that is a title wins, so "Good, The Bad and
// The Ugly, The, Fargo" is two films. Empty pieces are skipped. Unknown pieces give an
// *UnknownTitles error.
func (c *Catalogue) ParseHistory(list string) ([]int32, error) {
	const suggestions = 3
	pieces := strings.Split(list, ",")
	var history []int32
	var unknown []UnknownTitle
	for i := 0; i < len(pieces); {
		used := 0
		for n := min(c.commas+1, len(pieces)-i); n > 0 && used == 0; n-- {
			if item, ok := c.Lookup(strings.Join(pieces[i:i+n], ",")); ok {
				history = append(history, item)
				used = n
			}
		}
		if piece := collapse(pieces[i]); used == 0 && piece != "" {
			unknown = append(unknown, UnknownTitle{piece, c.Nearest(piece, suggestions)})
		}
		i += max(used, 1)
	}
	if len(unknown) > 0 {
		return nil, &UnknownTitles{unknown}
	}
	if len(history) == 0 {
		return nil, fmt.Errorf("dataset: the history is empty; name at least one title")
	}
	return history, nil
}
