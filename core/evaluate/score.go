package evaluate

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"

	"github.com/recinterpreter/recinterpreter/core/internal/wilson"
)

// Exact reports whether the answer is the title and nothing else, ignoring case, runs of white
// space and punctuation at either end.
func Exact(answer, title string) bool { return Normalise(answer) == Normalise(title) }

// Contains reports whether the title occurs in the answer as whole words, ignoring case, runs of
// white space and punctuation at either end. Short titles that are also common words ("It") are
// easily contained: read the result together with Exact.
func Contains(answer, title string) bool {
	text, words := Normalise(answer), Normalise(title)
	if words == "" {
		return false
	}
	for from := 0; ; {
		at := strings.Index(text[from:], words)
		if at < 0 {
			return false
		}
		before, _ := utf8.DecodeLastRuneInString(text[:from+at])
		after, _ := utf8.DecodeRuneInString(text[from+at+len(words):])
		if !inWord(before) && !inWord(after) {
			return true
		}
		_, size := utf8.DecodeRuneInString(text[from+at:])
		from += at + size
	}
}

// Paper reports whether the title occurs in the answer as written, the test of the paper's
// evaluator. There the title is a regular expression; here it is literal, so that "M*A*S*H" matches
// itself.
func Paper(answer, title string) bool { return title != "" && strings.Contains(answer, title) }

// Close reports whether the answer is the title except for a few letters: at most one in five of
// the title's letters has to be inserted, deleted or replaced (Levenshtein distance), ignoring what
// Exact ignores.
func Close(answer, title string) bool {
	title = Normalise(title)
	return 5*levenshtein.ComputeDistance(Normalise(answer), title) <= utf8.RuneCountInString(title)
}

// Normalise folds case, collapses white space and removes punctuation at both ends, unless the text
// is all punctuation.
func Normalise(text string) string {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	if trimmed := strings.TrimFunc(text, func(r rune) bool { return unicode.IsPunct(r) || r == ' ' }); trimmed != "" {
		return trimmed
	}
	return text
}

func inWord(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r))
}

// Share is a proportion with its 95 % interval.
type Share struct {
	Hits  int     `json:"hits"`
	N     int     `json:"n"`
	Value float64 `json:"value"` // Hits/N; 0 when N is 0
	Low   float64 `json:"low"`   // of the interval
	High  float64 `json:"high"`
}

// NewShare gives hits of n with Wilson's score interval at 95 %.
func NewShare(hits, n int) Share {
	s := Share{Hits: hits, N: n, Value: float64(hits) / float64(max(n, 1))}
	s.Low, s.High = wilson.Interval(hits, n)
	return s
}
