package dataset

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// sign is a signature of a text (a Bloom filter): bits for its characters and for its pairs of
// characters. Signatures of all titles are few bytes, so that a search reads only titles whose
// signature has the query's bits.
type sign struct{ characters, pairs uint64 }

func signOf(text string) (s sign) {
	before := rune(-1)
	for _, r := range text {
		s.characters |= 1 << (r % 64)
		if before >= 0 {
			s.pairs |= 1 << (uint32(before<<6^r) * 0x9E3779B1 >> 26) // Fibonacci hashing
		}
		before = r
	}
	return s
}

// edits is a lower bound of the edits that make any part of a text contain another one: each adds
// at most one character and two pairs.
func (s sign) edits(other sign) int {
	return max(bits.OnesCount64(other.characters&^s.characters), (bits.OnesCount64(other.pairs&^s.pairs)+1)/2)
}

// hit is an item found; those with smaller distances are better, among equals the first ones.
type hit struct {
	item     int32
	distance int
}

// keep adds a hit to the n best ones, if it is one of them.
func keep(best []hit, h hit, n int) []hit {
	at, _ := slices.BinarySearchFunc(best, h, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.item, b.item))
	})
	if at == n {
		return best
	}
	return slices.Insert(best[:min(len(best), n-1)], at, h)
}

// Search returns up to n items whose titles contain all words of the query, first those in which
// the words are near the front. If there are none, it returns those with the most similar titles,
// and similar is true. An empty query returns the first items of the catalogue.
func (c *Catalogue) Search(query string, n int) (items []int32, similar bool) {
	if n < 1 {
		return nil, false
	}
	query = fold(query)
	words, asked := strings.Fields(query), sign{}
	for _, word := range words {
		s := signOf(word)
		asked = sign{asked.characters | s.characters, asked.pairs | s.pairs}
	}
	var best []hit
	for item, s := range c.signs {
		if len(best) == n && best[n-1].distance == 0 {
			break // none is better
		}
		if s.edits(asked) > 0 {
			continue
		}
		h := hit{item: int32(item)}
		for _, word := range words {
			at := strings.Index(c.folded[item], word)
			if at < 0 {
				h.distance = -1
				break
			}
			h.distance += at
		}
		if h.distance >= 0 {
			best = keep(best, h, n)
		}
	}
	if similar = len(best) == 0; similar {
		best = c.nearest(query, n)
	}
	for _, h := range best {
		items = append(items, h.item)
	}
	return items, similar
}

// Nearest returns up to n different clean titles, the most similar first: by edit distance, where a
// title that contains the query counts as one edit away. Equally near titles come in catalogue
// order. No title is more similar than the first one; further ones are the most similar of those
// that had to be compared to know that.
func (c *Catalogue) Nearest(title string, n int) (titles []string) {
	for _, h := range c.nearest(title, n) {
		titles = append(titles, c.items[h.item].Title)
	}
	return titles
}

// nearest gives the first items of the titles that Nearest describes. It compares titles in the
// order of their signatures' bounds.
func (c *Catalogue) nearest(title string, n int) (best []hit) {
	query := fold(CleanTitle(title))
	asked, length := signOf(query), utf8.RuneCountInString(query)
	for bound := 0; bound <= length && n > 0; bound++ {
		if len(best) == n && best[0].distance < bound {
			break // all others are farther
		}
		for item, s := range c.signs {
			if s.edits(asked) != bound || c.ids[item] != int32(item) {
				continue
			}
			clean := c.folded[item][c.cuts[item]:]
			within := bound == 0 && len(query) >= 3 && strings.Contains(clean, query)
			if short := length - utf8.RuneCountInString(clean); !within && len(best) == n && max(short, -short) > best[n-1].distance {
				continue
			}
			distance := levenshtein.ComputeDistance(query, clean)
			if within {
				distance = min(distance, 1)
			}
			best = keep(best, hit{int32(item), distance}, n)
		}
	}
	return best
}
