package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recinterpreter/recinterpreter/core/interpret"
)

// ticket is an accepted question. Its Answers may be read after done has returned nil.
type ticket struct {
	interpret.Question
	ctx   context.Context
	since time.Time
	done  chan error // receives one error, or nil, and has room for it
}

// line is the queue of questions.
type line struct {
	mu      sync.Mutex
	wake    sync.Cond // of mu: a question was queued, or the line was closed
	waiting []*ticket
	most    int
	linger  time.Duration
	closed  error         // the error of later questions; nil: the line is open
	givenUp *atomic.Int64 // counts abandoned questions
}

func (l *line) init(most int, linger time.Duration, givenUp *atomic.Int64) {
	l.wake.L, l.most, l.linger, l.givenUp = &l.mu, most, linger, givenUp
}

// join appends questions, all or none of them.
func (l *line) join(asked ...*ticket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed != nil {
		return l.closed
	}
	if len(l.waiting)+len(asked) > l.most {
		l.leave()
	}
	if len(l.waiting)+len(asked) > l.most {
		return ErrBusy
	}
	l.waiting = append(l.waiting, asked...)
	l.wake.Signal()
	return nil
}

// leave removes questions whose callers no longer wait.
func (l *line) leave() {
	before := len(l.waiting)
	l.waiting = slices.DeleteFunc(l.waiting, func(t *ticket) bool { return t.ctx.Err() != nil })
	l.givenUp.Add(int64(before - len(l.waiting)))
}

// take removes and returns the questions at the front for which there are slots, or none while it
// is better to wait for others. If none is under way, it blocks until there are some. more is false
// when the line is closed and empty.
func (l *line) take(free, live int) (taken []*ticket, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave()
	for live == 0 && len(l.waiting) == 0 && l.closed == nil {
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
	return taken, l.closed == nil || n > 0 || live > 0
}

// close refuses further questions with the given error.
func (l *line) close(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = cmp.Or(l.closed, reason)
	l.wake.Signal()
}

// clear removes all waiting questions.
func (l *line) clear() (waiting []*ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave()
	waiting, l.waiting = l.waiting, nil
	return waiting
}

// reason is the error of later questions; nil: the line is open.
func (l *line) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *line) length() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// counters are the counts that Stats returns.
type counters struct{ live, batches, asked, answered, givenUp, failed, refused, tokens atomic.Int64 }

// Stats are numbers of questions to the LLM; those from Batches on only grow.
type Stats struct {
	Waiting, Live int64 // in the queue, and being answered
	Batches       int64 // passes of prompts through the LLM
	Asked         int64 // questions in these passes
	Answered      int64
	GivenUp       int64 // with a context that ended
	Failed        int64
	Refused       int64 // for which the queue had no room, or whose states are too large for the LLM
	Tokens        int64 // of answers
}

// Stats returns the current numbers.
func (s *Service) Stats() Stats {
	c := &s.count
	return Stats{Waiting: int64(s.line.length()), Live: c.live.Load(), Batches: c.batches.Load(), Asked: c.asked.Load(),
		Answered: c.answered.Load(), GivenUp: c.givenUp.Load(), Failed: c.failed.Load(), Refused: c.refused.Load(),
		Tokens: c.tokens.Load()}
}

// work answers questions until the line is closed and empty, or the LLM fails. No other goroutine
// uses the run's interpreter.
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
		if err != nil { // the session is broken, by its questions or by the machine; later questions get a new one
			s.count.live.Add(-int64(len(live)))
			s.fail(live, err)
			live = nil
			if session, err = s.run.Interpreter.Session(); err != nil {
				err = fmt.Errorf("service: the LLM has failed; open the run again: %w", err)
				s.line.close(err)
				s.fail(s.line.clear(), err)
				return
			}
		}
		runtime.Gosched() // otherwise callers on a busy machine would see tokens only when their answer is complete
	}
}

// fail ends questions with an error.
func (s *Service) fail(asked []*ticket, err error) {
	s.count.failed.Add(int64(len(asked)))
	for _, t := range asked {
		t.done <- err
	}
}

// step asks the taken questions and advances all live ones by a token.
func (s *Service) step(session *interpret.Session, taken []*ticket, live *[]*ticket) error {
	if len(taken) > 0 {
		questions := make([]*interpret.Question, len(taken))
		for i, t := range taken {
			questions[i] = &t.Question
		}
		if err := session.Ask(questions); err != nil {
			return err
		}
		n := 0
		for _, q := range questions {
			if q.Err == nil {
				n++
			}
		}
		if n > 0 {
			s.count.batches.Add(1)
			s.count.asked.Add(int64(n))
		}
	}
	if err := session.Step(); err != nil {
		return err
	}
	var problem error
	*live = slices.DeleteFunc(*live, func(t *ticket) bool {
		ended := t.ctx.Err()
		if t.Err == nil && t.Answers == nil && ended == nil {
			return false
		}
		s.count.live.Add(-1) // counted before the caller continues
		switch {
		case t.Err != nil:
			s.count.refused.Add(1)
			t.done <- invalid("%w", t.Err)
		case t.Answers != nil:
			s.count.answered.Add(1)
			for _, a := range t.Answers {
				s.count.tokens.Add(int64(len(a.Tokens)))
			}
			t.done <- nil
		default:
			s.count.givenUp.Add(1)
			problem = errors.Join(problem, session.Drop(&t.Question))
			t.done <- ended
		}
		return true
	})
	return problem
}
