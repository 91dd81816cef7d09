package task

import (
	"slices"
)

// The answers of comparisons other than values of a column.
const (
	theFirst  = "the first"
	theSecond = "the second"
	noGenre   = "nothing"
)

// comparisons are tasks that show states after several parts of a history: which of its last two
// items came last, and which main genres its two halves share.
func comparisons() []Task {
	last := claims("compare-last", "which of two choices came last", "{state}{one}{other}:")
	last.Ask = func(s Subject) Question {
		history := s.History[max(0, len(s.History)-s.Positions):]
		q := Question{History: history}
		if n := len(history); n >= 2 && history[n-2] != history[n-1] && !s.Hidden[history[n-2]] && !s.Hidden[history[n-1]] {
			q.Answer = []string{theSecond}
			if history[n-1] < history[n-2] {
				q.Answer = []string{theFirst}
			}
		}
		return q
	}
	last.Allowed = func(*Facts, int) ([]string, int) { return []string{theFirst, theSecond}, 1 }
	shared := claims("compare-shared", "the main genres that two lists of choices share", "{earlier}{later}:")
	shared.Ask = func(s Subject) Question {
		history := s.History[max(0, len(s.History)-s.Positions):]
		q := Question{History: history}
		earlier, later := history[:len(history)/2], history[len(history)/2:]
		known := func(item int32) bool { return !s.Hidden[item] && len(s.genres(item)) > 0 }
		if !slices.ContainsFunc(earlier, known) || !slices.ContainsFunc(later, known) {
			return q
		}
		others := mainGenres(s.Facts, -1, later)
		for _, genre := range mainGenres(s.Facts, -1, earlier) {
			if slices.Contains(others, genre) {
				q.Answer = append(q.Answer, genre)
			}
		}
		if len(q.Answer) == 0 {
			q.Answer = []string{noGenre}
		}
		return q
	}
	shared.Allowed = func(f *Facts, _ int) ([]string, int) {
		genres, _ := distinct(f.Data.ItemAttributes, f.genres)
		return append(genres, noGenre), mostMain
	}
	return []Task{last, shared}
}
