package grammar

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Grammar is a prefix tree over the tokens of titles, walked from Start by Next. It is immutable
// and safe for concurrent use.
type Grammar struct {
	nodes []node
	later int32 // where the lines after the first one start
	lines int32
	end   int32
}

type node struct {
	edges    []edge // in ascending order of tokens
	complete bool   // a title ends here: the answer may end
	broken   bool   // a title and a line break end here: another title may follow
	ends     bool   // a title ends here or later
}

type edge struct{ token, node int32 }

// State is a position in an answer.
type State struct{ node, line int32 }

// Step is a token that may follow in an answer, and the state after it.
type Step struct {
	Token int32
	To    State
	Ends  bool // it is the end token: the answer is complete
}

// Titles allows answers of 1 to lines titles, one on each line, closed by the end token of
// prompt.Answer. Titles may repeat.
func Titles(v prompt.Vocabulary, titles []string, lines int) (*Grammar, error) {
	if len(titles) == 0 || lines < 1 || lines > 1<<20 {
		return nil, fmt.Errorf("grammar: %d titles on at most %d lines; there must be one at least", len(titles), lines)
	}
	end, err := prompt.End(v)
	if err != nil {
		return nil, err
	}
	g := &Grammar{nodes: make([]node, 2), later: 1, lines: int32(lines), end: end}
	var around neighbours
	if lines > 1 {
		if around, err = newNeighbours(v); err != nil {
			return nil, err
		}
	}
	for _, title := range titles {
		if title == "" {
			return nil, errors.New("grammar: a title is empty")
		}
		tokens, err := v.Tokenize(title, false)
		if err != nil {
			return nil, fmt.Errorf("grammar: title %q: %w", title, err)
		}
		g.nodes[g.add(0, tokens)].complete = true
		if lines == 1 {
			continue
		}
		if err := g.addLines(v, title, around); err != nil {
			return nil, err
		}
	}
	for i := len(g.nodes) - 1; i >= 0; i-- { // edges lead to later nodes
		n := &g.nodes[i]
		slices.SortFunc(n.edges, func(a, b edge) int { return cmp.Compare(a.token, b.token) })
		n.ends = n.complete || slices.ContainsFunc(n.edges, func(e edge) bool { return g.nodes[e.node].ends })
	}
	return g, nil
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

// addLines adds a title as the first of several lines, as one between others, and as the last.
// Vocabularies may join a line break with the character before it, such as "!\n", so that each
// title is tokenised among others.
func (g *Grammar) addLines(v prompt.Vocabulary, title string, around neighbours) error {
	for _, line := range []struct {
		text          string
		before, after []int32 // the tokens around the title
		at            int32
		broken        bool
	}{
		{title + "\n" + other, nil, around.after, 0, true},
		{other + "\n" + title + "\n" + other, around.before, around.after, g.later, true},
		{other + "\n" + title, around.before, nil, g.later, false},
	} {
		tokens, err := v.Tokenize(line.text, false)
		if err != nil {
			return fmt.Errorf("grammar: title %q: %w", title, err)
		}
		own, ok := between(tokens, line.before, line.after)
		if !ok {
			return joins(line.text)
		}
		if at := g.add(line.at, own); line.broken {
			g.nodes[at].broken = true
		} else {
			g.nodes[at].complete = true
		}
	}
	return nil
}

// between returns the tokens between a beginning and an end, and whether both are there.
func between(tokens, before, after []int32) ([]int32, bool) {
	n := len(tokens) - len(after)
	if n <= len(before) || !slices.Equal(tokens[:len(before)], before) || !slices.Equal(tokens[n:], after) {
		return nil, false
	}
	return tokens[len(before):n], true
}

// add adds a path of tokens from a node and returns its end.
func (g *Grammar) add(at int32, tokens []int32) int32 {
	for _, token := range tokens {
		edges := g.nodes[at].edges
		i := slices.IndexFunc(edges, func(e edge) bool { return e.token == token })
		if i >= 0 {
			at = edges[i].node
			continue
		}
		to := int32(len(g.nodes))
		g.nodes = append(g.nodes, node{})
		g.nodes[at].edges = append(edges, edge{token, to})
		at = to
	}
	return at
}

// Start is the state before the first token.
func (g *Grammar) Start() State { return State{0, 1} }

// Next gives the tokens that may follow, at least one unless the answer is complete.
func (g *Grammar) Next(s State) []Step {
	var steps []Step
	at := g.nodes[s.node]
	for _, e := range at.edges {
		if s.line < g.lines || g.nodes[e.node].ends { // no line break after the last line
			steps = append(steps, Step{Token: e.token, To: State{e.node, s.line}})
		}
	}
	if at.broken && s.line < g.lines {
		for _, e := range g.nodes[g.later].edges {
			steps = append(steps, Step{Token: e.token, To: State{e.node, s.line + 1}})
		}
	}
	if at.complete {
		steps = append(steps, Step{Token: g.end, To: s, Ends: true})
	}
	return steps
}
