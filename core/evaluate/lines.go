package evaluate

import "strings"

// Line is a line of an answer that lists titles.
type Line struct {
	Text  string `json:"text"`
	Right bool   `json:"right"` // it is one of the titles asked for, and no earlier line named it
}

// Lines scores the lines of an answer with the exact scorer. Empty lines are omitted.
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

// Named reports which titles a line of an answer names, by the exact scorer. If a title is asked
// for twice and named once, the first of the two counts.
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

// MostFrequent gives the most frequent true answer of the records, its lines joined by line breaks;
// among equals the first by text.
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
