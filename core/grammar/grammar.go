package grammar

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Grammar is a prefix tree over the tokens of titles, walked from Start by Next. It is immutable
// and safe for concurrent use. A node takes 8 bytes: nodes are numbered level by level, so that
// those after one node are side by side.
type Grammar struct {
	tokens []int32 // of each node: the token that leads to it, or ends or breaks
	after  []int32 // the nodes after node n are after[n] to after[n+1]-1, in ascending order of tokens
	lines  int32
	end    int32
	levels int
}

// The marks of leaves are larger than any token.
const (
	breaks = math.MaxInt32 - 1 // a title and a line break end here: another title may follow
	ends   = math.MaxInt32     // a title ends here: the answer may end
)

// The nodes after node 0 are the roots: of the first line, and of the lines after it.
const first, later = 1, 2

// State is a position in an answer.
type State struct{ node, line int32 }

// Step is a token that may follow in an answer, and the state after it.
type Step struct {
	Token int32
	To    State
	Ends  bool // it is the end token: the answer is complete
}

// Titles allows answers of 1 to lines titles, one on each line, closed by the end token of
// prompt.Answer. Titles may repeat. All processors share the work; the result is the same on any
// number of them.
func Titles(v prompt.Vocabulary, titles []string, lines int) (*Grammar, error) {
	if len(titles) == 0 || lines < 1 || lines > 1<<20 {
		return nil, fmt.Errorf("grammar: %d titles on at most %d lines; there must be one at least", len(titles), lines)
	}
	g := &Grammar{lines: int32(lines)}
	var err error
	if g.end, err = prompt.End(v); err != nil {
		return nil, err
	}
	r := reader{Vocabulary: v, several: lines > 1}
	if r.several {
		if r.around, err = newNeighbours(v); err != nil {
			return nil, err
		}
	}
	paths, err := r.sorted(titles, runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, err
	}
	g.plant(paths)
	return g, nil
}

// plant makes the tree of sorted paths.
func (g *Grammar) plant(paths [][]int32) {
	type node struct{ from, to int } // the paths through it
	g.tokens = []int32{0}
	for level, depth := []node{{0, len(paths)}}, 0; len(level) > 0; depth++ {
		g.levels = depth
		var next []node
		for _, n := range level {
			g.after = append(g.after, int32(len(g.tokens)))
			for n.from < n.to && len(paths[n.from]) > depth {
				token, to := paths[n.from][depth], n.from+1
				for to < n.to && paths[to][depth] == token {
					to++
				}
				g.tokens, next = append(g.tokens, token), append(next, node{n.from, to})
				n.from = to
			}
		}
		level = next
	}
	g.tokens, g.after = slices.Clip(g.tokens), slices.Clip(append(g.after, int32(len(g.tokens))))
}

// reader turns titles into paths of the tree.
type reader struct {
	prompt.Vocabulary
	several bool // titles stand on several lines
	around  neighbours
}

// sorted gives the paths of titles in ascending order: a root, tokens and a mark. Halves of the
// titles are sorted side by side, in so many parts, and merged.
func (r reader) sorted(titles []string, parts int) (paths [][]int32, err error) {
	if parts < 2 || len(titles) < 2 {
		if paths, err = r.paths(titles); err != nil {
			return nil, err
		}
		slices.SortFunc(paths, slices.Compare)
		return paths, nil
	}
	var a, b [][]int32
	var failed error // of the second half; of several errors the first title's counts
	var half sync.WaitGroup
	half.Go(func() { b, failed = r.sorted(titles[len(titles)/2:], parts-parts/2) })
	a, err = r.sorted(titles[:len(titles)/2], parts/2)
	half.Wait()
	if err = cmp.Or(err, failed); err != nil {
		return nil, err
	}
	paths = make([][]int32, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if slices.Compare(a[0], b[0]) <= 0 {
			paths, a = append(paths, a[0]), a[1:]
		} else {
			paths, b = append(paths, b[0]), b[1:]
		}
	}
	return slices.Concat(paths, a, b), nil
}

