package task

// The beginnings of a profile's lines.
const (
	recently   = "Recently chosen: "
	likes      = "Main genre: "
	mostlyFrom = "Main decade: "
)

// The largest numbers of lines of each kind in a profile.
const (
	profileItems   = 2
	profileGenres  = 2
	profileDecades = 1
)

// profile asks for a short text of facts about the user of a history: a line for each of the last
// items, the main genres and the most frequent decades. Each line is a claim.
func profile() Task {
	t := claims("profile", "what this person chooses", "{state}:")
	t.Ask = func(s Subject) Question {
		history := s.History[max(0, len(s.History)-s.Positions):]
		var lines, genres, decades []string
		for i := len(history) - 1; i >= 0; i-- {
			item := history[i]
			if s.Hidden[item] {
				continue
			}
			if len(lines) < profileItems {
				lines = append(lines, recently+s.Data.Items[item].Title)
			}
			genres = append(genres, s.genres(item)...)
			decades = append(decades, s.decade(item)...)
		}
		lines = append(lines, prefixed(likes, frequent(genres, profileGenres))...)
		return Question{History: history, Answer: append(lines, prefixed(mostlyFrom, frequent(decades, profileDecades))...)}
	}
	t.Allowed = func(f *Facts, _ int) ([]string, int) {
		genres, _ := distinct(f.Data.ItemAttributes, f.genres)
		decades, _ := distinct(f.Data.ItemAttributes, f.decade)
		lines := append(prefixed(recently, catalogue(f.Data)), prefixed(likes, genres)...)
		return append(lines, prefixed(mostlyFrom, decades)...), profileItems + profileGenres + profileDecades
	}
	return t
}

func prefixed(prefix string, values []string) []string {
	lines := make([]string, len(values))
	for i, value := range values {
		lines[i] = prefix + value
	}
	return lines
}
