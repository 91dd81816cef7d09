package dataset

import (
	"regexp"
	"strings"

	"golang.org/x/text/unicode/norm"
)

var (
	trailingYear  = regexp.MustCompile(`\s*\((?:\d{4}|V|TV)\)$`) // V and TV: MovieLens's marks for video and television
	trailingGroup = regexp.MustCompile(`\s*\([^()]*\)$`)
	lastComma     = regexp.MustCompile(`^(.*\S), (\pL+'?)$`)
)

// articles are the words that film lists move to the end of a title, by language.
var articles = wordSet(
	"The A An", // English
	"Le La Les L' Un Une",
	"Der Die Das Ein Eine",
	"Il Lo Gli Una Uno", // Italian; La, Le and Un as in French; without I, which is also the English pronoun
	"El Los Las",        // Spanish
	"O Os",              // Portuguese
	"Det Den En Et Ett", // Scandinavian
	"De Het Een",        // Dutch
)

func wordSet(lists ...string) map[string]bool {
	set := map[string]bool{}
	for _, list := range lists {
		for word := range strings.FieldsSeq(list) {
			set[word] = true
		}
	}
	return set
}

// CleanTitle turns a film title as MovieLens writes it into its usual form:
//
//	"Matrix, The (1999)"                → "The Matrix"      year and marks such as (V) removed, the article put in front
//	"Enfer, L' (1994)"                  → "L'Enfer"         foreign articles as well
//	"Tin Drum, The (Blechtrommel, Die)" → "The Tin Drum"    a title in another language or spelling removed
//
// Whitespace is collapsed. A rule that would leave nothing is not applied, so "(1999)" stays.
func CleanTitle(raw string) string {
	title := collapse(raw)
	for _, pattern := range []*regexp.Regexp{trailingYear, trailingGroup} {
		for {
			shorter := pattern.ReplaceAllString(title, "")
			if shorter == title || shorter == "" {
				break
			}
			title = shorter
		}
	}
	if m := lastComma.FindStringSubmatch(title); m != nil && articles[m[2]] {
		space := " "
		if strings.HasSuffix(m[2], "'") {
			space = ""
		}
		title = m[2] + space + m[1]
	}
	return title
}

// collapse trims whitespace and makes each run of it one space.
func collapse(s string) string { return strings.Join(strings.Fields(s), " ") }

// PlainText is the form of titles and attributes in a data set: Unicode's normal form C, in which
// an accent and its letter are one character, without whitespace around it, each run of it one
// space.
func PlainText(s string) string { return norm.NFC.String(collapse(s)) }

// fold is the form in which titles are compared: PlainText, case ignored.
func fold(s string) string { return strings.ToLower(PlainText(s)) }
