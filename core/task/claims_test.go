package task

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// shelf is a data set of four films with genres and years, of two users with an age.
func shelf() *Facts {
	d := &dataset.Dataset{
		Users: []string{"1", "2"},
		Items: []dataset.Item{{ID: "a", Title: "A"}, {ID: "b", Title: "B"}, {ID: "c", Title: "C"}, {ID: "d", Title: "D"}},
		ItemAttributes: dataset.Attributes{Names: []string{"year", "genres"}, Values: [][]string{
			{"1994", "Comedy|Drama"}, {"1999", "Drama"}, {"2001", "Drama|War"}, {"", ""}}},
		UserAttributes: dataset.Attributes{Names: []string{"age", "job"}, Values: [][]string{{"24", "cook"}, {"x", ""}}},
	}
	split := dataset.Split{Train: []dataset.Sequence{{Next: 2}, {Next: 2}, {Next: 2}, {Next: 0}, {Next: 0}, {Next: 1}}}
	return NewFacts(d, split)
}

func TestClaims_questions(t *testing.T) {
	f := shelf()
	ask := func(name string, f *Facts, user int32, history ...int32) string {
		t.Helper()
		p, err := Prompt(name)
		if err != nil {
			t.Fatal(err)
		}
		task, err := Of(p)
		if err != nil {
			t.Fatal(err)
		}
		q := task.Ask(Subject{Facts: f, User: user, History: history, Positions: 3})
		lines, most := task.Allowed(f, 3)
		for _, line := range q.Answer {
			if !slices.Contains(lines, line) {
				t.Errorf("%s: %q is not among the lines that are allowed, %q", name, line, lines)
			}
		}
		if len(q.Answer) > most {
			t.Errorf("%s: %d lines, at most %d are allowed", name, len(q.Answer), most)
		}
		return q.Text()
	}
	hidden := f.Without(map[int32]bool{2: true})
	for _, c := range []struct{ what, got, want string }{
		{"genres", ask("genres", f, 0, 1, 0), "Comedy\nDrama"},
		{"unknown genres", ask("genres", f, 0, 1, 3), ""},
		{"decade", ask("decade", f, 0, 2, 1), "1990s"},
		{"popularity", ask("popularity", f, 0, 1, 2), "most popular quarter"},
		{"rare", ask("popularity", f, 0, 1, 3), "least popular quarter"},
		{"any item column", ask("item:year", f, 0, 2), "2001"},
		{"any user column", ask("user:job", f, 0, 2), "cook"},
		{"nobody's job", ask("user:job", f, -1, 2), ""},
		{"age group", ask("age-group", f, 0, 2), "18 to 24"},
		{"unknown age", ask("age-group", f, 1, 2), ""},
		{"main genres", ask("main-genres", f, 0, 0, 1, 2), "Drama"},
		{"main genres of the memory", ask("main-genres", f, 0, 2, 2, 0, 3, 3), ""},
		{"main genres but of what is hidden", ask("main-genres", hidden, 0, 1, 2, 2), ""},
		{"the item with the lower number came last", ask("compare-last", f, 0, 0, 2, 1), "the first"},
		{"the item with the higher number came last", ask("compare-last", f, 0, 1, 2), "the second"},
		{"one of two is hidden", ask("compare-last", hidden, 0, 1, 2), ""},
		{"twice the same", ask("compare-last", f, 0, 1, 1), ""},
		{"halves share no main genre", ask("compare-shared", f, 0, 0, 1, 2), "nothing"},
		{"nothing is known of a half", ask("compare-shared", f, 0, 3, 1, 2), ""},
		{"a half is hidden", ask("compare-shared", hidden, 0, 2, 1, 1), ""},
		{"profile", ask("profile", f, 0, 0, 1, 2), "Recently chosen: C\nRecently chosen: B\nMain genre: Drama\nMain decade: 1990s"},
		{"profile but of what is hidden", ask("profile", hidden, 0, 0, 1, 2),
			"Recently chosen: B\nRecently chosen: A\nMain genre: Drama\nMain decade: 1990s"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
}

// By hand: of 5 true claims 3 are made among 5 lines; Drama is named in 2 of 3 samples, Comedy in 1
// of 1 and War in none.
func TestClaims_counts(t *testing.T) {
	task := claims("genres", "the genres", "{after}:")
	known := evaluate.NewTitles([]string{"Drama", "Comedy", "War"})
	a := &evaluate.Answers{Header: evaluate.Header{Conditions: []string{evaluate.TrueState}}}
	for i, c := range []struct{ truth, said string }{
		{"Comedy Drama", "drama\nComedy"}, {"Drama", "Drama\nWar"}, {"Drama War", "western"},
	} {
		truth := strings.Fields(c.truth)
		a.Records = append(a.Records, evaluate.Record{Condition: evaluate.TrueState, Titles: truth, Answer: c.said,
			Hits: task.Score(c.said, truth, known), HeldOut: i == 2})
	}
	c := countClaims("own", a.Records)
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-12 }
	if c.Exact.Hits != 1 || c.Allowed.Hits != 2 || !near(c.Precision, 3./5) || !near(c.Recall, 3./5) || !near(c.F1, 6./10) ||
		!near(c.Balanced, (2./3+1+0)/3) {
		t.Errorf("%+v", c)
	}
	if seen, held := a.Parts(); seen.N() != 2 || held.N() != 1 {
		t.Errorf("%d and %d", seen.N(), held.N())
	}
	// The three true answers are equally frequent; the first by name is "Comedy, Drama".
	if c := constant(a.Records); c.Name != "Comedy, Drama" || c.Exact.Hits != 1 || !near(c.F1, 2*4./(6+5)) {
		t.Errorf("constant: %+v", c)
	}
}

// Each half has Drama twice, and the second one has War once.
func TestCompareShared(t *testing.T) {
	p, err := Prompt("compare-shared")
	if err != nil {
		t.Fatal(err)
	}
	task, err := Of(p)
	if err != nil {
		t.Fatal(err)
	}
	if q := task.Ask(Subject{Facts: shelf(), History: []int32{3, 0, 1, 1, 2}, Positions: 4}); q.Text() != "Drama" || len(q.History) != 4 {
		t.Errorf("%+v", q)
	}
}
