package prompt

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"
)

// Vocabulary is the part of an LLM that a prompt needs; *cgo.GGUF implements it. It is safe for
// concurrent use.
type Vocabulary interface {
	// Special gives the tokens that begin a text, end a text and end a turn; -1 for one that does
	// not exist.
	Special() (bos, eos, eot int32, err error)
	Tokenize(text string, parseSpecial bool) ([]int32, error)
	Detokenize(tokens []int32, special bool) (string, error)
	// Chat wraps a user message in the model's chat template. errors.ErrUnsupported: there is none.
	Chat(user string) (string, error)
}

// Prompt is one wording of a template, compiled for one vocabulary: segment 0, the soft tokens of
// slot 0, segment 1, the soft tokens of slot 1, …, the last segment. The answer follows. It is
// immutable and safe for concurrent use.
type Prompt struct {
	slots    []string
	segments [][]int32
	perState int
}

// Shown describes how a prompt shows titles to the LLM before it names them.
type Shown struct {
	Tokens   int  // K, soft tokens of a title
	PerState int  // titles that one state shows: 1, or as many as the adapter looks up
	AllItems bool // a slot shows all items of a history, not only the last one

	// Answer returns the answer that an example gives for its titles, oldest first. A template
	// without examples needs none.
	Answer func(titles []string) string
}

// Compile makes a prompt of each of the template's wordings, first those that training draws. It
// wraps the text in the model's chat template, if there is one, adds examples and the start of the
// reply, and tokenises each segment between slots separately. The model's beginning-of-sequence
// token, if it names one, starts the prompt.
func Compile(v Vocabulary, t Template, shown Shown) ([]*Prompt, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	slots, err := t.Slots()
	if err != nil {
		return nil, err
	}
	var prompts []*Prompt
	for _, text := range slices.Concat(t.Texts, t.Untrained) {
		p, err := t.compile(v, text, slots, shown)
		if err != nil {
			return nil, fmt.Errorf("template %q: %w", t.Name, err)
		}
		prompts = append(prompts, p)
	}
	return prompts, nil
}

// compile makes a prompt of one text.
func (t Template) compile(v Vocabulary, text string, slots []string, shown Shown) (*Prompt, error) {
	start, wrapped, err := wrap(v, text)
	if err != nil {
		return nil, err
	}
	if len(t.Examples) > 0 {
		before, err := v.Tokenize(wrapped, true)
		if err != nil {
			return nil, fmt.Errorf("prompt: %w", err)
		}
		start, wrapped = join(start, before), ""
	}
	segments, err := tokenise(v, wrapped+t.Reply, slots)
	if err != nil {
		return nil, err
	}
	for _, titles := range t.Examples {
		example, err := t.example(v, segments, slots, titles, shown)
		if err != nil {
			return nil, err
		}
		start = append(start, example...)
	}
	segments[0] = join(start, segments[0])
	p, err := FromSegments(segments, shown.Tokens*shown.PerState)
	if err != nil {
		return nil, err
	}
	p.slots = slots
	return p, nil
}

// wrap puts a user message into the model's chat template, if there is one. The result starts with
// the tokens of start: the model's beginning-of-sequence token, if it names one.
func wrap(v Vocabulary, message string) (start []int32, wrapped string, err error) {
	wrapped, err = v.Chat(message)
	if errors.Is(err, errors.ErrUnsupported) {
		wrapped, err = message+"\n", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("prompt: %w", err)
	}
	bos, _, _, err := v.Special()
	if err == nil && bos >= 0 {
		start = []int32{bos}
	}
	return start, wrapped, err
}

// Question gives the tokens of a user message in the model's chat template.
func Question(v Vocabulary, message string) ([]int32, error) {
	start, wrapped, err := wrap(v, message)
	if err != nil {
		return nil, err
	}
	tokens, err := v.Tokenize(wrapped, true)
	if err != nil {
		return nil, fmt.Errorf("prompt: %w", err)
	}
	return join(start, tokens), nil
}

// join appends tokens to a start. A start that consists of the beginning-of-sequence token alone is
// not repeated.
func join(start, tokens []int32) []int32 {
	if len(start) == 1 && len(tokens) > 0 && tokens[0] == start[0] {
		return tokens
	}
	return append(start, tokens...)
}

