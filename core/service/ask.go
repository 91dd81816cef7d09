package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// Question is a state, in one of several forms, to put into words.
type Question struct {
	// History are the items that a user chose. A run that asks for the last item names the last
	// one; a run that asks for the history names all of them.
	History []int32

	// Vector [D] in the space of item embeddings follows the history like one more item, which a
	// run that asks for the last item names. It may be an oracle or any other vector. nil: none.
	Vector []float32

	// User, instead of both, is a user of the data set or of the file of states: the latest items
	// count.
	User string

	// States, instead of all three, are the states in the slots of the run's prompt: the states
	// before and after an item, one state, or that after every item, each [W]; for the item prompt
	// a vector [D].
	States [][]float32
}

// Token is a piece of an answer.
type Token struct {
	Text    string  `json:"text" doc:"The text that it adds, white space included; a character that several tokens share belongs to the last one."`
	LogProb float64 `json:"log_prob" doc:"Among all tokens, in nats."`
}

// Interpret puts the states into words, choosing the likeliest token at each step. It calls said,
// if not nil, for each token as soon as it is generated, in the caller's goroutine, so that a slow
// said delays no other caller.
func (s *Service) Interpret(ctx context.Context, q Question, said func(Token)) (prompt.Answer, error) {
	reading, err := s.InterpretAndRank(ctx, q, 0, said)
	return reading.Words, err
}

// Rank gives up to n of the likeliest answers that name items of the catalogue, the likeliest
// first, found by a beam search of width n.
func (s *Service) Rank(ctx context.Context, q Question, n int) ([]prompt.Answer, error) {
	titles, err := s.ranking(n)
	if err != nil {
		return nil, err
	}
	if err := s.ask(ctx, q, nil, titles); err != nil {
		return nil, err
	}
	return titles.Answers, nil
}

// Reading is the result of InterpretAndRank.
type Reading struct {
	Words  prompt.Answer
	Ranked []prompt.Answer // as of Rank
	Unlike bool            // the states are unlike those that the adapter was trained on, so that the words mean little
}

// InterpretAndRank does both for the same states, which it computes once. It asks two questions,
// and the queue accepts both or neither; if one of them fails, the other is abandoned. An n of 0
// omits the ranking. Words from a closed set follow it, and said is called for all of their tokens
// at the end.
func (s *Service) InterpretAndRank(ctx context.Context, q Question, n int, said func(Token)) (r Reading, err error) {
	words := &ticket{Question: interpret.Question{Width: 1}}
	if words.Grammar, err = s.run.Keeps(); err != nil {
		return r, err
	}
	asked, tell := []*ticket{words}, said
	if words.Grammar != nil {
		tell = nil
	}
	if n != 0 {
		titles, err := s.ranking(n)
		if err != nil {
			return r, err
		}
		asked = append(asked, titles)
	}
	if err := s.ask(ctx, q, tell, asked...); err != nil {
		return r, err
	}
	r.Words = words.Answers[0]
	if n != 0 {
		r.Ranked = asked[1].Answers
	}
	if said != nil && tell == nil {
		for i, piece := range r.Words.Pieces {
			said(Token{piece, r.Words.LogProbs[i]})
		}
	}
	if f := s.familiarity(); f != nil {
		r.Unlike = f.Unlike(words.States)
	}
	return r, nil
}

// ranking is a question for n answers that name items.
func (s *Service) ranking(n int) (*ticket, error) {
	if most := s.run.Interpreter.Slots(); n < 1 || n > most {
		return nil, invalid("%d answers are asked for; ask for 1 to %d", n, most)
	}
	g, err := s.run.Grammar()
	return &ticket{Question: interpret.Question{Grammar: g, Width: n}}, err
}

// Oracle is a recommender's oracle in words.
type Oracle struct {
	run.Oracle
	Vector []float32 `json:"vector" doc:"[D], by whose products with the items' embeddings they are ranked."`
}

// Oracle draws an oracle after a history and puts it into words. History and seed determine it.
func (s *Service) Oracle(ctx context.Context, history []int32, seed uint64) (Oracle, error) {
	if !s.info.Oracles {
		return Oracle{}, invalid("oracles are drawn by a diffusion recommender and named by a run that asks for the last item; this run's "+
			"recommender is %s, and it asks for the %s", s.info.Recommender, s.info.Asks)
	}
	if err := s.checkHistory(history, 1); err != nil {
		return Oracle{}, err
	}
	vector := make([]float32, s.info.ItemWidth)
	if err := s.run.Recommender.Oracles(ctx, vector, [][]int32{history}, seed); err != nil {
		return Oracle{}, closing(err)
	}
	reading, err := s.InterpretAndRank(ctx, Question{History: history, Vector: vector}, run.Places, nil)
	if err != nil {
		return Oracle{}, err
	}
	oracle, err := s.run.Oracle(history, vector, reading.Words, reading.Ranked)
	return Oracle{oracle, vector}, closing(err)
}

