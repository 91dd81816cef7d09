package interpret

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/grammar"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// beam is a question under way: hypotheses in slots of its own.
type beam struct {
	*Question
	live   []hypothesis
	spare  []int // slots of its own that no hypothesis is in
	done   []prompt.Answer
	said   int        // bytes of the text that Said has received
	random *rand.Rand // that tokens are drawn by
}

// hypothesis is the beginning of an answer; its last token is not in its slot yet.
type hypothesis struct {
	parent   int // among the hypotheses before
	slot     int
	tokens   []int32
	whole    int // how many of the tokens are whole titles, where a grammar says what is one
	logProbs []float64
	logProb  float64 // their sum
	at       grammar.State
}

// candidate is a hypothesis and the token it may go on with.
type candidate struct {
	parent  int // in the beam
	logProb float64
	grammar.Step
}

// search answers samples side by side.
func (i *Interpreter) search(ctx context.Context, samples []prompt.States, g *grammar.Grammar, width int) ([][]prompt.Answer, error) {
	if err := i.check(samples); err != nil {
		return nil, err
	}
	questions := make([]*Question, len(samples))
	for n, states := range samples {
		questions[n] = &Question{States: states, Grammar: g, Width: width, Number: uint64(n)}
	}
	if err := i.AskAll(ctx, questions); err != nil {
		return nil, err
	}
	answers := make([][]prompt.Answer, len(questions))
	for n, q := range questions {
		if q.Err != nil {
			return nil, fmt.Errorf("interpret: sample %d: %w", n, q.Err)
		}
		answers[n] = q.Answers
	}
	return answers, nil
}

// AskAll answers questions of one width, whose states Check allows, side by side; where some are
// done the next ones take their slots. It waits until half of the slots are free: a prompt by
// itself costs nearly as much as several side by side. A question that the LLM cannot compute with
// has an Err in the end, and no answers.
func (i *Interpreter) AskAll(ctx context.Context, questions []*Question) error {
	s, err := i.Session()
	if err != nil {
		return err
	}
	for left := questions; len(left) > 0 || s.Live() > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		width := 1
		if len(left) > 0 {
			width = left[0].Width
		}
		if n := min(s.Room(width), len(left)); n > 0 && len(s.free) >= s.Live()*width {
			if err := s.Ask(left[:n]); err != nil {
				return err
			}
			left = left[n:]
		}
		if err := s.Step(); err != nil {
			return err
		}
	}
	return nil
}

// decode runs a batch that has a part for every hypothesis, and moves each beam on by what may
// follow.
func (s *Session) decode(beams []*beam, batch cgo.DecodeBatch) error {
	var steps [][]grammar.Step // of each hypothesis, where a grammar says them
	free := false
	for _, b := range beams {
		for i, h := range b.live {
			batch.Slots = append(batch.Slots, int32(h.slot))
			var allowed []grammar.Step
			if b.Grammar == nil {
				free = true
			} else {
				allowed = b.Grammar.Next(h.at)
			}
			steps = append(steps, allowed)
			if slices.ContainsFunc(allowed, func(step grammar.Step) bool { return step.Ends }) {
				b.live[i].whole = len(h.tokens)
			}
			batch.AskedCounts = append(batch.AskedCounts, int32(len(allowed)))
			for _, step := range allowed {
				batch.Asked = append(batch.Asked, step.Token)
			}
		}
	}
	result := cgo.Decoded{Asked: make([]float32, len(batch.Asked))}
	switch {
	case !free:
	case s.of.opts.Sampling.Temperature > 0:
		result.Logits = make([]float32, len(batch.Slots)*s.of.vocab)
	default:
		result.Tokens, result.LogProbs = make([]int32, len(batch.Slots)), make([]float32, len(batch.Slots))
	}
	if err := s.of.generator.Decode(batch, result); err != nil {
		return fmt.Errorf("interpret: %w", err)
	}
	n := 0 // hypotheses so far
	for _, b := range beams {
		var candidates []candidate
		for parent, h := range b.live {
			if b.Grammar == nil {
				token, logProb := s.choose(b, result, n)
				candidates = append(candidates, candidate{parent, h.logProb + logProb, grammar.Step{Token: token, Ends: s.of.gguf.IsEnd(token)}})
			} else {
				for i, step := range steps[n] {
					candidates = append(candidates, candidate{parent, h.logProb + float64(result.Asked[i]), step})
				}
				result.Asked = result.Asked[len(steps[n]):]
			}
			n++
		}
		if err := s.moveOn(b, candidates); err != nil {
			return err
		}
	}
	return nil
}

