package task

import (
	"strconv"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// persons are tasks about the user of a history: its most frequent genres, an age group, and a
// gender.
func persons() []Task {
	users := func(f *Facts) dataset.Attributes { return f.Data.UserAttributes }
	tastes := person("main-genres", "the main genres of what this person chooses", mainGenres,
		func(f *Facts) dataset.Attributes { return f.Data.ItemAttributes })
	tastes.Allowed = func(f *Facts, _ int) ([]string, int) {
		genres, _ := distinct(f.Data.ItemAttributes, f.genres)
		return genres, mostMain
	}
	ages := person("age-group", "the age group of this person", func(f *Facts, user int32, _ []int32) []string {
		return ageGroup(valuesOf(f.Data.UserAttributes, user, "age"))
	}, users)
	gender := person("gender", "the gender of this person", func(f *Facts, user int32, _ []int32) []string {
		return valuesOf(f.Data.UserAttributes, user, "gender")
	}, users)
	return []Task{
		answering(tastes,
			"Comedy", "Drama\nRomance", "Action\nThriller\nSci-Fi", "Drama", "Comedy\nChildren's", "Action\nAdventure", "Drama\nThriller"),
		answering(ages, "25 to 34", "18 to 24", "45 to 54", "under 18", "35 to 44", "55 and over", "25 to 34"),
		answering(gender, "F", "M", "F", "F", "M", "M", "F"),
	}
}

// mostMain is the largest number of main genres of a history.
const mostMain = 3

// mainGenres returns the most frequent genres of a history.
func mainGenres(f *Facts, _ int32, history []int32) []string {
	var all []string
	for _, item := range history {
		if !f.Hidden[item] {
			all = append(all, f.genres(item)...)
		}
	}
	return frequent(all, mostMain)
}

// ageGroup is the group of an age in years.
func ageGroup(age []string) []string {
	if len(age) != 1 {
		return nil
	}
	years, err := strconv.Atoi(age[0])
	switch {
	case err != nil:
		return nil
	case years < 18:
		return []string{"under 18"}
	case years < 25:
		return []string{"18 to 24"}
	case years < 35:
		return []string{"25 to 34"}
	case years < 45:
		return []string{"35 to 44"}
	case years < 55:
		return []string{"45 to 54"}
	}
	return []string{"55 and over"}
}

// person asks for an attribute of a user or a history. of holds the rows whose values are allowed.
func person(name, what string, values func(*Facts, int32, []int32) []string, of func(*Facts) dataset.Attributes) Task {
	t := claims(name, what, "{state}:")
	t.Legible = true
	t.Ask = func(s Subject) Question {
		history := s.History[max(0, len(s.History)-s.Positions):]
		return Question{History: history, Answer: values(s.Facts, s.User, history)}
	}
	t.Allowed = func(f *Facts, _ int) ([]string, int) {
		return distinct(of(f), func(row int32) []string { return values(f, row, nil) })
	}
	return t
}
