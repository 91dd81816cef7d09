package prompt

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// joins is a vocabulary of bytes in which "!" and a line break after it are one token, and which
// begins every text with another one, if that is not 0. It counts its calls. Two kinds of letters
// have tokens of their own: those after line breaks, and the first one of a text of several lines.
type joins struct {
	letters
	begins              int32
	afterBreak, ofLists bool
	calls               *int
}

func (v joins) Tokenize(text string, _ bool) (tokens []int32, err error) {
	*v.calls++
	if v.begins > 0 {
		tokens = append(tokens, v.begins)
	}
	if strings.Contains(text, "#") {
		return nil, errors.New("no token is #")
	}
	for at := 0; at < len(text); at++ {
		if strings.HasPrefix(text[at:], "!\n") {
			tokens = append(tokens, 300)
			at++
			continue
		}
		token := int32(text[at])
		if v.afterBreak && at > 0 && text[at-1] == '\n' || v.ofLists && at == 0 && token != '\n' && strings.Contains(text, "\n") {
			token += 1000
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}

// Lists of titles take a call for many different titles and one for many lists, whatever the number
// of lists, except for those with a title that does not go together with others.
func TestLines_lists(t *testing.T) {
	random, calls := rand.New(rand.NewPCG(1, 1)), 0
	v := joins{calls: &calls}
	titles := make([]string, 200)
	for i := range titles {
		titles[i] = strings.Repeat(string(rune('a'+i%26)), 1+i/26)
	}
	for _, strange := range []string{"b", "what!"} {
		titles[7] = strange
		var lists []string
		whole := 0
		for range 2000 {
			var list []string
			for range 1 + random.IntN(10) {
				list = append(list, titles[random.IntN(len(titles))])
			}
			lists = append(lists, strings.Join(list, "\n"))
			if len(list) > 1 && slices.Contains(list, "what!") {
				whole++
			}
		}
		calls = 0
		got, err := Lines(v, lists)
		if err != nil {
			t.Fatal(err)
		}
		if most := whole + 120; calls > most || calls <= whole {
			t.Errorf("%d calls, want %d for lists with a strange title and at most 120 others", calls, whole)
		}
		for i, list := range lists {
			if want, _ := v.Tokenize(list, false); !slices.Equal(got[i], want) {
				t.Fatalf("%q: %v, want %v", list, got[i], want)
			}
		}
	}
}

// What the shortcut supposes is checked: where it is not so, texts are tokenised as a whole.
func TestLines_checked(t *testing.T) {
	for name, v := range map[string]joins{"after line breaks": {afterBreak: true}, "in lists": {ofLists: true}} {
		v.calls = new(int)
		for _, texts := range [][]string{{"one", "two", "three"}, {"one", "two\nthree", "three\nfour\none", "four"}} {
			got, err := Lines(v, texts)
			if err != nil {
				t.Fatal(err)
			}
			for i, text := range texts {
				if want, _ := v.Tokenize(text, false); !slices.Equal(got[i], want) {
					t.Errorf("other tokens %s: %q has %v, want %v", name, text, got[i], want)
				}
			}
		}
	}
}

// However lines are put together, their tokens are those that they have by themselves.
func TestLines(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, begins := range []int32{0, 400} {
		calls := 0
		v := joins{begins: begins, calls: &calls}
		for _, strange := range []float64{0, 0.01, 1} {
			texts := make([]string, 500)
			for i := range texts {
				for range 1 + random.IntN(9) {
					texts[i] += string(rune('a' + random.IntN(26)))
				}
				if random.Float64() < strange {
					texts[i] += []string{"!", "\nof two lines", "!\n"}[random.IntN(3)]
				}
			}
			calls = 0
			got, err := Lines(v, texts)
			if err != nil || len(got) != len(texts) {
				t.Fatalf("%d of %d texts, error %v", len(got), len(texts), err)
			}
			if few := calls < len(texts)/2; few != (begins == 0 && strange < 1) {
				t.Errorf("%d calls for %d texts, of which a share of %g is strange", calls, len(texts), strange)
			}
			for i, text := range texts {
				if want, _ := v.Tokenize(text, false); !slices.Equal(got[i], want) {
					t.Errorf("%q: %v, want %v", text, got[i], want)
				}
			}
			texts[321] = "#"
			if _, err := Lines(v, texts); err == nil || !strings.Contains(err.Error(), "no token is #") {
				t.Errorf("a text that cannot be tokenised: error %v", err)
			}
		}
	}
}
