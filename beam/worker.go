package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// job is what workers need to answer parts.
type job struct {
	Recint  string   // program
	Args    []string // of recint interpret parts
	Workers int      // processes on each machine
	Threads int      // of a process
}

func (j job) key() string { return fmt.Sprint(j) }

// process is a recint that answers parts.
type process struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	errors  *tail
	parts   int64 // of the job
}

// start starts a process, and waits until it has opened the run.
func (j job) start() (*process, error) {
	p := &process{command: exec.Command(j.Recint, append([]string{"--threads", fmt.Sprint(j.Threads), "interpret", "parts"}, j.Args...)...), errors: &tail{}}
	p.command.Stderr = p.errors
	in, err := p.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.out = in, bufio.NewReader(out)
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("%s cannot be started: %w; name the program with --recint", j.Recint, err)
	}
	var said struct{ Parts int64 }
	if err := p.read(&said); err != nil {
		return nil, err
	}
	p.parts = said.Parts
	return p, nil
}

// part is what a process says of a part that it has answered.
type part struct{ Part, Rows, Wrong int64 }

// answer answers a part. After an error the process has ended.
func (p *process) answer(number int64) (said part, err error) {
	if _, err := fmt.Fprintln(p.in, number); err != nil {
		return said, p.ended(err)
	}
	if err := p.read(&said); err != nil {
		return said, err
	}
	if said.Part != number {
		return said, errors.Join(fmt.Errorf("recint was asked for part %d and answered %d", number, said.Part), p.end())
	}
	return said, nil
}

func (p *process) read(to any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return p.ended(err)
	}
	if err := json.Unmarshal(line, to); err != nil {
		return errors.Join(fmt.Errorf("recint says %q: %w", line, err), p.end())
	}
	return nil
}

// ended explains why a process has ended before its time.
func (p *process) ended(why error) error {
	if err := p.end(); err != nil {
		return err
	}
	return fmt.Errorf("recint has ended: %w: %s", why, p.errors)
}

// end lets a process go.
func (p *process) end() error {
	p.in.Close()
	if err := p.command.Wait(); err != nil {
		return fmt.Errorf("recint has ended: %w: %s", err, p.errors)
	}
	return nil
}

// killed says whether a process has died by a signal.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// tail keeps the end of what is written to it, and shows it on standard error.
type tail struct{ last []byte }

func (t *tail) Write(text []byte) (int, error) {
	const most = 2000
	t.last = append(t.last, text...)
	t.last = bytes.Clone(t.last[max(0, len(t.last)-most):])
	return os.Stderr.Write(text)
}

func (t *tail) String() string { return strings.TrimSpace(string(t.last)) }

// pool is the processes of a job on a machine, which are started when they are needed.
type pool struct {
	job   job
	free  chan *process // nil: one that is to be started
	users int
}

func newPool(j job) *pool {
	p := &pool{job: j, free: make(chan *process, j.Workers)}
	for range j.Workers {
		p.free <- nil
	}
	return p
}

// answer answers a part with the next free process. If that is killed another one takes the part
// over; the runner, which may not try again, need not know.
func (p *pool) answer(number int64) (said part, died int64, err error) {
	one := <-p.free
	defer func() { p.free <- one }()
	died, err = insist(func() (err error) {
		if one == nil {
			if one, err = p.job.start(); err != nil {
				return err
			}
		}
		if said, err = one.answer(number); err != nil {
			one = nil
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("part %d: %w", number, err)
	}
	return said, died, err
}

// insist does something again as long as a process is killed of it, some times.
func insist(do func() error) (died int64, err error) {
	const tries = 11
	for range tries {
		if err = do(); !killed(err) {
			return died, err
		}
		fmt.Fprintln(os.Stderr, "recint-bulk: a process was killed; another one takes its place")
		died++
	}
	return died, err
}

// end lets all processes go.
func (p *pool) end() error {
	var err error
	for range p.job.Workers {
		if one := <-p.free; one != nil {
			err = errors.Join(err, one.end())
		}
	}
	return err
}