// paths gives those of titles: each as the only line and, where there are several, as the first of
// them, as one between others, and as the last. Vocabularies may join a line break with the
// character before it, such as "!\n", so that each title is tokenised among others.
func (r reader) paths(titles []string) ([][]int32, error) {
	alone, err := prompt.Lines(r, titles)
	if err != nil {
		return nil, fmt.Errorf("grammar: %w", err)
	}
	var paths [][]int32
	for i, title := range titles {
		if title == "" {
			return nil, errors.New("grammar: a title is empty")
		}
		paths = append(paths, slices.Concat([]int32{first}, alone[i], []int32{ends}))
		if !r.several {
			continue
		}
		for _, l := range []struct {
			text          string
			before, after []int32 // the tokens around the title
			root, mark    int32
		}{
			{title + "\n" + other, nil, r.around.after, first, breaks},
			{other + "\n" + title + "\n" + other, r.around.before, r.around.after, later, breaks},
			{other + "\n" + title, r.around.before, nil, later, ends},
		} {
			tokens, err := r.Tokenize(l.text, false)
			if err != nil {
				return nil, fmt.Errorf("grammar: title %q: %w", title, err)
			}
			own, ok := between(tokens, l.before, l.after)
			if !ok {
				return nil, joins(l.text)
			}
			paths = append(paths, slices.Concat([]int32{l.root}, own, []int32{l.mark}))
		}
	}
	return paths, nil
}

// other is a neighbouring line with which titles are tokenised.
const other = "A"

// joins is the error for a text whose titles cannot be separated.
func joins(text string) error {
	return fmt.Errorf("grammar: this vocabulary has tokens that span two lines (%q), so lists of titles cannot be restricted", text)
}

// neighbours are the tokens of the other line and its line break before a title, and of the other
// line after one.
type neighbours struct{ before, after []int32 }

func newNeighbours(v prompt.Vocabulary) (n neighbours, err error) {
	if n.before, err = v.Tokenize(other+"\n", false); err != nil {
		return n, fmt.Errorf("grammar: %w", err)
	}
	const text = other + "\n" + other
	two, err := v.Tokenize(text, false)
	if err != nil {
		return n, fmt.Errorf("grammar: %w", err)
	}
	var whole bool
	if n.after, whole = between(two, n.before, nil); !whole {
		return n, joins(text)
	}
	return n, nil
}

// between returns the tokens between a beginning and an end, and whether both are there.
func between(tokens, before, after []int32) ([]int32, bool) {
	n := len(tokens) - len(after)
	if n <= len(before) || !slices.Equal(tokens[:len(before)], before) || !slices.Equal(tokens[n:], after) {
		return nil, false
	}
	return tokens[len(before):n], true
}

// Longest is how many tokens the longest title takes, with its end or line break.
func (g *Grammar) Longest() int { return g.levels - 1 } // without the root

// Start is the state before the first token.
func (g *Grammar) Start() State { return State{first, 1} }

// Next gives the tokens that may follow, at least one unless the answer is complete.
func (g *Grammar) Next(s State) []Step {
	steps := make([]Step, 0, g.after[s.node+1]-g.after[s.node])
	for n := g.after[s.node]; n < g.after[s.node+1]; n++ {
		switch token := g.tokens[n]; {
		case token == ends:
			steps = append(steps, Step{Token: g.end, To: s, Ends: true})
		case token == breaks && s.line < g.lines:
			steps = append(steps, g.Next(State{later, s.line + 1})...)
		case token != breaks && (s.line < g.lines || g.lines == 1 || g.mayEnd(n)): // no line break after the last line
			steps = append(steps, Step{Token: token, To: State{n, s.line}})
		}
	}
	return steps
}

// mayEnd reports whether a title ends at a node or after it without a line break.
func (g *Grammar) mayEnd(node int32) bool {
	for n := g.after[node]; n < g.after[node+1]; n++ {
		if g.tokens[n] == ends || g.tokens[n] != breaks && g.mayEnd(n) {
			return true
		}
	}
	return false
}
