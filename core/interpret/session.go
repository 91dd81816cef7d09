package interpret

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"unicode/utf8"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/grammar"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Session answers questions that come one after the other: those under way go on side by side, a
// token at each step, and others join them between two steps. An interpreter has one session at a
// time, and answers nothing else meanwhile.
type Session struct {
	of    *Interpreter
	free  []int // slots
	beams []*beam
}

// Question is a sample, how it is to be answered, and in the end the answers.
type Question struct {
	States  prompt.States
	Grammar *grammar.Grammar // that answers follow; nil: any
	Width   int              // how many answers are pursued, as in Rank; 1 without a grammar
	Number  uint64           // where tokens are drawn they follow from the seed and this

	// Said, if not nil, receives each token of an answer without a grammar: the text that it adds
	// (see Answer.Pieces) and its log-probability in nats. It does not receive a character that the
	// answer cuts off. Ask and Step call it.
	Said func(piece string, logProb float64)

	Answers []prompt.Answer // the likeliest first; nil while the question is under way
	Err     error           // why Ask has left it out: the LLM cannot compute with its soft tokens
}

// Session begins anew: what an earlier session had under way is forgotten.
func (i *Interpreter) Session() (*Session, error) {
	s := &Session{of: i}
	for slot := range i.opts.Slots {
		if err := i.generator.Reset(slot); err != nil {
			return nil, err
		}
		s.free = append(s.free, slot)
	}
	return s, nil
}

// Slots is how many sequences an interpreter answers side by side.
func (i *Interpreter) Slots() int { return i.opts.Slots }

// MaxTokens is where answers are cut.
func (i *Interpreter) MaxTokens() int { return i.opts.MaxTokens }

// Room is how many questions of a width can be asked now.
func (s *Session) Room(width int) int { return len(s.free) / width }

// Live is how many questions are under way.
func (s *Session) Live() int { return len(s.beams) }

// Ask puts the prompts of questions through the LLM, side by side, and gives their first tokens.
// There must be room for them, and Check must allow their states. A question whose soft tokens are
// too large is left out, and its Err says so. After an error the session is broken: begin another
// one.
func (s *Session) Ask(questions []*Question) error {
	var states []float32
	for _, q := range questions {
		states = append(states, q.States.Values...)
	}
	inputs, width := len(states)/s.of.shape.Width(), s.of.shape.Embd
	soft := make([]float32, inputs*s.of.shape.Tokens*width)
	if err := s.of.adapter.SoftTokens(soft, states, inputs); err != nil {
		return fmt.Errorf("interpret: %w", err)
	}
	var rows []float32
	var counts []int32
	var beams []*beam
	for _, q := range questions {
		own := soft[:q.States.N()*s.of.shape.Tokens*width]
		soft = soft[len(own):]
		if q.Err = checkSoft(own, width); q.Err != nil {
			continue
		}
		suffix := s.of.prompt.Suffix(q.States.Counts)
		for _, token := range suffix {
			if token < 0 { // soft tokens stand in their order
				rows, own = append(rows, own[:width]...), own[width:]
			} else {
				rows = append(rows, s.of.words[token]...)
			}
		}
		counts = append(counts, int32(len(suffix)))
		first := hypothesis{slot: s.free[0]}
		if q.Grammar != nil {
			first.at = q.Grammar.Start()
		}
		beams = append(beams, &beam{Question: q, live: []hypothesis{first}, spare: slices.Clone(s.free[1:q.Width]),
			random: rand.New(rand.NewPCG(s.of.opts.Sampling.Seed, q.Number))})
		s.free = s.free[q.Width:]
	}
	if len(beams) == 0 {
		return nil
	}
	return s.decode(beams, cgo.DecodeBatch{Counts: counts, Rows: rows})
}

// checkSoft refuses soft tokens [n, width] with which an LLM gives no numbers: its layers begin
// with the sum of each one's squares.
func checkSoft(soft []float32, width int) error {
	for row := range slices.Chunk(soft, width) {
		sum := 0.0
		for _, x := range row {
			sum += float64(x) * float64(x)
		}
		if !(sum <= math.MaxFloat32) {
			return errors.New("the adapter makes soft tokens of these states that the LLM cannot compute with; give smaller numbers")
		}
	}
	return nil
}

// Step adds a token to every answer under way. Questions whose Answers are there have left the
// session. After an error it is broken.
func (s *Session) Step() error {
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

// Drop takes a question out of the session before it is answered. One that is not under way is
// ignored.
func (s *Session) Drop(q *Question) error {
	i := slices.IndexFunc(s.beams, func(b *beam) bool { return b.Question == q })
	if i < 0 {
		return nil
	}
	b := s.beams[i]
	s.beams = slices.Delete(s.beams, i, i+1)
	return s.leave(b, b.live)
}

// leave empties the slots of a beam, of which hypotheses hold those that are not spare.
func (s *Session) leave(b *beam, hypotheses []hypothesis) error {
	for _, slot := range slices.Concat(b.spare, slotsOf(hypotheses)) {
		if err := s.of.generator.Reset(slot); err != nil {
			return err
		}
		s.free = append(s.free, slot)
	}
	return nil
}

// say tells of the last token of a free answer. A character that is not complete yet is kept for
// the next one.
func (s *Session) say(b *beam) error {
	var tokens []int32
	var logProbs []float64
	if len(b.live) > 0 {
		tokens, logProbs = b.live[0].tokens, b.live[0].logProbs
	} else {
		tokens, logProbs = b.done[0].Tokens, b.done[0].LogProbs
	}
	text, err := s.of.gguf.Detokenize(tokens, false)
	if err != nil {
		return err
	}
	end := len(text)
	if len(b.live) > 0 { // there may be more to come
		end = whole(text)
	}
	from := min(b.said, end)
	b.Said(text[from:end], logProbs[len(logProbs)-1])
	b.said = end
	return nil
}

// whole is how many bytes of a text there are before a character that has only begun.
func whole(text string) int {
	for at := max(0, len(text)-utf8.UTFMax+1); at < len(text); at++ {
		if utf8.RuneStart(text[at]) && !utf8.FullRuneInString(text[at:]) {
			return at
		}
	}
	return len(text)
}
