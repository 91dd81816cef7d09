package evaluate

import (
	"math"
	"testing"
)

// What each scorer must say, by the definitions in the design, §6.
func TestScorers(t *testing.T) {
	for _, c := range []struct {
		answer, title          string
		exact, contains, paper bool
	}{
		{"Toy Story", "Toy Story", true, true, true},
		{"  toy   story. ", "Toy Story", true, true, false},
		{"It is Toy Story, I think", "Toy Story", false, true, true},
		{"It", "It", true, true, true},
		{"\"It\"", "It", true, true, true},
		{"Italian Job", "It", false, false, true}, // "paper" sees letters, not words
		{"What is it", "It", false, true, false},
		{"Se7en", "Se7en", true, true, true},
		{"Seven", "Se7en", false, false, false},
		{"Les Misérables", "Les Misérables", true, true, true},
		{"LES MISÉRABLES", "Les Misérables", true, true, false},
		{"Misérables, Les", "Les Misérables", false, false, false},
		{"2001: A Space Odyssey", "2001: A Space Odyssey", true, true, true},
		{"2001 A Space Odyssey", "2001: A Space Odyssey", false, false, false},
		{"M*A*S*H", "M*A*S*H", true, true, true},
		{"MAAASH", "M*A*S*H", false, false, false}, // as a regular expression it would match
		{"The film was M*A*S*H!", "M*A*S*H", false, true, true},
		{"The Godfather: Part II", "The Godfather", false, true, true},
		{"The Godfather", "The Godfather: Part II", false, false, false},
		{"Godfathers", "Godfather", false, false, true},
		{"Aliens, Alien", "Alien", false, true, true}, // the first hit is within a word, the second is not
		{"", "It", false, false, false},
		{"...", "...", true, true, true},
		{"!", "?", false, false, false},
	} {
		if got := Exact(c.answer, c.title); got != c.exact {
			t.Errorf("Exact(%q, %q) = %v", c.answer, c.title, got)
		}
		if got := Contains(c.answer, c.title); got != c.contains {
			t.Errorf("Contains(%q, %q) = %v", c.answer, c.title, got)
		}
		if got := Paper(c.answer, c.title); got != c.paper {
			t.Errorf("Paper(%q, %q) = %v", c.answer, c.title, got)
		}
	}
}

// Distances are counted by hand.
func TestClose(t *testing.T) {
	for _, c := range []struct {
		answer, title string
		want          bool
	}{
		{"Seven", "Se7en", true},                   // 1 of 5
		{"heat", "Heat", true},                     // none
		{"Heap", "Heat", false},                    // 1 of 4
		{"Alien", "Aliens", true},                  // 1 of 6
		{"Toy Stories", "Toy Story", false},        // 3 of 9: y is ies
		{"Les Miserables", "Les Misérables", true}, // letters, not bytes
		{"É", "Ée", false},
		{"Star Treks", "Star Wars", false}, // 4 of 9
		{"", "It", false},
	} {
		if got := Close(c.answer, c.title); got != c.want {
			t.Errorf("Close(%q, %q) = %v", c.answer, c.title, got)
		}
	}
}

// Expected intervals: Wilson's formula in exact rational steps by hand for 0/10 (z²/(n+z²)), and
// the worked example of Newcombe 1998 (Statistics in Medicine 17, table I, method 3): 81/263 gives
// 0.2553 to 0.3662.
func TestNewShare(t *testing.T) {
	for _, c := range []struct {
		hits, n   int
		low, high float64
	}{
		{81, 263, 0.2553, 0.3662},
		{15, 148, 0.0624, 0.1605},
		{0, 20, 0, 0.1611},
		{1, 29, 0.0061, 0.1718},
		{0, 10, 0, 3.8415 / 13.8415},
		{10, 10, 10 / 13.8415, 1},
		{0, 0, 0, 1},
	} {
		s := NewShare(c.hits, c.n)
		if math.Abs(s.Low-c.low) > 5e-5 || math.Abs(s.High-c.high) > 5e-5 {
			t.Errorf("%d of %d: %.4f to %.4f, want %.4f to %.4f", c.hits, c.n, s.Low, s.High, c.low, c.high)
		}
	}
}
