package interpret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// nodesAtOnce is about how many tokens of titles go through the LLM in one call. More of them share
// a prompt; but each looks over all that stand before it, also those of other titles.
const nodesAtOnce = 256

// Scorer gives the probability of titles: log p(title | states), the log-probabilities among all
// tokens of the title's tokens and of the end token, summed up. Unlike Rank it leaves no title out.
// The LLM runs as in training, and what several titles begin with is computed once for all of them.
// A scorer is not safe for concurrent use, and uses its interpreter.
type Scorer struct {
	of     *Interpreter
	llm    *cgo.LLM
	prefix *cgo.Prefix
}

// Titles are some titles whose probabilities a scorer gives.
type Titles struct {
	of    *Scorer
	trees []tree
	n     int
}

// tree is what some of the titles say, token by token. Node 0 is the end of the prompt.
type tree struct {
	tokens, parents []int32 // of the nodes from 1 on
	edges           []edge  // by the nodes they start from
}

// edge is a token that may follow behind a node.
type edge struct {
	from, token int32
	to          int32 // the token's node, or -1-t: the token ends title t
}

// NewScorer makes a scorer, which loads the LLM's weights once more, for training.
func (i *Interpreter) NewScorer(precision cgo.Precision) (*Scorer, error) {
	s := &Scorer{of: i}
	var err error
	if s.llm, err = cgo.NewLLM(i.engine, i.gguf, precision); err == nil {
		s.prefix, err = s.llm.NewPrefix(i.prompt.Prefix())
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Titles prepares titles for Scores.
func (s *Scorer) Titles(titles []string) (*Titles, error) {
	answers, err := prompt.AllTokens(s.of.gguf, titles)
	if err != nil {
		return nil, err
	}
	return &Titles{s, plant(answers, nodesAtOnce), len(titles)}, nil
}

// Close releases what the scorer holds, not its interpreter; a second Close does nothing.
func (s *Scorer) Close() error {
	var err error
	if s.prefix != nil {
		err = s.prefix.Close()
	}
	if s.llm != nil {
		err = errors.Join(err, s.llm.Close())
	}
	return err
}

// plant makes trees of at most so many nodes, unless one answer alone has more. In the order of
// their tokens, answers share what they begin with with their neighbours.
func plant(answers [][]int32, most int) []tree {
	order := make([]int, len(answers))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return slices.Compare(answers[a], answers[b]) })
	var trees []tree
	var path, said []int32 // nodes and tokens of the answer before
	for _, title := range order {
		last := len(answers[title]) - 1 // the end token, which nothing follows
		tokens, end := answers[title][:last], answers[title][last]
		shared := 0
		for shared < min(len(tokens), len(said)) && tokens[shared] == said[shared] {
			shared++
		}
		if len(trees) == 0 || len(trees[len(trees)-1].tokens)+last-shared > most {
			trees = append(trees, tree{})
			path, shared = []int32{0}, 0
		}
		t := &trees[len(trees)-1]
		path, said = path[:shared+1], tokens
		for _, token := range tokens[shared:] {
			from, to := path[len(path)-1], int32(len(t.tokens)+1)
			t.tokens, t.parents, t.edges = append(t.tokens, token), append(t.parents, from), append(t.edges, edge{from, token, to})
			path = append(path, to)
		}
		t.edges = append(t.edges, edge{path[len(path)-1], end, int32(-1 - title)})
	}
	for _, t := range trees {
		slices.SortStableFunc(t.edges, func(a, b edge) int { return cmp.Compare(a.from, b.from) })
	}
	return trees
}

// Cost is what the scores of titles take for one sample.
type Cost struct {
	Titles int
	Tokens int           // that the LLM weighs: the beginnings of titles, mostly each once, and their ends
	Time   time.Duration // about, at the rate of the second call of the LLM
}

func (t *Titles) cost(call time.Duration) Cost {
	c := Cost{Titles: t.n, Time: call * time.Duration(len(t.trees))}
	for _, tree := range t.trees {
		c.Tokens += len(tree.edges)
	}
	return c
}

// Scores gives log p(title | states) in nats for each sample and each title, in the order of both.
// The context is looked at between calls of the LLM, some dozen for a thousand titles. After two of
// them told, if not nil, receives what all of them cost for each sample.
func (t *Titles) Scores(ctx context.Context, samples []prompt.States, told func(Cost)) ([][]float64, error) {
	if err := t.of.of.check(samples); err != nil {
		return nil, err
	}
	scores := make([][]float64, len(samples))
	for n, sample := range samples {
		scores[n] = make([]float64, t.n)
		for call, tree := range t.trees {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			start := time.Now()
			if err := t.of.score(scores[n], sample, tree); err != nil {
				return nil, fmt.Errorf("interpret: sample %d: %w", n, err)
			}
			if told != nil && n == 0 && call == 1 {
				told(t.cost(time.Since(start)))
			}
		}
	}
	return scores, nil
}

// score writes the scores of a tree's titles.
func (s *Scorer) score(scores []float64, sample prompt.States, t tree) error {
	suffix := s.of.prompt.Suffix(sample.Counts)
	root := int32(len(suffix) - 1)
	b := cgo.Branches{Tokens: append(suffix, t.tokens...), StateValues: sample.Values}
	for at := range root + 1 {
		b.Parents = append(b.Parents, at-1)
	}
	for _, from := range t.parents {
		b.Parents = append(b.Parents, root+from)
	}
	b.AskedCounts = make([]int32, len(b.Tokens))
	for _, e := range t.edges {
		b.AskedCounts[root+e.from]++
		b.Asked = append(b.Asked, e.token)
	}
	logProbs := make([]float32, len(b.Asked))
	if err := s.llm.BranchLogProbs(logProbs, s.prefix, s.of.adapter, b); err != nil {
		return err
	}
	sums := make([]float64, len(t.tokens)+1) // from the end of the prompt to each node
	for i, e := range t.edges {
		sum := sums[e.from] + float64(logProbs[i])
		if e.to < 0 {
			scores[-1-e.to] = sum
		} else {
			sums[e.to] = sum
		}
	}
	return nil
}
