package app

import (
	"bytes"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/core/align"
)

// Where there is no terminal, a line comes at most every ten seconds; the last state is not lost,
// and notes come at once.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, "counting")
	says := func(want string) {
		t.Helper()
		if out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
		out.Reset()
	}
	p.to(1, 9, "sheep")
	p.to(2, 9, "sheep")
	says("")
	p.note("a wolf")
	says("a wolf\n")
	p.next = time.Now().Add(-time.Millisecond) // ten seconds are over
	p.to(3, 9, "sheep")
	says("counting: 3 of 9 sheep\n")
	p.to(4, 9, "sheep")
	says("")
	p.end()
	says("counting: 4 of 9 sheep\n")
	p.end()
	says("")
}

func TestShowEvent(t *testing.T) {
	for want, e := range map[string]align.Event{
		"warm start: 20 of 100 steps, error 0.500\n": {Phase: "warm start", Step: 20, Plan: 100, Loss: 0.5},
		"training: 7 of 50 steps, loss 2.250, 30.0 samples/s\n": {Phase: "training", Step: 7, Plan: 50, Loss: 2.25,
			Speed: 30},
		"training: 3 steps, loss 2.000, 1.0 samples/s\n":    {Phase: "training", Step: 3, Loss: 2, Speed: 1}, // no plan yet
		"step 4: validation loss 1.500 after 2.0 minutes\n": {Phase: "validation", Step: 4, Loss: 1.5, Seconds: 120},
		"step 5 was skipped: the gradient is not finite\n":  {Phase: "skipped", Step: 5, Problem: "the gradient is not finite"},
	} {
		var out bytes.Buffer
		p := newProgress(&out, "")
		showEvent(p, e)
		p.end()
		if out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	}
}
