package prompt

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// letters is a vocabulary of one token for each byte, with 256 = "<end>" and 257 = "<user>" as
// special tokens.
type letters struct {
	chat     func(string) (string, error)
	bos, eot int32
}

func plain(user string) (string, error) {
	return "", fmt.Errorf("no template: %w", errors.ErrUnsupported)
}

func (v letters) Special() (bos, eos, eot int32, err error) { return v.bos, -1, v.eot, nil }

func (v letters) Tokenize(text string, parseSpecial bool) ([]int32, error) {
	var tokens []int32
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "<end>"); ok && parseSpecial {
			tokens, text = append(tokens, 256), rest
		} else if rest, ok := strings.CutPrefix(text, "<user>"); ok && parseSpecial {
			tokens, text = append(tokens, 257), rest
		} else {
			tokens, text = append(tokens, int32(text[0])), text[1:]
		}
	}
	return tokens, nil
}

func (v letters) Detokenize(tokens []int32, special bool) (string, error) {
	var text strings.Builder
	for _, token := range tokens {
		switch token {
		case 256:
			text.WriteString("<end>")
		case 257:
			text.WriteString("<user>")
		default:
			text.WriteByte(byte(token))
		}
	}
	return text.String(), nil
}

func (v letters) Chat(user string) (string, error) { return v.chat(user) }

func chatted(user string) (string, error) { return "<user>" + user + "<end>", nil }

func TestCompile(t *testing.T) {
	v := letters{chat: chatted, bos: 257, eot: 256}
	prompts, err := Compile(v, Template{Name: "t", Asks: "last item", Texts: []string{"ab{before}c{after}", "{before}{after}d"}}, Shown{Tokens: 2, PerState: 1})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int32{-1, -2, -3, -4, 'd', 256}; len(prompts) != 2 || !slices.Equal(prompts[1].Suffix([]int{1, 1}), want) {
		t.Errorf("%d prompts, the second %v, want %v", len(prompts), prompts[1].Suffix([]int{1, 1}), want)
	}
	p := prompts[0]
	// By hand: the chat template's opening token is the BOS already, so it is not doubled.
	if want := []int32{257, 'a', 'b'}; !slices.Equal(p.Prefix(), want) {
		t.Errorf("prefix %v, want %v", p.Prefix(), want)
	}
	if want := []int32{-1, -2, 'c', -3, -4, 256}; !slices.Equal(p.Suffix([]int{1, 1}), want) {
		t.Errorf("suffix %v, want %v", p.Suffix([]int{1, 1}), want)
	}
	if want := []int32{-1, -2, 'c', -3, -4, -5, -6, 256}; !slices.Equal(p.Suffix([]int{1, 2}), want) {
		t.Errorf("suffix %v, want %v", p.Suffix([]int{1, 2}), want)
	}
	if want := []string{"before", "after"}; !slices.Equal(p.SlotNames(), want) {
		t.Errorf("slots %v, want %v", p.SlotNames(), want)
	}
	if got := p.Positions([]int{1, 2}, 4); got != 3+8+3 {
		t.Errorf("%d positions, want 14", got)
	}
}

func TestCompile_withoutChatTemplate(t *testing.T) {
	prompts, err := Compile(letters{chat: plain, bos: 1, eot: 256}, Template{Name: "t", Asks: "history", Texts: []string{"a{state}"}}, Shown{Tokens: 1, PerState: 1})
	if err != nil {
		t.Fatal(err)
	}
	p := prompts[0]
	if want := []int32{1, 'a'}; !slices.Equal(p.Prefix(), want) {
		t.Errorf("prefix %v, want the BOS and the text: %v", p.Prefix(), want)
	}
	if want := []int32{-1, '\n'}; !slices.Equal(p.Suffix([]int{1}), want) {
		t.Errorf("suffix %v, want %v", p.Suffix([]int{1}), want)
	}
}

