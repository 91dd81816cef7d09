package service

import (
	"cmp"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// index looks items up.
type index struct {
	items     []dataset.Item
	byID      map[string]int32
	folded    []string // raw titles in lower case
	catalogue *dataset.Catalogue
}

func newIndex(d *dataset.Dataset) index {
	x := index{items: d.Items, byID: make(map[string]int32, len(d.Items)), catalogue: d.Catalogue()}
	for i, item := range d.Items {
		x.byID[item.ID] = int32(i)
		x.folded = append(x.folded, strings.ToLower(item.RawTitle+" "+item.Title))
	}
	return x
}

// Item gives the dense id of an item by its id in the data set.
func (s *Service) Item(id string) (item int32, ok bool) {
	item, ok = s.search.byID[id]
	return item, ok
}

// Title looks a title up. Case, white space and the place of the article do not matter.
func (s *Service) Title(title string) (item int32, ok bool) { return s.search.catalogue.Lookup(title) }

// Describe gives ids and titles of an item, which must be one of the catalogue.
func (s *Service) Describe(item int32) dataset.Item { return s.search.items[item] }

// Search returns up to n items whose titles contain all words of the query, first those in which
// the words are near the front. If there are none, it returns those with the most similar titles,
// and similar is true. An empty query returns the first items of the catalogue.
func (s *Service) Search(query string, n int) (items []int32, similar bool) {
	words := strings.Fields(strings.ToLower(query))
	type found struct {
		item int32
		at   int
	}
	var all []found
	for i, title := range s.search.folded {
		at := 0
		for _, word := range words {
			place := strings.Index(title, word)
			if place < 0 {
				at = -1
				break
			}
			at += place
		}
		if at >= 0 {
			all = append(all, found{int32(i), at})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.at, b.at) })
	for _, f := range all[:min(max(n, 0), len(all))] {
		items = append(items, f.item)
	}
	if len(all) > 0 {
		return items, false
	}
	for _, title := range s.search.catalogue.Nearest(query, n) {
		if item, ok := s.search.catalogue.Lookup(title); ok {
			items = append(items, item)
		}
	}
	return items, true
}
