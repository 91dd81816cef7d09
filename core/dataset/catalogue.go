package dataset

import (
	"fmt"
	"strings"
)

// LargeCatalogue is the number of items above which defaults avoid what takes time and memory in
// proportion to the catalogue: recommenders learn by a sampled softmax, and adapters that look
// items up are refused.
const LargeCatalogue = 20_000

// Catalogue looks items up by title and searches titles. It is built once from a data set, is
// immutable, and is safe for concurrent use.
type Catalogue struct {
	items  []Item
	folded []string         // of each item: the folded raw title, and after a space the clean one, if it differs
	cuts   []int32          // where the folded clean titles start in these
	ids    []int32          // title id of each item: the first item with the same clean title
	raw    map[string]int32 // folded raw title → first item
	clean  map[string]int32 // folded clean title → first item
	commas int              // the largest number of commas in any title

	signatures *signatures // of folded
}

// Catalogue indexes the titles of the data set.
func (d *Dataset) Catalogue() *Catalogue {
	n := len(d.Items)
	c := &Catalogue{items: d.Items, folded: make([]string, n), cuts: make([]int32, n),
		ids: make([]int32, n), raw: make(map[string]int32, n), clean: make(map[string]int32, n)}
	first := func(index map[string]int32, key string, item int) int32 {
		if _, ok := index[key]; !ok {
			index[key] = int32(item)
		}
		return index[key]
	}
	for i, item := range d.Items {
		raw, clean := fold(item.RawTitle), fold(item.Title)
		c.folded[i] = raw
		if clean != raw {
			c.folded[i], c.cuts[i] = raw+" "+clean, int32(len(raw)+1)
		}
		first(c.raw, c.folded[i][:len(raw)], i)
		c.ids[i] = first(c.clean, c.folded[i][c.cuts[i]:], i)
		c.commas = max(c.commas, strings.Count(item.RawTitle, ","), strings.Count(item.Title, ","))
	}
	c.signatures = newSignatures(c.folded)
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
