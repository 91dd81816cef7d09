package dataset

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// Raw titles from MovieLens-100K's u.item; the clean ones by hand after the rules in CleanTitle's
// comment.
func TestCleanTitle(t *testing.T) {
	for raw, want := range map[string]string{
		"Toy Story (1995)":                                              "Toy Story",
		"Matrix, The":                                                   "The Matrix",
		"Good, The Bad and The Ugly, The (1966)":                        "The Good, The Bad and The Ugly",
		"20,000 Leagues Under the Sea (1954)":                           "20,000 Leagues Under the Sea",
		"Enfer, L' (1994)":                                              "L'Enfer",
		"Tin Drum, The (Blechtrommel, Die) (1979)":                      "The Tin Drum",
		"Vie est belle, La (Life is Rosey) (1987)":                      "La Vie est belle",
		"Seven (Se7en) (1995)":                                          "Seven",
		"Land Before Time III: The Time of the Great Giving (1995) (V)": "Land Before Time III: The Time of the Great Giving",
		"Paris, Texas (1984)":                                           "Paris, Texas",
		"Truth or Consequences, N.M. (1997)":                            "Truth or Consequences, N.M.",
		"2001: A Space Odyssey (1968)":                                  "2001: A Space Odyssey",
		"  Two \t spaces  (1999) ":                                      "Two spaces",
		"(1999)":                                                        "(1999)",
		"unknown":                                                       "unknown",
		"":                                                              "",
	} {
		if got := CleanTitle(raw); got != want {
			t.Errorf("%q → %q, want %q", raw, got, want)
		}
	}
}

func catalogue(raw ...string) *Catalogue {
	d := &Dataset{}
	for _, title := range raw {
		d.Items = append(d.Items, Item{Title: CleanTitle(title), RawTitle: title})
	}
	return d.Catalogue()
}

func TestLookup(t *testing.T) {
	c := catalogue("Toy Story (1995)", "Sabrina (1995)", "Sabrina (1954)", "Godfather, The (1972)")
	for title, want := range map[string]int32{
		"toy  story": 0, "Sabrina": 1, "sabrina (1954)": 2, "The Godfather": 3, "Godfather, The": 3, "GODFATHER, The (1972)": 3,
	} {
		if got, ok := c.Lookup(title); !ok || got != want {
			t.Errorf("%q: %d, %v, want %d", title, got, ok, want)
		}
	}
	if _, ok := c.Lookup(" "); ok {
		t.Error("an empty title was found")
	}
	if !c.SameTitle(1, 2) || c.SameTitle(0, 1) || c.TitleID(2) != 1 {
		t.Error("titles are not told apart")
	}
	if got := c.Nearest("Toy Stori", 1); !reflect.DeepEqual(got, []string{"Toy Story"}) {
		t.Errorf("nearest %q", got)
	}
	if got := c.Nearest("Sabrin", 9); len(got) != 3 || got[0] != "Sabrina" {
		t.Errorf("nearest %q, want three different titles", got)
	}
}

func TestParseHistory(t *testing.T) {
	c := catalogue("Toy Story (1995)", "Good, The Bad and The Ugly, The (1966)", "20,000 Leagues Under the Sea (1954)", "Fargo (1996)",
		"Good")
	got, err := c.ParseHistory("fargo, Good, The Bad and The Ugly, The,, 20,000 leagues under the sea,Toy Story, good, ")
	if want := []int32{3, 1, 2, 0, 4}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	_, err = c.ParseHistory("Fargo, Toy Stori, Nothing Like It")
	unknown := (*UnknownTitles)(nil)
	if !errors.As(err, &unknown) || len(unknown.Unknown) != 2 || unknown.Unknown[0].Nearest[0] != "Toy Story" ||
		!strings.Contains(err.Error(), `unknown title "Toy Stori" (did you mean "Toy Story"`) {
		t.Errorf("got %v", err)
	}
	if _, err := c.ParseHistory(" ,"); err == nil {
		t.Error("an empty history was taken")
	}
}

func FuzzParseHistory(f *testing.F) {
	c := catalogue("Good, The Bad and The Ugly, The (1966)", "Fargo (1996)")
	f.Add("Fargo, Good, The Bad and The Ugly, The")
	f.Fuzz(func(t *testing.T, list string) {
		history, err := c.ParseHistory(list)
		if (err == nil) != (len(history) > 0) {
			t.Fatalf("%v, %v", history, err)
		}
	})
}
