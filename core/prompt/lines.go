package prompt

import (
	"fmt"
	"slices"
	"strings"
)

// together is how many lines one call tokenises.
const together = 64

// Lines gives the tokens of each text, without an end. llama.cpp compiles regular expressions in
// every call, which takes longer than a short text. Where a line break is a token of its own, the
// lines of a longer text have the tokens that they have by themselves, so that one call tokenises
// many of them. Lines of which that is not true are tokenised by themselves.
func Lines(v Vocabulary, texts []string) ([][]int32, error) {
	lineBreak, err := v.Tokenize("\n", false)
	if err != nil {
		return nil, err
	}
	most := together
	if len(lineBreak) != 1 { // something begins every text, or there are no line breaks
		most, lineBreak = 1, []int32{-1}
	}
	all := make([][]int32, 0, len(texts))
	for part := range slices.Chunk(texts, most) {
		if all, err = appendLines(all, v, lineBreak[0], part); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// appendLines appends the tokens of texts to all. If it cannot tokenise them together, it tries
// halves of them.
func appendLines(all [][]int32, v Vocabulary, lineBreak int32, texts []string) ([][]int32, error) {
	text, last := strings.Join(texts, "\n"), len(texts)-1
	tokens, err := v.Tokenize(text, false)
	if last == 0 {
		if err != nil {
			return nil, fmt.Errorf("prompt: %q: %w", text, err)
		}
		return append(all, slices.Clone(tokens)), nil // the vocabulary's has room for a token of each byte
	}
	own := [][]int32{nil}
	for _, token := range tokens {
		if token == lineBreak {
			own = append(own, nil)
		} else {
			own[len(own)-1] = append(own[len(own)-1], token)
		}
	}
	if err == nil && strings.Count(text, "\n") == last && len(own) == len(texts) {
		if alone, err := v.Tokenize(texts[last], false); err == nil && slices.Equal(own[last], alone) {
			return append(all, own...), nil
		}
	}
	if all, err = appendLines(all, v, lineBreak, texts[:len(texts)/2]); err != nil {
		return nil, err
	}
	return appendLines(all, v, lineBreak, texts[len(texts)/2:])
}
