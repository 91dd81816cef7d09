package service

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recinterpreter/recinterpreter/core/interpret"
)

// ticket is a question that was accepted. Its Answers may be read when done has given nil.
type ticket struct {
	interpret.Question
	ctx    context.Context
	since  time.Time
	tokens chan Token // has room for a whole answer; nil: nobody listens
	done   chan error // has room for one, which comes once
}

// line is where questions wait.
type line struct {
	mu      sync.Mutex
	wake    sync.Cond // of mu: something has come, or the line was closed
	waiting []*ticket
	most    int
	linger  time.Duration
	closed  bool
}

func (l *line) init(most int, linger time.Duration) {
	l.wake.L, l.most, l.linger = &l.mu, most, linger
}

// join puts a question at the end.
func (l *line) join(t *ticket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if len(l.waiting) >= l.most {
		l.leave()
	}
	if len(l.waiting) >= l.most {
		return ErrBusy
	}
	l.waiting = append(l.waiting, t)
	l.wake.Signal()
	return nil
}

// leave takes out questions whose callers wait no more.
func (l *line) leave() {
	l.waiting = slices.DeleteFunc(l.waiting, func(t *ticket) bool { return t.ctx.Err() != nil })
}

// take gives the questions at the front for which there are slots, or none while it is better to wait for others. If nothing is under
// way it waits for some. more is false when none will come.
func (l *line) take(free, live int) (taken []*ticket, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave()
	for live == 0 && len(l.waiting) == 0 && !l.closed {
		l.wake.Wait()
		l.leave()
	}
	if len(l.waiting) < live && len(l.waiting) > 0 && time.Since(l.waiting[0].since) < l.linger {
		return nil, true
	}
	n := 0
	for n < len(l.waiting) && l.waiting[n].Width <= free {
		free -= l.waiting[n].Width
		n++
	}
	taken = slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	return taken, !l.closed || n > 0 || live > 0
}

// close lets nobody join any more.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake.Signal()
}

func (l *line) length() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// counters are what Stats tells.
type counters struct{ live, batches, asked, answered, givenUp, failed, refused, tokens atomic.Int64 }

// Stats are numbers of questions to the LLM; those from Batches on only grow.
type Stats struct {
	Waiting, Live int64 // in the queue, and being answered
	Batches       int64 // passes of prompts through the LLM
	Asked         int64 // questions in these passes
	Answered      int64
	GivenUp       int64 // whose context ended
	Failed        int64
	Refused       int64 // for which the queue had no room
	Tokens        int64 // of answers
}

// Stats counts.
func (s *Service) Stats() Stats {
	c := &s.count
	return Stats{Waiting: int64(s.line.length()), Live: c.live.Load(), Batches: c.batches.Load(), Asked: c.asked.Load(),
		Answered: c.answered.Load(), GivenUp: c.givenUp.Load(), Failed: c.failed.Load(), Refused: c.refused.Load(),
		Tokens: c.tokens.Load()}
}

// work answers questions until the line is closed and empty. Nobody else touches the run's interpreter.
func (s *Service) work(session *interpret.Session) {
	defer close(s.done)
	var live []*ticket
	for {
		taken, more := s.line.take(session.Room(1), len(live))
		if !more {
			return
		}
		live = append(live, taken...)
		s.count.live.Add(int64(len(taken)))
		err := s.step(session, taken, &live)
		if err != nil { // the questions have broken it, or the machine has; those that follow begin anew
			s.count.failed.Add(int64(len(live)))
			s.count.live.Add(-int64(len(live)))
			for _, t := range live {
				t.done <- err
			}
			live = nil
			if fresh, again := s.run.Interpreter.Session(); again == nil {
				session = fresh
			}
		}
	}
}

// step asks what was taken and moves everything that is live on by a token.
func (s *Service) step(session *interpret.Session, taken []*ticket, live *[]*ticket) error {
	if len(taken) > 0 {
		questions := make([]*interpret.Question, len(taken))
		for i, t := range taken {
			questions[i] = &t.Question
		}
		s.count.batches.Add(1)
		s.count.asked.Add(int64(len(taken)))
		if err := session.Ask(questions); err != nil {
			return err
		}
	}
	if err := session.Step(); err != nil {
		return err
	}
	var problem error
	*live = slices.DeleteFunc(*live, func(t *ticket) bool {
		ended := t.ctx.Err()
		if t.Answers == nil && ended == nil {
			return false
		}
		s.count.live.Add(-1)
		if t.Answers == nil {
			s.count.givenUp.Add(1)
			problem = errors.Join(problem, session.Drop(&t.Question))
			t.done <- ended
			return true
		}
		s.count.answered.Add(1)
		for _, a := range t.Answers {
			s.count.tokens.Add(int64(len(a.Tokens)))
		}
		t.done <- nil
		return true
	})
	return problem
}
