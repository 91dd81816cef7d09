// Package grammar says which answers name items of a catalogue and nothing else: one title, or titles on lines of their own.
package grammar

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Grammar is a prefix tree over the tokens of titles, walked from Start by Next. It is immutable and safe for concurrent use.
type Grammar struct {
	nodes   []node
	later   int32 // where the lines behind the first one start
	lines   int32
	end     int32
	longest int
}

type node struct {
	edges    []edge // in ascending order of tokens
	complete bool   // a title ends here
}

type edge struct{ token, node int32 }

// State is a place in an answer.
type State struct{ node, line int32 }

// Step is a token that may follow in an answer, and where it leads.
type Step struct {
	Token int32
	To    State
	Ends  bool // it is the end token: the answer is complete
}

// Titles allows answers of 1 to lines titles, one on each line, closed by the end token of prompt.Answer. Titles may repeat.
func Titles(v prompt.Vocabulary, titles []string, lines int) (*Grammar, error) {
	if len(titles) == 0 || lines < 1 || lines > 1<<20 {
		return nil, fmt.Errorf("grammar: %d titles on at most %d lines; there must be one at least", len(titles), lines)
	}
	end, err := prompt.End(v)
	if err != nil {
		return nil, err
	}
	g := &Grammar{nodes: make([]node, 2), later: 1, lines: int32(lines), end: end}
	first, later := 0, 0 // tokens of the longest title on the first line, and on another one
	for _, title := range titles {
		if title == "" {
			return nil, errors.New("grammar: a title is empty")
		}
		tokens, err := v.Tokenize(title, false)
		if err != nil {
			return nil, fmt.Errorf("grammar: title %q: %w", title, err)
		}
		g.add(0, tokens)
		behind := tokens
		if lines > 1 {
			if behind, err = onNextLine(v, title); err != nil {
				return nil, err
			}
			g.add(g.later, behind)
		}
		first, later = max(first, len(tokens)), max(later, len(behind))
	}
	g.longest = first + (lines-1)*later + 1
	for i := range g.nodes {
		slices.SortFunc(g.nodes[i].edges, func(a, b edge) int { return cmp.Compare(a.token, b.token) })
	}
	return g, nil
}

// onNextLine gives the tokens of a line break and a title, as they stand behind another title.
func onNextLine(v prompt.Vocabulary, title string) ([]int32, error) {
	before, err := v.Tokenize("A", false)
	if err != nil {
		return nil, fmt.Errorf("grammar: %w", err)
	}
	both, err := v.Tokenize("A\n"+title, false)
	if err != nil {
		return nil, fmt.Errorf("grammar: title %q: %w", title, err)
	}
	if len(both) <= len(before) || !slices.Equal(both[:len(before)], before) {
		return nil, fmt.Errorf("grammar: this vocabulary joins line breaks with what stands before them, so lists of titles " +
			"cannot be restricted")
	}
	return both[len(before):], nil
}

func (g *Grammar) add(at int32, tokens []int32) {
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
	g.nodes[at].complete = true
}

// Start is the place before the first token.
func (g *Grammar) Start() State { return State{0, 1} }

// Next gives the tokens that may follow, at least one unless the answer is complete.
func (g *Grammar) Next(s State) []Step {
	var steps []Step
	at := g.nodes[s.node]
	for _, e := range at.edges {
		steps = append(steps, Step{Token: e.token, To: State{e.node, s.line}})
	}
	if !at.complete {
		return steps
	}
	if s.line < g.lines {
		for _, e := range g.nodes[g.later].edges {
			steps = append(steps, Step{Token: e.token, To: State{e.node, s.line + 1}})
		}
	}
	return append(steps, Step{Token: g.end, To: s, Ends: true})
}

// Longest is the most tokens an answer can have, the end token included.
func (g *Grammar) Longest() int { return g.longest }
