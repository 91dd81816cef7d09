package service

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/grammar"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// Question is what is to be put into words.
type Question struct {
	// History is what somebody has chosen. A run that asks for the last item says what was chosen last; one that asks for the history
	// says all of it.
	History []int32

	// Vector [D] in the space of item embeddings stands behind the history like one more item, which a run that asks for the last
	// item puts into words. It may be an oracle, or anything else that is to be named. nil: there is none.
	Vector []float32

	// States, in place of both, are what the run's prompt shows: the state before and the one after an item, one state, or that after
	// every item, each [W]; of the item prompt a vector [D].
	States [][]float32
}

// Token is a piece of an answer.
type Token struct {
	Text    string  `json:"text"`     // what it adds, white space included
	LogProb float64 `json:"log_prob"` // among all tokens, in nats
}

// Interpret says in words what the states hold: the likeliest token each time. said, if it is not nil, is called for each token as soon as
// it is there, in the caller's goroutine: it may take its time, which holds up nobody else.
func (s *Service) Interpret(ctx context.Context, q Question, said func(Token)) (interpret.Answer, error) {
	states, err := s.states(ctx, q)
	if err != nil {
		return interpret.Answer{}, err
	}
	answers, err := s.ask(ctx, states, nil, 1, said)
	if err != nil {
		return interpret.Answer{}, err
	}
	return answers[0], nil
}

// Rank gives up to n of the likeliest answers that name items of the catalogue, the likeliest first, found by a beam of that width: n
// sequences are pursued side by side.
func (s *Service) Rank(ctx context.Context, q Question, n int) ([]interpret.Answer, error) {
	if most := s.run.Interpreter.Slots(); n < 1 || n > most {
		return nil, invalid("%d answers are asked for; ask for 1 to %d", n, most)
	}
	states, err := s.states(ctx, q)
	if err != nil {
		return nil, err
	}
	g, err := s.run.Grammar()
	if err != nil {
		return nil, err
	}
	return s.ask(ctx, states, g, n, nil)
}

// Oracle draws DreamRec's oracle after a history and says what it means. It follows from history and seed.
func (s *Service) Oracle(ctx context.Context, history []int32, seed uint64) (run.Oracle, error) {
	if !s.info.Oracles {
		return run.Oracle{}, invalid("oracles are drawn by DreamRec and named by a run that asks for the last item; this run's "+
			"recommender is %s, and it asks for the %s", s.info.Recommender, s.info.Asks)
	}
	if err := s.checkHistory(history, 1); err != nil {
		return run.Oracle{}, err
	}
	vector := make([]float32, s.info.ItemWidth)
	if err := s.run.Recommender.Oracles(ctx, vector, [][]int32{history}, seed); err != nil {
		return run.Oracle{}, closing(err)
	}
	q := Question{History: history, Vector: vector}
	type ranking struct {
		answers []interpret.Answer
		err     error
	}
	ranked := make(chan ranking, 1)
	go func() {
		answers, err := s.Rank(ctx, q, run.Places)
		ranked <- ranking{answers, err}
	}()
	words, err := s.Interpret(ctx, q, nil)
	titles := <-ranked
	if err := cmp.Or(err, titles.err); err != nil {
		return run.Oracle{}, err
	}
	oracle, err := s.run.Oracle(history, vector, words, titles.answers)
	return oracle, closing(err)
}

// states gives what the prompt shows.
func (s *Service) states(ctx context.Context, q Question) (prompt.States, error) {
	if q.States != nil {
		return s.given(q)
	}
	least := s.info.Shortest
	if q.Vector != nil {
		if s.info.Asks != prompt.LastItem {
			return prompt.States{}, invalid("a vector is named by a run that asks for the %s; this one asks for the %s", prompt.LastItem,
				s.info.Asks)
		}
		least--
	}
	if least > 0 || len(q.History) > 0 {
		if err := s.checkHistory(q.History, max(least, 1)); err != nil {
			return prompt.States{}, err
		}
	}
	histories := [][]int32{q.History}
	var all []prompt.States
	var err error
	if q.Vector != nil {
		if err := s.checkVector("the vector", q.Vector, s.info.ItemWidth); err != nil {
			return prompt.States{}, err
		}
		all, err = s.run.Appended(ctx, histories, q.Vector)
	} else {
		all, err = s.run.States(ctx, s.run.Recommender, histories)
	}
	if err != nil {
		return prompt.States{}, closing(err)
	}
	return all[0], nil
}

// given lays out states that the caller has.
func (s *Service) given(q Question) (prompt.States, error) {
	if q.History != nil || q.Vector != nil {
		return prompt.States{}, invalid("states are given beside a history or a vector; give one or the other")
	}
	slots := s.run.Prompts[0].SlotNames()
	width := align.InputWidth(s.run.Recommender, slots)
	for i, state := range q.States {
		if err := s.checkVector(fmt.Sprintf("state %d", i), state, width); err != nil {
			return prompt.States{}, err
		}
	}
	states, err := s.info.Adapter.Given(s.run.Recommender, slots, q.States)
	if err != nil {
		return prompt.States{}, invalid("%w", err)
	}
	return states, nil
}

// ask puts a question into the line and waits for its answers.
func (s *Service) ask(ctx context.Context, states prompt.States, g *grammar.Grammar, width int, said func(Token)) (
	[]interpret.Answer, error) {
	if err := s.run.Interpreter.Check(states); err != nil {
		return nil, invalid("%w", err)
	}
	t := &ticket{Question: interpret.Question{States: states, Grammar: g, Width: width}, ctx: ctx, since: time.Now(),
		done: make(chan error, 1)}
	if said != nil {
		t.tokens = make(chan Token, s.info.MaxTokens)
		t.Said = func(piece string, logProb float64) { t.tokens <- Token{piece, logProb} }
	}
	if err := s.line.join(t); err != nil {
		if err == ErrBusy {
			s.count.refused.Add(1)
		}
		return nil, err
	}
	for {
		select {
		case token := <-t.tokens:
			said(token)
		case err := <-t.done:
			for len(t.tokens) > 0 {
				said(<-t.tokens)
			}
			return t.Answers, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