// states computes the states in the slots of the prompt.
func (s *Service) states(ctx context.Context, q Question) (prompt.States, error) {
	if q.States != nil {
		return s.given(q)
	}
	if q.User != "" {
		return s.ofUser(ctx, q)
	}
	if err := s.live(); err != nil {
		return prompt.States{}, err
	}
	least := s.info.Shortest
	if q.Vector != nil {
		if !s.run.Task.Title {
			return prompt.States{}, invalid("a vector is named by a run that asks for the last item; this one asks for the %s", s.info.Asks)
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
		if err := s.weights(); err != nil {
			return prompt.States{}, err
		}
		if err := s.checkVector("the vector", q.Vector, s.info.ItemWidth); err != nil {
			return prompt.States{}, err
		}
		if all, err = s.run.Appended(ctx, histories, q.Vector); errors.Is(err, cgo.ErrNumeric) {
			return prompt.States{}, invalid("the state after the vector is not finite; give smaller numbers")
		}
	} else {
		all, err = s.run.States(ctx, s.run.Source, histories)
	}
	if err != nil {
		return prompt.States{}, closing(err)
	}
	return all[0], nil
}

// ofUser computes the states in the slots of the prompt for a user.
func (s *Service) ofUser(ctx context.Context, q Question) (prompt.States, error) {
	if q.History != nil || q.Vector != nil {
		return prompt.States{}, invalid("both a user and a history or vector are given; give one of them")
	}
	past, err := s.run.Latest(q.User)
	if err == nil && len(past) < s.info.Shortest {
		err = fmt.Errorf("user %q has %d items; %d are needed", q.User, len(past), s.info.Shortest)
	}
	if err != nil {
		return prompt.States{}, invalid("%w", err)
	}
	all, err := s.run.States(ctx, s.run.Source, [][]int32{past})
	if err != nil {
		return prompt.States{}, closing(err)
	}
	return all[0], nil
}

// given lays out states from the caller.
func (s *Service) given(q Question) (prompt.States, error) {
	if q.History != nil || q.Vector != nil || q.User != "" {
		return prompt.States{}, invalid("both states and a history, user or vector are given; give one of them")
	}
	slots := s.run.Prompts[0].SlotNames()
	width := adapter.InputWidth(s.run.Source, slots)
	for i, state := range q.States {
		if err := s.checkVector(fmt.Sprintf("state %d", i), state, width); err != nil {
			return prompt.States{}, err
		}
	}
	states, err := s.info.Adapter.Entry().Reads.Given(s.run.Source, slots, q.States)
	if err != nil {
		return prompt.States{}, invalid("%w", err)
	}
	return states, nil
}

// ask queues questions about the same states and waits until all of them are answered (see wait).
func (s *Service) ask(ctx context.Context, q Question, said func(Token), asked ...*ticket) error {
	states, err := s.states(ctx, q)
	if err != nil {
		return err
	}
	if err := s.run.Interpreter.Check(states); err != nil {
		return invalid("%w", err)
	}
	for _, t := range asked {
		t.States = states
	}
	return s.wait(ctx, said, asked...)
}

// wait puts questions into the queue and waits until all of them are answered. said, if not nil,
// receives the tokens of the first one. When wait returns, it abandons questions that have no
// answer.
func (s *Service) wait(ctx context.Context, said func(Token), asked ...*ticket) error {
	together, cancel := context.WithCancel(ctx)
	defer cancel()
	var tokens chan Token
	if said != nil {
		tokens = make(chan Token, s.info.MaxTokens) // has room for a whole answer
		asked[0].Said = func(piece string, logProb float64) { tokens <- Token{piece, logProb} }
	}
	done, now := make(chan error, len(asked)), time.Now()
	for _, t := range asked {
		t.ctx, t.done, t.since = together, done, now
	}
	if err := s.line.join(asked...); err != nil {
		if err == ErrBusy {
			s.count.refused.Add(int64(len(asked)))
		}
		return err
	}
	for left := len(asked); left > 0; {
		select {
		case token := <-tokens:
			said(token)
		case err := <-done:
			if err != nil {
				return err
			}
			left--
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for len(tokens) > 0 {
		said(<-tokens)
	}
	return nil
}
