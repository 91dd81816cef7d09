package prompt

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// Vocabulary is what a prompt needs of an LLM; *cgo.GGUF is one.
type Vocabulary interface {
	Describe() (cgo.GGUFInfo, error)
	Tokenize(text string, parseSpecial bool) ([]int32, error)
	Detokenize(tokens []int32, special bool) (string, error)
	Chat(user string) (string, error)
}

// Prompt is a template compiled for one vocabulary: segment 0, the soft tokens of state 0, segment 1, the soft tokens
// of state 1, …, the last segment. The answer follows. It is immutable and safe for concurrent use.
type Prompt struct {
	slots    []string
	segments [][]int32
	perState int
	suffix   []int32
}

// Compile wraps the template in the model's chat template, where it has one, cuts it at its slots and tokenises each
// segment by itself. tokensPerState is K, the number of soft tokens of each state. The model's beginning-of-sequence
// token, where it names one, starts the prompt.
func Compile(v Vocabulary, t Template, tokensPerState int) (*Prompt, error) {
	slots, err := t.Slots()
	if err != nil {
		return nil, err
	}
	text, err := v.Chat(t.Text)
	if errors.Is(err, cgo.ErrUnsupported) {
		text, err = t.Text+"\n", nil
	}
	if err != nil {
		return nil, fmt.Errorf("prompt: template %q: %w", t.Name, err)
	}
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
			return nil, fmt.Errorf("prompt: template %q: %w", t.Name, err)
		}
	}
	info, err := v.Describe()
	if err != nil {
		return nil, err
	}
	if bos := int32(info.BOS); bos >= 0 && (len(segments[0]) == 0 || segments[0][0] != bos) {
		segments[0] = slices.Insert(segments[0], 0, bos)
	}
	p, err := FromSegments(segments, tokensPerState)
	if err != nil {
		return nil, err
	}
	p.slots = slots
	return p, nil
}

// FromSegments makes a prompt of token ids as they are: N+1 segments around N states of tokensPerState soft tokens
// each. Nothing is added.
func FromSegments(segments [][]int32, tokensPerState int) (*Prompt, error) {
	if len(segments) < 2 {
		return nil, fmt.Errorf("prompt: %d segments; a prompt with one state has 2", len(segments))
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
	for state, segment := range p.segments[1:] {
		for k := range tokensPerState {
			p.suffix = append(p.suffix, soft(state*tokensPerState+k))
		}
		p.suffix = append(p.suffix, segment...)
	}
	return p, nil
}

// soft is how soft token j of a sample is written among token ids.
func soft(j int) int32 { return int32(-1 - j) }

// Slots names the states that a sample holds, in their order; nil for a prompt made by FromSegments.
func (p *Prompt) Slots() []string { return slices.Clone(p.slots) }

// States is N, the number of states of a sample.
func (p *Prompt) States() int { return len(p.segments) - 1 }

// TokensPerState is K, the number of soft tokens that stand for one state.
func (p *Prompt) TokensPerState() int { return p.perState }

// Prefix is the part that every sample starts with, up to the first soft token.
func (p *Prompt) Prefix() []int32 { return slices.Clone(p.segments[0]) }

// Suffix is the part from the first soft token to where the answer starts; soft token j is written -1-j.
func (p *Prompt) Suffix() []int32 { return slices.Clone(p.suffix) }

// Positions is how many positions of the context a sample takes: prefix, suffix and the fed part of an answer of
// n tokens (its last token is predicted, never fed).
func (p *Prompt) Positions(n int) int { return len(p.segments[0]) + len(p.suffix) + max(n-1, 0) }

// End is the token that closes an answer: the model's end-of-turn token, or else its end-of-sequence token.
func End(v Vocabulary) (int32, error) {
	info, err := v.Describe()
	if err != nil {
		return -1, err
	}
	switch {
	case info.EOT >= 0:
		return int32(info.EOT), nil
	case info.EOS >= 0:
		return int32(info.EOS), nil
	}
	return -1, errors.New("prompt: the model names neither an end-of-turn nor an end-of-sequence token, " +
		"so an answer would have no end")
}

// Answer is the tokens of an answer's text followed by the end token. Special tokens written in the text are text.
func Answer(v Vocabulary, text string) ([]int32, error) {
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

// Show writes the prompt and an answer (which may be empty) for people, one token a line: its position, the part it
// belongs to, its id and its text.
func (p *Prompt) Show(w io.Writer, v Vocabulary, answer []int32) error {
	position := 0
	describe := func(token int32) (string, error) {
		if j := int(-1 - token); j >= 0 {
			name := fmt.Sprint(j / p.perState)
			if p.slots != nil {
				name = p.slots[j/p.perState]
			}
			return fmt.Sprintf("     - soft token %d of %d, state {%s}", j%p.perState+1, p.perState, name), nil
		}
		piece, err := v.Detokenize([]int32{token}, true)
		return fmt.Sprintf("%6d %q", token, piece), err
	}
	for _, part := range []struct {
		name   string
		tokens []int32
	}{{"prefix", p.segments[0]}, {"sample", p.suffix}, {"answer", answer}} {
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
