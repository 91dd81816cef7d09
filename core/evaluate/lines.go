package evaluate

import "strings"

// Line is a line of an answer that lists titles.
type Line struct {
	Text  string `json:"text"`
	Right bool   `json:"right"` // it is one of the titles asked for, which no line before it has used up
}

// Lines judges the lines of an answer, empty ones left out, by the exact scorer.
func Lines(answer string, titles []string) []Line {
	left := map[string]int{}
	for _, title := range titles {
		left[Normalise(title)]++
	}
	lines := []Line{}
	for text := range strings.Lines(answer) {
		key := Normalise(text)
		if key == "" {
			continue
		}
		lines = append(lines, Line{strings.TrimSpace(text), left[key] > 0})
		left[key]--
	}
	return lines
}

// Named says which titles are named by a line of an answer, by the exact scorer. Of a title that is asked for twice and said
// once it is the first.
func Named(answer string, titles []string) []bool {
	said := map[string]int{}
	for text := range strings.Lines(answer) {
		said[Normalise(text)]++
	}
	named := make([]bool, len(titles))
	for i, title := range titles {
		key := Normalise(title)
		named[i] = said[key] > 0
		said[key]--
	}
	return named
}

// MostFrequent gives the true answer that most records share, its lines joined by line breaks; of several the first in the
// order of their texts.
func MostFrequent(records []Record) string {
	times, best := map[string]int{}, ""
	for _, r := range records {
		text := strings.Join(r.Titles, "\n")
		if times[text]++; times[text] > times[best] || times[text] == times[best] && text < best {
			best = text
		}
	}
	return best
}