// tokenise cuts a text at its slots and tokenises each segment separately.
func tokenise(v Vocabulary, text string, slots []string) ([][]int32, error) {
	parts, err := split(text, slots)
	if err != nil {
		return nil, err
	}
	segments := make([][]int32, len(parts))
	for i, part := range parts {
		if part == "" {
			continue
		}
		if segments[i], err = v.Tokenize(part, true); err != nil {
			return nil, fmt.Errorf("prompt: %w", err)
		}
	}
	return segments, nil
}

// example is a start of the reply with titles instead of soft tokens, and the answer.
func (t Template) example(v Vocabulary, segments [][]int32, slots, titles []string, shown Shown) ([]int32, error) {
	tokens := slices.Clone(segments[0])
	for i, slot := range slots {
		about := titles
		if slot == SlotBefore {
			about = titles[:len(titles)-1]
		}
		if !shown.AllItems {
			about = about[len(about)-1:]
		}
		for _, title := range about {
			words, err := Tokens(v, title)
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, FirstTokens(words, shown.Tokens)...)
		}
		tokens = append(tokens, segments[i+1]...)
	}
	answer, err := Tokens(v, shown.Answer(titles))
	return append(tokens, answer...), err
}

// FirstTokens gives the first k tokens of an answer; a shorter one is padded with its last token,
// the end token.
func FirstTokens(answer []int32, k int) []int32 {
	first := make([]int32, k)
	for i := range first {
		first[i] = answer[min(i, len(answer)-1)]
	}
	return first
}

// FromSegments makes a prompt of given token ids: N+1 segments around N slots, whose states have
// tokensPerState soft tokens each. Nothing is added.
func FromSegments(segments [][]int32, tokensPerState int) (*Prompt, error) {
	if len(segments) < 2 {
		return nil, fmt.Errorf("prompt: %d segments; a prompt with one slot has 2", len(segments))
	}
	if tokensPerState < 1 {
		return nil, fmt.Errorf("prompt: %d soft tokens per state; at least 1 is needed", tokensPerState)
	}
	p := &Prompt{perState: tokensPerState, segments: make([][]int32, len(segments))}
	for i, segment := range segments {
		for _, token := range segment {
			if token < 0 {
				return nil, fmt.Errorf("prompt: segment %d holds the token id %d", i, token)
			}
		}
		p.segments[i] = slices.Clone(segment)
	}
	return p, nil
}

// SlotNames gives the names of the slots, in their order; nil for a prompt made by FromSegments.
func (p *Prompt) SlotNames() []string { return slices.Clone(p.slots) }

// Slots is the number of slots.
func (p *Prompt) Slots() int { return len(p.segments) - 1 }

// TokensPerState is K, the number of soft tokens of one state.
func (p *Prompt) TokensPerState() int { return p.perState }

// Prefix is the part that every sample starts with, up to the first soft token.
func (p *Prompt) Prefix() []int32 { return slices.Clone(p.segments[0]) }

// Suffix is the part from the first soft token to the start of the answer, for a sample with
// counts[i] states in slot i. Soft token j is written -1-j.
func (p *Prompt) Suffix(counts []int) []int32 {
	var suffix []int32
	soft := int32(0)
	for i, segment := range p.segments[1:] {
		for range counts[i] * p.perState {
			soft--
			suffix = append(suffix, soft)
		}
		suffix = append(suffix, segment...)
	}
	return suffix
}

// Positions is the number of context positions of a sample: prefix, suffix and the fed part of an
// answer of n tokens (its last token is predicted, never fed).
func (p *Prompt) Positions(counts []int, n int) int {
	positions := max(n-1, 0)
	for _, segment := range p.segments {
		positions += len(segment)
	}
	for _, count := range counts {
		positions += count * p.perState
	}
	return positions
}

