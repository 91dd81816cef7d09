package task

import (
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// itemColumn begins the name of a task about any column of items.
const itemColumn = "item:"

// attributes are tasks about the last item: its genres, the decade of its year, and how popular it
// is.
func attributes() []Task {
	quarters := []string{"most popular quarter", "second quarter", "third quarter", "least popular quarter"}
	popularity := attribute("popularity", "how popular the last choice is", func(f *Facts, item int32) []string {
		return []string{quarters[f.Quarters[item]-1]}
	})
	popularity.Allowed = func(*Facts, int) ([]string, int) { return quarters, 1 }
	return []Task{
		answering(attribute("genres", "the genres of the last choice", (*Facts).genres),
			"Comedy", "Drama\nRomance", "Action\nThriller", "Animation\nChildren's\nComedy", "Drama", "Action\nAdventure\nSci-Fi", "Comedy"),
		answering(attribute("decade", "the decade of the last choice", (*Facts).decade),
			"1950s", "1990s", "1970s", "1980s", "1940s", "1990s", "1960s"),
		answering(popularity, slices.Concat(quarters[2:], quarters)...),
	}
}

// answering gives a task whose answers are in one state examples: each is of two choices, for which
// answers stand, one after the other.
func answering(t Task, answers ...string) Task {
	for i := range answers[1:] {
		t.Prompts[0].Examples = append(t.Prompts[0].Examples, answers[i:i+2])
	}
	return t
}

// attribute asks for an attribute of the last item.
func attribute(name, what string, values func(*Facts, int32) []string) Task {
	t := claims(name, what, "{after}:")
	t.Last, t.Legible = true, true
	t.Ask = func(s Subject) Question {
		return Question{History: s.History, Answer: values(s.Facts, s.History[len(s.History)-1])}
	}
	t.Allowed = func(f *Facts, _ int) ([]string, int) {
		return distinct(f.Data.ItemAttributes, func(item int32) []string { return values(f, item) })
	}
	return t
}

// userColumn begins the name of a task about any column of users.
const userColumn = "user:"

// column makes the task about the column in its name, if there is one.
func column(name string) (Task, bool) {
	if of, ok := strings.CutPrefix(name, itemColumn); ok {
		return attribute(name, "the "+of+" of the last choice", func(f *Facts, item int32) []string {
			return valuesOf(f.Data.ItemAttributes, item, of)
		}), true
	}
	if of, ok := strings.CutPrefix(name, userColumn); ok {
		return person(name, "the "+of+" of this person", func(f *Facts, user int32, _ []int32) []string {
			return valuesOf(f.Data.UserAttributes, user, of)
		}, func(f *Facts) dataset.Attributes { return f.Data.UserAttributes }), true
	}
	return Task{}, false
}
