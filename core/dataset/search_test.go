package dataset

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/agnivade/levenshtein"
)

// made gives n titles of random words, a few of which are frequent.
func made(n int) *Dataset {
	random, d := rand.New(rand.NewPCG(1, 1)), &Dataset{Name: "made"}
	syllables := []string{"ka", "ro", "mi", "the", "an", "ter", "los", "ven", "é", "st", "or", "din", "ul", "qua", "bre", "xi"}
	word := func() string {
		text, size := "", 1+random.IntN(4)
		for range size {
			text += syllables[int(float64(len(syllables))*random.Float64()*random.Float64())]
		}
		return strings.ToUpper(text[:1]) + text[1:]
	}
	for i := range n {
		words := make([]string, 1+random.IntN(5))
		for k := range words {
			words[k] = word()
		}
		raw := fmt.Sprintf("%s, The (%d)", strings.Join(words, " "), 1950+random.IntN(70))
		if i%3 == 0 {
			raw = strings.Join(words, " ")
		}
		d.Items = append(d.Items, Item{ID: fmt.Sprint(i), Title: PlainText(CleanTitle(raw)), RawTitle: PlainText(raw)})
	}
	return d
}

// scan finds what Search finds, by reading all titles.
func scan(d *Dataset, query string, n int) (items []int32) {
	var all []hit
	for i, item := range d.Items {
		at := 0
		for _, word := range strings.Fields(strings.ToLower(query)) {
			place := strings.Index(strings.ToLower(item.RawTitle+" "+item.Title), word)
			if place < 0 {
				at = -1
				break
			}
			at += place
		}
		if at >= 0 {
			all = append(all, hit{int32(i), at})
		}
	}
	slices.SortStableFunc(all, func(a, b hit) int { return cmp.Compare(a.distance, b.distance) })
	for _, h := range all[:min(n, len(all))] {
		items = append(items, h.item)
	}
	return items
}

func TestSearch_likeAScan(t *testing.T) {
	d := made(3000)
	c, found := d.Catalogue(), 0
	for _, query := range []string{"", "the", "an", "e", "é", "kaka the", "the kaka", "rost", "195", "(1960)", "x", ",", "mi ro ka", "THE  AN", "quaqua", "nothing of it"} {
		for _, n := range []int{1, 7, 100} {
			want := scan(d, query, n)
			got, similar := c.Search(query, n)
			if similar != (len(want) == 0) || !similar && !slices.Equal(got, want) {
				t.Errorf("%q, %d items: %v, similar: %v; want %v", query, n, got, similar, want)
			}
			found += len(want)
		}
	}
	if found == 0 {
		t.Error("no query finds anything")
	}
	if items, similar := c.Search("the", 0); items != nil || similar {
		t.Errorf("no items are asked for: %v, similar: %v", items, similar)
	}
}

func TestNearest_likeAScan(t *testing.T) {
	d := made(2000)
	c := d.Catalogue()
	for _, query := range []string{"", "Kaka", "kak", d.Items[17].Title + "x", "x" + d.Items[40].Title[1:], "an", "something else", "Rostér Thémi"} {
		for _, n := range []int{1, 5, 2000} {
			var all []hit
			for i, item := range d.Items {
				if c.TitleID(int32(i)) != int32(i) {
					continue
				}
				short, title := fold(CleanTitle(query)), fold(item.Title)
				h := hit{int32(i), levenshtein.ComputeDistance(short, title)}
				if len(short) >= 3 && strings.Contains(title, short) {
					h.distance = min(h.distance, 1)
				}
				all = append(all, h)
			}
			slices.SortStableFunc(all, func(a, b hit) int { return cmp.Compare(a.distance, b.distance) })
			var want []string
			for _, h := range all {
				want = append(want, d.Items[h.item].Title)
			}
			n = min(n, len(all))
			got := c.Nearest(query, n)
			if n == 1 && got[0] != want[0] || n == len(all) && !slices.Equal(got, want) || len(got) != n {
				t.Errorf("%q, %d titles: %q, want %q", query, n, got, want)
			}
			at := -1 // among all
			for _, title := range got {
				next := slices.Index(want, title)
				if next <= at {
					t.Errorf("%q: %q are in another order than %q", query, got, want)
				}
				at = next
			}
		}
	}
}

// A misspelt title may stand as catalogues write it, its article behind it and the year at its end.
func TestSearch_misspeltWithArticle(t *testing.T) {
	d := &Dataset{Items: []Item{{Title: "Metro"}, {Title: "The Matrix"}, {Title: "Matilda"}}}
	items, similar := d.Catalogue().Search("Matrxi, The (1999)", 1)
	if !similar || len(items) != 1 || items[0] != 1 {
		t.Errorf("items %d, similar %t; want The Matrix, as a similar title", items, similar)
	}
}
