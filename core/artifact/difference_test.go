package artifact

import "testing"

func TestDifference(t *testing.T) {
	type inner struct {
		Rate  float64        `json:"rate"`
		Sizes []int          `json:"sizes,omitempty"`
		Names map[string]int `json:"names,omitempty"`
	}
	type config struct {
		Seed     uint64  `json:"seed"`
		Patience int     `json:"patience,omitempty"`
		Inner    inner   `json:"inner"`
		Far      *inner  `json:"far"`
		List     []inner `json:"list"`
		hidden   int
	}
	was := func() config {
		return config{Seed: 1, Inner: inner{Rate: 0.5, Sizes: []int{1, 2}, Names: map[string]int{"a": 1}},
			Far: &inner{Rate: 2}, List: []inner{{Rate: 3}}}
	}
	for want, change := range map[string]func(c *config){
		"":                                              func(c *config) { c.hidden, c.Inner.Names = 1, map[string]int{"a": 1} },
		"seed was 1, is 18446744073709551615":           func(c *config) { c.Seed = 1<<64 - 1 },
		"patience was not set, is 3":                    func(c *config) { c.Patience = 3 },
		"inner.sizes was [1,2], is [1,3]":               func(c *config) { c.Inner.Sizes[1] = 3 },
		"inner.sizes was [1,2], is not set":             func(c *config) { c.Inner.Sizes = []int{} },
		"inner.names.a was 1, is 2":                     func(c *config) { c.Inner.Names["a"] = 2 },
		"inner.names.b was not set, is 0":               func(c *config) { c.Inner.Names["b"] = 0 },
		"far.rate was 2, is 4":                          func(c *config) { c.Far.Rate = 4 },
		`far was {"rate":2}, is null`:                   func(c *config) { c.Far = nil },
		`list was [{"rate":3}], is []`:                  func(c *config) { c.List = []inner{} },
		"inner.rate was 0.5, is 0.25; seed was 1, is 2": func(c *config) { c.Seed, c.Inner.Rate = 2, 0.25 },
	} {
		is := was()
		change(&is)
		if got := Difference(was(), is); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	empty := was()
	empty.Inner.Sizes, empty.Inner.Names = nil, map[string]int{}
	none := empty
	none.Inner.Sizes, none.Inner.Names = []int{}, nil
	if got := Difference(empty, none); got != "" {
		t.Errorf("empty and absent lists: %q", got)
	}
}
