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

// search is one call: samples are answered side by side, each by a beam of hypotheses in slots of its own. Where a sample is
// done the next one takes its slots.
type search struct {
	*Interpreter
	samples []prompt.States
	grammar *grammar.Grammar // nil: any answer
	width   int
	answers [][]Answer
	next    int   // first sample that has not been taken up
	free    []int // slots
	beams   []*beam
}

// beam is a sample under way.
type beam struct {
	sample int
	live   []hypothesis
	spare  []int // slots of its own that no hypothesis is in
	done   []Answer
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

func (i *Interpreter) search(ctx context.Context, samples []prompt.States, g *grammar.Grammar, width int) ([][]Answer, error) {
	if err := i.check(samples); err != nil {
		return nil, err
	}
	s := &search{Interpreter: i, samples: samples, grammar: g, width: width, answers: make([][]Answer, len(samples))}
	for slot := range i.opts.Slots / width * width {
		if err := i.generator.Reset(slot); err != nil {
			return nil, err
		}
		s.free = append(s.free, slot)
	}
	for s.next < len(samples) || len(s.beams) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.begin(); err != nil {
			return nil, err
		}
		if err := s.goOn(); err != nil {
			return nil, err
		}
	}
	return s.answers, nil
}

// begin takes up samples for which slots are free and puts their prompts through the LLM. It waits until half of the slots are
// free: a prompt by itself costs nearly as much as several side by side.
func (s *search) begin() error {
	n := min(len(s.free)/s.width, len(s.samples)-s.next)
	if n == 0 || len(s.free) < len(s.beams)*s.width {
		return nil
	}
	var states []float32
	for _, sample := range s.samples[s.next : s.next+n] {
		states = append(states, sample.Values...)
	}
	inputs, width := len(states)/s.shape.Width(), s.shape.Embd
	soft := make([]float32, inputs*s.shape.Tokens*width)
	if err := s.adapter.SoftTokens(soft, states, inputs); err != nil {
		return fmt.Errorf("interpret: samples %d to %d: %w", s.next, s.next+n-1, err)
	}
	var rows []float32
	counts, beams := make([]int32, n), make([]*beam, n)
	for i := range n {
		suffix := s.prompt.Suffix(s.samples[s.next+i].Counts)
		for _, token := range suffix {
			if token < 0 { // soft tokens stand in their order
				rows, soft = append(rows, soft[:width]...), soft[width:]
			} else {
				rows = append(rows, s.words[token]...)
			}
		}
		counts[i] = int32(len(suffix))
		first := hypothesis{slot: s.free[0]}
		if s.grammar != nil {
			first.at = s.grammar.Start()
		}
		beams[i] = &beam{sample: s.next + i, live: []hypothesis{first}, spare: slices.Clone(s.free[1:s.width]),
			random: rand.New(rand.NewPCG(s.opts.Sampling.Seed, uint64(s.next+i)))}
		s.free = s.free[s.width:]
	}
	s.next += n
	return s.decode(beams, cgo.DecodeBatch{Counts: counts, Rows: rows})
}

// goOn adds a token to every hypothesis.
func (s *search) goOn() error {
	if len(s.beams) == 0 {
		return nil
	}
	beams := s.beams
	s.beams = nil
	var batch cgo.DecodeBatch
	for _, b := range beams {
		for _, h := range b.live {
			batch.Counts, batch.Tokens = append(batch.Counts, 1), append(batch.Tokens, h.tokens[len(h.tokens)-1])
		}
	}
	return s.decode(beams, batch)
}

// decode runs a batch that has a part for every hypothesis, and moves each beam on by what may follow.
func (s *search) decode(beams []*beam, batch cgo.DecodeBatch) error {
	var steps [][]grammar.Step // of each hypothesis, where a grammar says them
	for _, b := range beams {
		for i, h := range b.live {
			batch.Slots = append(batch.Slots, int32(h.slot))
			if s.grammar == nil {
				continue
			}
			allowed := s.grammar.Next(h.at)
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
	case s.grammar != nil:
	case s.opts.Sampling.Temperature > 0:
		result.Logits = make([]float32, len(batch.Slots)*s.vocab)
	default:
		result.Tokens, result.LogProbs = make([]int32, len(batch.Slots)), make([]float32, len(batch.Slots))
	}
	if err := s.generator.Decode(batch, result); err != nil {
		return fmt.Errorf("interpret: %w", err)
	}
	n := 0 // hypotheses so far
	for _, b := range beams {
		var candidates []candidate
		for parent, h := range b.live {
			if s.grammar == nil {
				token, logProb := s.choose(b, result, n)
				candidates = append(candidates, candidate{parent, h.logProb + logProb, grammar.Step{Token: token, Ends: s.gguf.IsEnd(token)}})
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

// choose gives the token that a free answer goes on with behind hypothesis n of a batch, and its log-probability.
func (s *search) choose(b *beam, result cgo.Decoded, n int) (int32, float64) {
	if s.opts.Sampling.Temperature == 0 {
		return result.Tokens[n], float64(result.LogProbs[n])
	}
	return s.opts.Sampling.draw(result.Logits[n*s.vocab:(n+1)*s.vocab], b.random)
}

// moveOn replaces a beam's hypotheses by the likeliest candidates, and ends it when nothing better can come.
func (s *search) moveOn(b *beam, candidates []candidate) error {
	slices.SortStableFunc(candidates, func(x, y candidate) int { return cmp.Compare(y.logProb, x.logProb) })
	candidates = candidates[:min(s.width, len(candidates))]
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
			b.done = append(b.done, Answer{Tokens: tokens, LogProbs: logProbs, LogProb: c.logProb, Ended: true})
		case len(tokens) == s.opts.MaxTokens && s.grammar != nil:
			b.done = append(b.done, Answer{Tokens: tokens[:parent.whole], LogProbs: logProbs[:parent.whole], LogProb: c.logProb})
		case len(tokens) == s.opts.MaxTokens:
			b.done = append(b.done, Answer{Tokens: tokens, LogProbs: logProbs, LogProb: c.logProb})
		default:
			b.live = append(b.live, hypothesis{parent: c.parent, tokens: tokens, whole: parent.whole, logProbs: logProbs, logProb: c.logProb,
				at: c.To})
		}
	}
	slices.SortStableFunc(b.done, func(x, y Answer) int { return cmp.Compare(y.LogProb, x.LogProb) })
	b.done = b.done[:min(s.width, len(b.done))]
	if len(b.live) > 0 && (len(b.done) < s.width || b.live[0].logProb > b.done[s.width-1].LogProb) {
		s.beams = append(s.beams, b)
		return s.settle(b, parents)
	}
	for _, slot := range slices.Concat(b.spare, slotsOf(parents)) {
		if err := s.generator.Reset(slot); err != nil {
			return err
		}
		s.free = append(s.free, slot)
	}
	for i := range b.done {
		if err := s.write(&b.done[i]); err != nil {
			return err
		}
	}
	s.answers[b.sample] = b.done
	return nil
}

// write gives an answer the text of its tokens.
func (i *Interpreter) write(a *Answer) error {
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

// settle gives the new hypotheses of a beam their slots: the first child of a parent takes over the parent's, the others get
// copies of it.
func (s *search) settle(b *beam, parents []hypothesis) error {
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
		if err := s.generator.Copy(parents[h.parent].slot, h.slot); err != nil {
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