func TestQuestion(t *testing.T) {
	for name, c := range map[string]struct {
		v    letters
		want []int32
	}{
		"a template that writes the BOS": {letters{chat: chatted, bos: 257, eot: 256}, []int32{257, 'a', 'b', 256}},
		"a template that does not":       {letters{chat: chatted, bos: 1, eot: 256}, []int32{1, 257, 'a', 'b', 256}},
		"no template":                    {letters{chat: plain, bos: 1, eot: 256}, []int32{1, 'a', 'b', '\n'}},
		"neither":                        {letters{chat: plain, bos: -1, eot: 256}, []int32{'a', 'b', '\n'}},
	} {
		if got, err := Question(c.v, "ab"); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.want)
		}
	}
}

func TestCompile_examples(t *testing.T) {
	v := letters{chat: chatted, bos: 257, eot: 256}
	template := Template{Name: "t", Asks: "last item", Texts: []string{"ab"}, Reply: "{before}{after}:",
		Examples: [][]string{{"wxyz", "k", "lmn"}}}
	end, said := int32(256), func(titles []string) string { return titles[len(titles)-1] }
	for everyItem, want := range map[bool][]int32{
		false: {257, 'a', 'b', end, 'k', end, 'l', 'm', ':', 'l', 'm', 'n', end},
		true:  {257, 'a', 'b', end, 'w', 'x', 'k', end, 'w', 'x', 'k', end, 'l', 'm', ':', 'l', 'm', 'n', end},
	} {
		prompts, err := Compile(v, template, Shown{Tokens: 2, PerState: 1, AllItems: everyItem, Answer: said})
		if err != nil {
			t.Fatal(err)
		}
		if got := prompts[0].Prefix(); !slices.Equal(got, want) {
			t.Errorf("every item %v: prefix\n%v, want\n%v", everyItem, got, want)
		}
		if got, want := prompts[0].Suffix([]int{1, 1}), []int32{-1, -2, -3, -4, ':'}; !slices.Equal(got, want) {
			t.Errorf("suffix %v, want %v", got, want)
		}
	}
	template.Reply = "{state}:"
	said = func(titles []string) string { return strings.Join(titles, "\n") }
	for everyItem, want := range map[bool][]int32{
		true: {257, 'a', 'b', end, 'w', 'x', 'k', end, 'l', 'm', ':', 'w', 'x', 'y', 'z', '\n', 'k', '\n', 'l', 'm', 'n', end},
	} {
		prompts, err := Compile(v, template, Shown{Tokens: 2, PerState: 1, AllItems: everyItem, Answer: said})
		if err != nil {
			t.Fatal(err)
		}
		if got := prompts[0].Prefix(); !slices.Equal(got, want) {
			t.Errorf("history, every item %v: prefix\n%v, want\n%v", everyItem, got, want)
		}
	}
	for name, broken := range map[string]Template{
		"one title": {Name: "t", Asks: "last item", Texts: []string{"a"}, Reply: "{state}", Examples: [][]string{{"a"}}},
		"no title":  {Name: "t", Asks: "last item", Texts: []string{"a"}, Reply: "{state}", Examples: [][]string{{"a", ""}}},
		"slots in the text": {Name: "t", Asks: "last item", Texts: []string{"{before}"}, Reply: "{after}",
			Examples: [][]string{{"a", "b"}}},
	} {
		if _, err := Compile(v, broken, Shown{Tokens: 1, PerState: 1, Answer: said}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCompile_refusals(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		text string
		chat func(string) (string, error)
		k    int
		want string
	}{
		"no slot":          {"hello", chatted, 1, "without a slot"},
		"unknown slot":     {"a{film}", chatted, 1, "{film}"},
		"vector and state": {"{item}{state}", chatted, 1, "{item} must be the only slot"},
		"slot twice":       {"{state}{state}", chatted, 1, "twice"},
		"no soft token":    {"{state}", chatted, 0, "at least 1"},
		"slot lost":        {"{state}", func(string) (string, error) { return "<user>", nil }, 1, "loses"},
		"slot repeated":    {"{state}", func(s string) (string, error) { return s + s, nil }, 1, "repeats"},
		"slots swapped":    {"{before}{after}", func(string) (string, error) { return "{after}{before}", nil }, 1, "moves"},
		"chat has failed":  {"{state}", func(string) (string, error) { return "", broken }, 1, "broken"},
	} {
		_, err := Compile(letters{chat: c.chat, bos: -1, eot: 256}, Template{Name: "t", Asks: "history", Texts: []string{c.text}}, Shown{Tokens: c.k, PerState: 1})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestAnswer(t *testing.T) {
	tokens, err := Tokens(letters{eot: 256}, "x<end>")
	if err != nil {
		t.Fatal(err)
	}
	// A special token inside a title is text; only the closing one is the end token.
	if want := []int32{'x', '<', 'e', 'n', 'd', '>', 256}; !slices.Equal(tokens, want) {
		t.Errorf("answer %v, want %v", tokens, want)
	}
	several, err := AllTokens(letters{eot: 256}, []string{"ab", "c", "ab"})
	if err != nil || len(several) != 3 || !slices.Equal(several[1], []int32{'c', 256}) || !slices.Equal(several[2], []int32{'a', 'b', 256}) {
		t.Errorf("answers %v, %v", several, err)
	}
	if _, err := AllTokens(letters{eot: -1}, []string{"x"}); err == nil {
		t.Error("a vocabulary without an end token was accepted for several")
	}
	if _, err := Tokens(letters{eot: -1}, "x"); err == nil {
		t.Error("a vocabulary without an end token was accepted")
	}
}

func TestBatch_byHand(t *testing.T) {
	p, err := FromSegments([][]int32{{9, 8}, {7}, {6, 5}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := p.Batch([]Sample{
		{States: States{[]int{1, 1}, []float32{1, 2}}, Answer: []int32{40, 41, 42}},
		{States: States{[]int{1, 2}, []float32{3, 4, 5}}, Answer: []int32{50}},
	}, 0.25)
	if err != nil {
		t.Fatal(err)
	}
	// Suffix: soft 0, 7, soft 1 (of the second sample soft 1 and 2), 6, 5, which predicts the first
	// answer token; 42 and 50 are never fed.
	wantTokens := []int32{-1, 7, -2, 6, 5, 40, 41, -1, 7, -2, -3, 6, 5, 0}
	wantTargets := []int32{-1, -1, -1, -1, 40, 41, 42, -1, -1, -1, -1, -1, 50, -1}
	if !slices.Equal(batch.Tokens, wantTokens) {
		t.Errorf("tokens  %v\nwant    %v", batch.Tokens, wantTokens)
	}
	if !slices.Equal(batch.Targets, wantTargets) {
		t.Errorf("targets %v\nwant    %v", batch.Targets, wantTargets)
	}
	if !slices.Equal(batch.StateValues, []float32{1, 2, 3, 4, 5}) {
		t.Errorf("states %v", batch.StateValues)
	}
	if batch.Samples != 2 || batch.Positions != 7 || !slices.Equal(batch.States, []int32{2, 3}) || batch.Weight != 0.25 {
		t.Errorf("batch %d × %d, %v states, weight %g", batch.Samples, batch.Positions, batch.States, batch.Weight)
	}
}

func TestBatch_answerRightAfterSoftToken(t *testing.T) {
	p, err := FromSegments([][]int32{{}, {}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := p.Batch([]Sample{{States: States{[]int{1}, []float32{1}}, Answer: []int32{5, 6}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(batch.Tokens, []int32{-1, -2, 5}) || !slices.Equal(batch.Targets, []int32{-1, 5, 6}) {
		t.Errorf("tokens %v, targets %v", batch.Tokens, batch.Targets)
	}
}

func TestBatch_refusals(t *testing.T) {
	p, err := FromSegments([][]int32{{1}, {2}, {3}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	good := Sample{States: States{[]int{1, 1}, []float32{1, 2}}, Answer: []int32{4}}
	for name, samples := range map[string][]Sample{
		"none":             {},
		"empty answer":     {good, {States: good.States}},
		"unequal widths":   {good, {States: States{[]int{1, 1}, []float32{1, 2, 3, 4}}, Answer: good.Answer}},
		"no states":        {{Answer: good.Answer}},
		"states not whole": {{States: States{[]int{1, 1}, []float32{1, 2, 3}}, Answer: good.Answer}},
		"one slot":         {{States: States{[]int{2}, []float32{1, 2}}, Answer: good.Answer}},
		"an empty slot":    {{States: States{[]int{2, 0}, []float32{1, 2}}, Answer: good.Answer}},
		"not a number":     {{States: States{[]int{1, 1}, []float32{1, float32(math.NaN())}}, Answer: good.Answer}},
	} {
		if _, err := p.Batch(samples, 1); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestFromSegments_refusals(t *testing.T) {
	for name, segments := range map[string][][]int32{"one segment": {{1}}, "negative id": {{1}, {-3}}} {
		if _, err := FromSegments(segments, 1); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestParseTemplate(t *testing.T) {
	if _, err := ParseTemplate([]byte(`{"name":"x","asks":"history","texts":["a{state}","{state}b"]}`)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		`{`, `{"name":"x","asks":"history","text":["a{state}"]}`, `{"name":"","asks":"history","texts":["{state}"]}`,
		`{"name":"x","asks":"history"}`, `{"name":"x","texts":["{state}"]}`,
		`{"name":"x","asks":"history","texts":["{ state }{after}"]}`, `{"name":"x","asks":"history","texts":["{State}{after}"]}`,
		`{"name":"x","asks":"history","texts":["a{state}"]} {}`, `{"name":"x","asks":"history","texts":["{before}"]}`,
		`{"name":"x","asks":"history","texts":["{state}","{before}"]}`, `{"name":"x","asks":"history","texts":["{state}","b"]}`,
	} {
		if _, err := ParseTemplate([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

func TestShow(t *testing.T) {
	v := letters{chat: chatted, bos: 257, eot: 256}
	prompts, err := Compile(v, Template{Name: "t", Asks: "history", Texts: []string{"a{before}{after}"}}, Shown{Tokens: 2, PerState: 1})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := prompts[0].Show(&out, v, []int{1, 2}, []int32{'x', 256}); err != nil {
		t.Fatal(err)
	}
	want := `   0 prefix    257 "<user>"
   1 prefix     97 "a"
   2 sample      - soft token 1 of 2, {before}
   3 sample      - soft token 2 of 2, {before}
   4 sample      - soft token 1 of 2, {after}, state 1 of 2
   5 sample      - soft token 2 of 2, {after}, state 1 of 2
   6 sample      - soft token 1 of 2, {after}, state 2 of 2
   7 sample      - soft token 2 of 2, {after}, state 2 of 2
   8 sample    256 "<end>"
   9 answer    120 "x"
  10 answer    256 "<end>"
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestAbout_byHand(t *testing.T) {
	history := []int32{7, 5, 9, 2, 4}
	for slot, want := range map[string][]int32{SlotState: history, SlotAfter: history, SlotItem: history, SlotBefore: {7, 5, 9, 2}, SlotEarlier: {7, 5},
		SlotLater: {9, 2, 4}, SlotOne: {2}, SlotOther: {4}} {
		if got := About(slot, history); !slices.Equal(got, want) {
			t.Errorf("{%s} is about %v, want %v", slot, got, want)
		}
	}
	for _, c := range []struct {
		slots []string
		want  int
	}{{[]string{SlotState}, 1}, {[]string{SlotItem}, 1}, {[]string{SlotBefore, SlotAfter}, 2}, {[]string{SlotEarlier, SlotLater}, 2}, {[]string{SlotState, SlotOne}, 2}} {
		if got := Shortest(c.slots); got != c.want {
			t.Errorf("%v need %d items, want %d", c.slots, got, c.want)
		}
	}
}
