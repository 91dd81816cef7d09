package prompt

import (
	"fmt"
	"slices"
	"strings"
)

// together is how many lines one call tokenises.
const together = 64

// Lines gives the tokens of each text, without an end. llama.cpp compiles regular expressions in
// every call, which takes longer than a short text. Where a line break is a token of its own, lines
// have the same tokens in every text, so that one call tokenises many of them, each once. Lines
// that run into a line break are tokenised by themselves, and texts that have such lines as a
// whole. To be sure, one line and one text of each call are tokenised by themselves and compared.
func Lines(v Vocabulary, texts []string) ([][]int32, error) {
	lineBreak, err := v.Tokenize("\n", false)
	if err != nil {
		return nil, err
	}
	all := make([][]int32, 0, len(texts))
	if len(lineBreak) != 1 { // something begins every text, or there are no line breaks
		return appendWhole(all, v, texts)
	}
	known := lines{lineBreak: lineBreak[0], of: map[string]line{}}
	if err := known.tokeniseAll(v, texts); err != nil {
		return nil, err
	}
	for part := range slices.Chunk(texts, together) {
		if all, err = known.appendTokens(all, v, part); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// appendWhole appends the tokens of texts to all, one call for each.
func appendWhole(all [][]int32, v Vocabulary, texts []string) ([][]int32, error) {
	for _, text := range texts {
		tokens, err := v.Tokenize(text, false)
		if err != nil {
			return nil, fmt.Errorf("prompt: %q: %w", text, err)
		}
		all = append(all, slices.Clone(tokens)) // the vocabulary's has room for a token of each byte
	}
	return all, nil
}

// lines has the tokens of each different line of some texts.
type lines struct {
	lineBreak int32 // its token
	of        map[string]line
}

// line is a line by itself.
type line struct {
	tokens []int32
	apart  bool // between line breaks it has the same tokens
}

// tokeniseAll tokenises the different lines of texts.
func (l *lines) tokeniseAll(v Vocabulary, texts []string) error {
	var different []string
	for _, text := range texts {
		for one := range strings.SplitSeq(text, "\n") {
			if _, ok := l.of[one]; !ok {
				l.of[one], different = line{}, append(different, one)
			}
		}
	}
	for some := range slices.Chunk(different, together) {
		if err := l.tokenise(v, some); err != nil {
			return err
		}
	}
	return nil
}

// tokenise tokenises some lines together or, if that cannot be done, halves of them.
func (l *lines) tokenise(v Vocabulary, some []string) error {
	last := len(some) - 1
	alone, err := appendWhole(nil, v, some[last:])
	if err == nil {
		if own := l.between(v, some); own != nil && slices.Equal(own[last], alone[0]) {
			for i, one := range some {
				l.of[one] = line{own[i], true}
			}
			return nil
		}
	}
	if last == 0 {
		if err == nil {
			l.of[some[0]] = line{tokens: alone[0]}
		}
		return err
	}
	if err := l.tokenise(v, some[:len(some)/2]); err != nil {
		return err
	}
	return l.tokenise(v, some[len(some)/2:])
}

// between gives the tokens of lines that stand between others, or nil where line breaks join them.
func (l *lines) between(v Vocabulary, some []string) [][]int32 {
	tokens, err := v.Tokenize("\n"+strings.Join(some, "\n")+"\n", false)
	if err != nil {
		return nil
	}
	own := [][]int32{nil}
	for _, token := range tokens {
		if token == l.lineBreak {
			own = append(own, nil)
		} else {
			own[len(own)-1] = append(own[len(own)-1], token)
		}
	}
	if n := len(some); len(own) == n+2 && len(own[0])+len(own[n+1]) == 0 {
		return own[1 : n+1]
	}
	return nil
}

// appendTokens appends the tokens of texts to all, and compares those of the last text of several
// lines with what they are by themselves.
func (l *lines) appendTokens(all [][]int32, v Vocabulary, texts []string) (_ [][]int32, err error) {
	before, last := all, -1
	for i, text := range texts {
		if tokens, ok := l.joined(text); ok {
			if all = append(all, tokens); strings.Contains(text, "\n") {
				last = i
			}
		} else if all, err = appendWhole(all, v, texts[i:i+1]); err != nil {
			return nil, err
		}
	}
	if last < 0 {
		return all, nil
	}
	if alone, err := v.Tokenize(texts[last], false); err == nil && slices.Equal(alone, all[len(before)+last]) {
		return all, nil
	}
	return appendWhole(before, v, texts)
}

// joined gives the tokens of a text from those of its lines, if all of these stand apart.
func (l *lines) joined(text string) (tokens []int32, ok bool) {
	if one, ok := l.of[text]; ok {
		return slices.Clone(one.tokens), true
	}
	for part := range strings.SplitSeq(text, "\n") {
		one := l.of[part]
		if !one.apart {
			return nil, false
		}
		if ok {
			tokens = append(tokens, l.lineBreak)
		}
		tokens, ok = append(tokens, one.tokens...), true
	}
	return tokens, true
}
