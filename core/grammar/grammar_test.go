package grammar

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

var hard = []string{"It", "Se7en", "Misérables, Les", "2001: A Space Odyssey", "M*A*S*H", "Heat", "Heat", "Heaters", "It (1990)",
	"Good, The Bad and The Ugly, The"}

// walk follows tokens from the start, and says whether they are a whole answer.
func walk(t *testing.T, g *Grammar, tokens []int32) bool {
	t.Helper()
	at := g.Start()
	for i, token := range tokens {
		steps := g.Next(at)
		n := slices.IndexFunc(steps, func(s Step) bool { return s.Token == token })
		if n < 0 {
			return false
		}
		if steps[n].Ends {
			return i == len(tokens)-1
		}
		at = steps[n].To
	}
	return false
}

func answer(t *testing.T, v prompt.Vocabulary, titles ...string) []int32 {
	t.Helper()
	tokens, err := prompt.Tokens(v, strings.Join(titles, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestTitles_one(t *testing.T) {
	v := testllm.GGUF(t)
	g, err := Titles(v, hard, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, title := range hard {
		if !walk(t, g, answer(t, v, title)) {
			t.Errorf("%q is not allowed", title)
		}
	}
	for _, other := range []string{"", "I", "Its", "Hea", "M*A*S", "It\nHeat", "it", " It", "M.A.S.H"} {
		if walk(t, g, answer(t, v, other)) {
			t.Errorf("%q is allowed", other)
		}
	}
}

// Every list of up to three titles is allowed, no longer one is, and a random walk always ends in
// such a list.
func TestTitles_lists(t *testing.T) {
	v := testllm.GGUF(t)
	g, err := Titles(v, hard, 3)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	longest := 0 // three times the longest title: each with a line break or the end after it
	for _, title := range hard {
		longest = max(longest, 3*len(answer(t, v, title)))
	}
	for n := 1; n <= 4; n++ {
		for range 20 {
			list := make([]string, n)
			for i := range list {
				list[i] = hard[random.IntN(len(hard))]
			}
			if allowed := walk(t, g, answer(t, v, list...)); allowed != (n <= 3) {
				t.Errorf("%q: allowed is %t", list, allowed)
			}
		}
	}
	for range 200 {
		var tokens []int32
		at := g.Start()
		for {
			steps := g.Next(at)
			step := steps[random.IntN(len(steps))]
			if len(tokens)+1 > longest {
				t.Fatalf("a walk of more than %d tokens", longest)
			}
			if step.Ends {
				break
			}
			tokens, at = append(tokens, step.Token), step.To
		}
		text, err := v.Detokenize(tokens, false)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(text), "\n")
		for _, line := range lines {
			if !slices.Contains(hard, line) {
				t.Errorf("%q ends in %q, which is no title", text, line)
			}
		}
		if len(lines) > 3 {
			t.Errorf("%d lines", len(lines))
		}
	}
}

// However many parts of the titles are sorted side by side, the tree is the same.
func TestTitles_parts(t *testing.T) {
	v := testllm.GGUF(t)
	around, err := newNeighbours(v)
	if err != nil {
		t.Fatal(err)
	}
	r := reader{v, true, around}
	want, err := r.sorted(hard, 1)
	if err != nil || len(want) != 4*len(hard) || !slices.IsSortedFunc(want, slices.Compare) {
		t.Fatalf("%d paths of %d titles: %v, error %v", len(want), len(hard), want, err)
	}
	for parts := 2; parts < 2*len(hard); parts++ {
		if got, err := r.sorted(hard, parts); err != nil || !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%d parts: %v, error %v; want %v", parts, got, err, want)
		}
	}
	for parts := range 4 {
		if _, err := r.sorted([]string{"It", "Heat", ""}, parts); err == nil {
			t.Errorf("%d parts: an empty title is taken", parts)
		}
	}
}

func TestTitles_refusals(t *testing.T) {
	v := testllm.GGUF(t)
	for name, c := range map[string]struct {
		titles []string
		lines  int
		want   string
	}{
		"no titles": {nil, 1, "0 titles"},
		"empty":     {[]string{"It", ""}, 1, "empty"},
		"no lines":  {hard, 0, "at most 0 lines"},
	} {
		if _, err := Titles(v, c.titles, c.lines); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// joining is a vocabulary of bytes in which "!" and a line break after it are one token, as in
// Llama 3's.
type joining struct{ prompt.Vocabulary }

const joined = 300

func (j joining) Tokenize(text string, special bool) ([]int32, error) {
	var tokens []int32
	for i, part := range strings.Split(text, "!\n") {
		if i > 0 {
			tokens = append(tokens, joined)
		}
		more, err := j.Vocabulary.Tokenize(part, special)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, more...)
	}
	return tokens, nil
}

func TestTitles_joinedLineBreaks(t *testing.T) {
	v := joining{testllm.GGUF(t)}
	films := []string{"Airplane!", "Heat", "Airplane"}
	g, err := Titles(v, films, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]string{{"Airplane!"}, {"Airplane!", "Heat"}, {"Heat", "Airplane!", "Airplane!"}, {"Airplane", "Airplane!", "Heat"}} {
		if !walk(t, g, answer(t, v, list...)) {
			t.Errorf("%q is not allowed", list)
		}
	}
	for _, list := range [][]string{{"Heat!", "Heat"}, {"Airplane!", "Heat", "Heat", "Heat"}, {"Airplane!", ""}} {
		if walk(t, g, answer(t, v, list...)) {
			t.Errorf("%q is allowed", list)
		}
	}
}

// A title that is one token with its line break cannot begin the last line that way.
func TestTitles_joinedToTheLast(t *testing.T) {
	v := joining{testllm.GGUF(t)}
	g, err := Titles(v, []string{"!", "Heat"}, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]string{{"!"}, {"Heat", "!"}, {"!", "!"}} {
		if !walk(t, g, answer(t, v, list...)) {
			t.Errorf("%q is not allowed", list)
		}
	}
	at := g.Start()
	for _, token := range "Heat\n" {
		steps := g.Next(at)
		at = steps[slices.IndexFunc(steps, func(s Step) bool { return s.Token == token })].To
	}
	for _, step := range g.Next(at) {
		if len(g.Next(step.To)) == 0 {
			t.Errorf("nothing follows token %d", step.Token)
		}
	}
}