// Check reports why the states do not fit the prompt's slots, or nil. width is D, the width of one
// state.
func (p *Prompt) Check(s States, width int) error {
	if len(s.Counts) != p.Slots() {
		return fmt.Errorf("prompt: states of %d slots for a prompt with %d", len(s.Counts), p.Slots())
	}
	for i, count := range s.Counts {
		if count < 1 {
			return fmt.Errorf("prompt: slot %d has %d states; it needs at least 1", i, count)
		}
	}
	if len(s.Values) != s.N()*width || width < 1 {
		return fmt.Errorf("prompt: %d state values; %d states of width %d are needed", len(s.Values), s.N(), width)
	}
	for i, x := range s.Values {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("prompt: value %d of its states is NaN or infinite; give finite numbers", i)
		}
	}
	return nil
}

// End is the token that closes an answer: the model's end-of-turn token, or else its
// end-of-sequence token.
func End(v Vocabulary) (int32, error) {
	_, eos, eot, err := v.Special()
	switch {
	case err != nil:
		return -1, err
	case eot >= 0:
		return eot, nil
	case eos >= 0:
		return eos, nil
	}
	return -1, errors.New("prompt: the model names neither an end-of-turn nor an end-of-sequence token, " +
		"so an answer would have no end")
}

// Tokens gives the tokens of an answer's text followed by the end token. Special tokens written in
// the text are text.
func Tokens(v Vocabulary, text string) ([]int32, error) {
	end, err := End(v)
	if err != nil {
		return nil, err
	}
	tokens, err := v.Tokenize(text, false)
	if err != nil {
		return nil, fmt.Errorf("prompt: answer %q: %w", text, err)
	}
	return append(tokens, end), nil
}

// AllTokens gives the tokens of each text as Tokens does; equal texts share theirs. All processors
// share the work.
func AllTokens(v Vocabulary, texts []string) ([][]int32, error) {
	end, err := End(v)
	if err != nil {
		return nil, err
	}
	numbers, different := make([]int, len(texts)), []string(nil)
	known := map[string]int{}
	for i, text := range texts {
		if _, ok := known[text]; !ok {
			known[text] = len(different)
			different = append(different, text)
		}
		numbers[i] = known[text]
	}
	workers := runtime.GOMAXPROCS(0)
	parts, errs := make([][][]int32, workers), make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			parts[w], errs[w] = Lines(v, different[w*len(different)/workers:(w+1)*len(different)/workers])
			for i, tokens := range parts[w] {
				parts[w][i] = append(tokens, end)
			}
		})
	}
	all.Wait()
	if err := cmp.Or(errs...); err != nil { // of several the first text's
		return nil, err
	}
	tokens, answers := slices.Concat(parts...), make([][]int32, len(texts))
	for i, number := range numbers {
		answers[i] = tokens[number]
	}
	return answers, nil
}

// Show writes the prompt, for a sample with counts[i] states in slot i, and an answer (which may be
// empty) for people, one token per line: its position, the part it belongs to, its id and its text.
func (p *Prompt) Show(w io.Writer, v Vocabulary, counts []int, answer []int32) error {
	position := 0
	describe := func(token int32) (string, error) {
		if j := int(-1 - token); j >= 0 {
			return "     - " + p.describeSoft(j, counts), nil
		}
		piece, err := v.Detokenize([]int32{token}, true)
		return fmt.Sprintf("%6d %q", token, piece), err
	}
	for _, part := range []struct {
		name   string
		tokens []int32
	}{{"prefix", p.segments[0]}, {"sample", p.Suffix(counts)}, {"answer", answer}} {
		for _, token := range part.tokens {
			text, err := describe(token)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "%4d %s %s\n", position, part.name, text); err != nil {
				return err
			}
			position++
		}
	}
	return nil
}

// describeSoft describes soft token j in words.
func (p *Prompt) describeSoft(j int, counts []int) string {
	state, slot := j/p.perState, 0
	for state >= counts[slot] {
		state -= counts[slot]
		slot++
	}
	name := fmt.Sprint(slot)
	if p.slots != nil {
		name = p.slots[slot]
	}
	text := fmt.Sprintf("soft token %d of %d, {%s}", j%p.perState+1, p.perState, name)
	if counts[slot] > 1 {
		text += fmt.Sprintf(", state %d of %d", state+1, counts[slot])
	}
	return text
}
