package service

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// until waits until the line has a number of questions.
func (l *line) until(t *testing.T, waiting int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); l.length() != waiting; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d are waiting, want %d", l.length(), waiting)
		}
	}
}

// bare is a service with a line and no worker.
func bare(most int) *Service {
	s := &Service{}
	s.line.init(most, -1, &s.count.givenUp)
	return s
}

func question(width int) *ticket {
	t := &ticket{}
	t.Width = width
	return t
}

// Questions that belong together find room together or not at all.
func TestWait_together(t *testing.T) {
	s := bare(3)
	ctx, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if err := s.wait(ctx, nil, question(1)); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	s.line.until(t, 2)
	if err := s.wait(t.Context(), nil, question(1), question(3)); !errors.Is(err, ErrBusy) || s.line.length() != 2 {
		t.Errorf("%v, and %d are waiting", err, s.line.length())
	}
	leave() // which makes room
	all.Wait()
	failed, waited := errors.New("this one fails"), make(chan error, 1)
	go func() { waited <- s.wait(t.Context(), nil, question(1), question(3)) }()
	s.line.until(t, 2)
	taken, _ := s.line.take(5, 0)
	if len(taken) != 2 {
		t.Fatalf("%d are taken", len(taken))
	}
	taken[1].done <- failed
	if err := <-waited; err != failed {
		t.Error(err)
	}
	if taken[0].ctx.Err() == nil {
		t.Error("the other one goes on")
	}
	if stats := s.Stats(); stats.Refused != 2 || stats.GivenUp != 2 || stats.Waiting != 0 {
		t.Errorf("%+v", stats)
	}
}

// When a line ends for good, all waiting questions get the reason.
func TestLine_clear(t *testing.T) {
	s, broken := bare(5), errors.New("broken")
	waited := make(chan error, 1)
	go func() { waited <- s.wait(t.Context(), nil, question(1), question(2)) }()
	s.line.until(t, 2)
	s.line.close(broken)
	s.fail(s.line.clear(), broken)
	if err := <-waited; err != broken {
		t.Error(err)
	}
	s.line.close(ErrClosed)
	if err := s.wait(t.Context(), nil, question(1)); err != broken || s.Stats().Failed != 2 {
		t.Errorf("%v, %+v", err, s.Stats())
	}
}
