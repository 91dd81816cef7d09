package service

import "github.com/recinterpreter/recinterpreter/core/dataset"

// index looks items up.
type index struct {
	items     []dataset.Item
	byID      map[string]int32
	catalogue *dataset.Catalogue
}

func newIndex(d *dataset.Dataset) index {
	x := index{items: d.Items, byID: make(map[string]int32, len(d.Items)), catalogue: d.Catalogue()}
	for i, item := range d.Items {
		x.byID[item.ID] = int32(i)
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

// Search returns up to n items by words of their titles (see dataset.Catalogue).
func (s *Service) Search(query string, n int) (items []int32, similar bool) {
	return s.search.catalogue.Search(query, n)
}
