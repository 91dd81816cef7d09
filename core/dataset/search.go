package dataset

import (
	"cmp"
	"iter"
	"math"
	mathbits "math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// signatures are Bloom filters of texts: bits for their characters and for their pairs of
// characters. Bit b of all texts is together, so that a search reads only the bits of its query,
// and then only texts that have them all.
type signatures [64 + 256][]uint64

// bitsOf gives the bits of a text, some of them several times.
func bitsOf(text string) iter.Seq[int] {
	return func(yield func(int) bool) {
		before := rune(-1)
		for _, r := range text {
			if !yield(int(r % 64)) {
				return
			}
			if before >= 0 && !yield(64+int(uint32(before<<6^r)*0x9E3779B1>>24)) { // Fibonacci hashing
				return
			}
			before = r
		}
	}
}

// distinct gives the bits of texts, each once.
func distinct(texts ...string) (bits []int) {
	for _, text := range texts {
		bits = slices.AppendSeq(bits, bitsOf(text))
	}
	slices.Sort(bits)
	return slices.Compact(bits)
}

func newSignatures(texts []string) *signatures {
	s := &signatures{}
	for b := range s {
		s[b] = make([]uint64, (len(texts)+63)/64)
	}
	for i, text := range texts {
		for b := range bitsOf(text) {
			s[b][i/64] |= 1 << (i % 64)
		}
	}
	return s
}

// having gives the texts that have all bits, of which there must be one at least.
func (s *signatures) having(bits []int) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for w := range s[0] {
			all := ^uint64(0)
			for _, b := range bits {
				all &= s[b][w]
			}
			for ; all != 0; all &= all - 1 {
				if !yield(int32(64*w + mathbits.TrailingZeros64(all))) {
					return
				}
			}
		}
	}
}

// lacking counts the bits that each text lacks.
func (s *signatures) lacking(bits []int) []uint8 {
	counts := make([]uint8, 64*len(s[0]))
	for i := range counts {
		counts[i] = uint8(min(len(bits), math.MaxUint8))
	}
	for _, b := range bits[:min(len(bits), math.MaxUint8)] {
		for w, all := range s[b] {
			for ; all != 0; all &= all - 1 {
				counts[64*w+mathbits.TrailingZeros64(all)]--
			}
		}
	}
	return counts
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
	words := strings.Fields(fold(query))
	if len(words) == 0 {
		for item := range min(n, len(c.items)) {
			items = append(items, int32(item))
		}
		return items, false
	}
	var best []hit
	for item := range c.signatures.having(distinct(words...)) {
		if len(best) == n && best[n-1].distance == 0 {
			break // none is better
		}
		h := hit{item: item}
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
// order of the least edits that their signatures allow: each adds one character and two pairs.
func (c *Catalogue) nearest(title string, n int) (best []hit) {
	query := fold(CleanTitle(title))
	asked, length := distinct(query), utf8.RuneCountInString(query)
	lacking := c.signatures.lacking(asked)
	for bound := 0; bound <= length && n > 0; bound++ {
		if len(best) == n && best[0].distance < bound {
			break // all others are farther
		}
		for item, id := range c.ids {
			if (int(lacking[item])+2)/3 != bound || id != int32(item) {
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
