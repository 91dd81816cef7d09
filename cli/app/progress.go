package app

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// lineEvery is the interval of progress lines without a terminal.
const lineEvery = 10 * time.Second

// progress shows the progress of work: a bar on a terminal, occasional plain lines elsewhere.
type progress struct {
	w    io.Writer
	what string
	bar  *progressbar.ProgressBar // nil: plain lines
	next time.Time                // of the next line
	last string                   // the next line, not yet written
}

func newProgress(w io.Writer, what string) *progress {
	p := &progress{w: w, what: what, next: time.Now().Add(lineEvery)}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.bar = progressbar.NewOptions(1, progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(20),
			progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetDescription(what))
	}
	return p
}

// to records that done of total is finished; a total below done is not known yet. detail may add
// figures.
func (p *progress) to(done, total int, detail string) {
	if p.bar != nil {
		if most := max(done, total); p.bar.GetMax() != most {
			p.bar.ChangeMax(most)
		}
		p.bar.Describe(p.what + " " + detail)
		p.bar.Set(done)
		return
	}
	p.last = fmt.Sprintf("%s: %d of %d %s", p.what, done, total, detail)
	if total < done {
		p.last = fmt.Sprintf("%s: %d %s", p.what, done, detail)
	}
	if now := time.Now(); !now.Before(p.next) {
		p.flush()
		p.next = now.Add(lineEvery)
	}
}

// note writes a separate line.
func (p *progress) note(text string) {
	if p.bar != nil {
		p.bar.Clear()
	}
	fmt.Fprintln(p.w, text)
}

func (p *progress) flush() {
	if p.last != "" {
		fmt.Fprintln(p.w, p.last)
		p.last = ""
	}
}

// end removes the bar before other output.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Clear()
		return
	}
	p.flush()
}