// choose gives the token that a free answer goes on with behind hypothesis n of a batch, and its
// log-probability.
func (s *Session) choose(b *beam, result cgo.Decoded, n int) (int32, float64) {
	if s.of.opts.Sampling.Temperature == 0 {
		return result.Tokens[n], float64(result.LogProbs[n])
	}
	return s.of.opts.Sampling.draw(result.Logits[n*s.of.vocab:(n+1)*s.of.vocab], b.random)
}

// moveOn replaces a beam's hypotheses by the likeliest candidates, and ends it when nothing better
// can come.
func (s *Session) moveOn(b *beam, candidates []candidate) error {
	candidates = best(candidates, b.Width)
	parents := b.live
	b.live = nil
	for _, c := range candidates {
		parent := parents[c.parent]
		tokens, logProbs := slices.Clone(parent.tokens), append(slices.Clip(parent.logProbs), c.logProb-parent.logProb)
		if !c.Ends {
			tokens = append(tokens, c.Token)
		}
		switch {
		case c.Ends:
			b.done = append(b.done, prompt.Answer{Tokens: tokens, LogProbs: logProbs, LogProb: c.logProb, Ended: true})
		case len(tokens) == s.of.opts.MaxTokens && b.Grammar != nil:
			b.done = append(b.done, prompt.Answer{Tokens: tokens[:parent.whole], LogProbs: logProbs[:parent.whole], LogProb: c.logProb})
		case len(tokens) == s.of.opts.MaxTokens:
			b.done = append(b.done, prompt.Answer{Tokens: tokens, LogProbs: logProbs, LogProb: c.logProb})
		default:
			b.live = append(b.live, hypothesis{parent: c.parent, tokens: tokens, whole: parent.whole, logProbs: logProbs, logProb: c.logProb,
				at: c.To})
		}
	}
	slices.SortStableFunc(b.done, func(x, y prompt.Answer) int { return cmp.Compare(y.LogProb, x.LogProb) })
	b.done = b.done[:min(b.Width, len(b.done))]
	if b.Said != nil && b.Grammar == nil && !candidates[0].Ends {
		if err := s.say(b); err != nil {
			return err
		}
	}
	if len(b.live) > 0 && (len(b.done) < b.Width || b.live[0].logProb > b.done[b.Width-1].LogProb) {
		s.beams = append(s.beams, b)
		return s.settle(b, parents)
	}
	if err := s.leave(b, parents); err != nil {
		return err
	}
	for i := range b.done {
		if err := s.of.write(&b.done[i]); err != nil {
			return err
		}
	}
	b.Answers = b.done
	return nil
}

// best gives the n likeliest candidates in their order, of equal ones the first: there may be
// as many candidates as tokens begin a title.
func best(candidates []candidate, n int) (kept []candidate) {
	for _, c := range candidates {
		at := len(kept)
		for at > 0 && cmp.Compare(c.logProb, kept[at-1].logProb) > 0 {
			at--
		}
		if at < n {
			kept = slices.Insert(kept[:min(len(kept), n-1)], at, c)
		}
	}
	return kept
}

// write gives an answer the text of its tokens.
func (i *Interpreter) write(a *prompt.Answer) error {
	text, err := i.gguf.Detokenize(a.Tokens, false)
	if err != nil {
		return err
	}
	a.Text, a.Pieces = strings.TrimSpace(text), make([]string, len(a.Tokens))
	end := len(text)
	for n := len(a.Tokens) - 1; n >= 0; n-- {
		before, err := i.gguf.Detokenize(a.Tokens[:n], false)
		if err != nil {
			return err
		}
		at := 0 // how far the text of the tokens before goes, in whole characters
		for at < min(len(before), end) && before[at] == text[at] {
			at++
		}
		for at > 0 && at < end && !utf8.RuneStart(text[at]) {
			at--
		}
		a.Pieces[n], end = text[at:end], at
	}
	return nil
}

// settle gives the new hypotheses of a beam their slots: the first child of a parent takes over the
// parent's, the others get copies of it.
func (s *Session) settle(b *beam, parents []hypothesis) error {
	taken := make([]bool, len(parents))
	for _, h := range b.live {
		taken[h.parent] = true
	}
	for i, parent := range parents {
		if !taken[i] {
			b.spare = append(b.spare, parent.slot)
		}
	}
	for i := range b.live {
		h := &b.live[i]
		if taken[h.parent] {
			taken[h.parent], h.slot = false, parents[h.parent].slot
			continue
		}
		h.slot = b.spare[0]
		b.spare = b.spare[1:]
		if err := s.of.generator.Copy(parents[h.parent].slot, h.slot); err != nil {
			return err
		}
	}
	return nil
}

func slotsOf(hypotheses []hypothesis) (slots []int) {
	for _, h := range hypotheses {
		slots = append(slots, h.slot)
	}
	return slots
}
