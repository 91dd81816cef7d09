package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// longest is the time limit of one command.
const longest = 5 * time.Minute

// Case is one input and what a check has found wrong.
type Case struct {
	Name string
	Dir  string // the folder of the case: commands run in it; not to be written to
	Temp string // an empty folder that is removed afterwards

	binary   string
	readme   string
	failures []string
	imports  int // number of imports
}

// Result is the result of a command.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// stop ends a check.
type stop struct{}

// run calls the check with an empty folder.
func (c *Case) run(check check) (err error) {
	if c.Temp, err = os.MkdirTemp("", "recint-case-"); err != nil {
		return err
	}
	defer os.RemoveAll(c.Temp)
	defer func() {
		if r := recover(); r != nil && r != any(stop{}) {
			panic(r)
		}
	}()
	check(c)
	return nil
}

// Errorf reports something wrong.
func (c *Case) Errorf(format string, args ...any) {
	c.failures = append(c.failures, fmt.Sprintf(format, args...))
}

// Fatalf reports something wrong and ends the check.
func (c *Case) Fatalf(format string, args ...any) {
	c.Errorf(format, args...)
	panic(stop{})
}

// Args returns the arguments of the README's command, which must be a recint command, without the
// parts in brackets.
func (c *Case) Args() []string {
	command, _, _ := strings.Cut(c.field("command"), " [")
	_, after, optional := strings.Cut(c.field("command"), "] ")
	if optional {
		command += " " + after
	}
	words := strings.Fields(command)
	if len(words) < 2 || words[0] != "recint" {
		c.Fatalf("the README's command is not one of recint: %q", command)
	}
	return words[1:]
}

// Recint runs recint in the case's folder. The argument OUT is replaced by a path that does not
// exist yet, see Out.
func (c *Case) Recint(args ...string) Result {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	words := make([]string, len(args))
	for i, word := range args {
		words[i] = word
		if word == "OUT" {
			words[i] = c.Out()
		}
	}
	command := exec.CommandContext(ctx, c.binary, words...)
	command.Dir = c.Dir
	command.Env = append(os.Environ(), "RECINT_HOME="+filepath.Join(c.Temp, "home"))
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		c.Fatalf("recint %s: %v", strings.Join(args, " "), err)
	}
	return Result{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// OK runs recint and ends the check if it fails.
func (c *Case) OK(args ...string) Result {
	r := c.Recint(args...)
	if r.Code != 0 {
		c.Fatalf("exit code %d: %s", r.Code, strings.TrimSpace(r.Stderr))
	}
	return r
}

// Refuses runs recint, which must fail and say all of the words.
func (c *Case) Refuses(args []string, words ...string) {
	r := c.Recint(args...)
	if r.Code == 0 {
		c.Fatalf("exit code 0, want a refusal")
	}
	c.Says(r.Stderr, words...)
}

// Says requires words in a text.
func (c *Case) Says(text string, words ...string) {
	for _, w := range words {
		if !strings.Contains(text, w) {
			c.Errorf("%q is not in %q", w, text)
		}
	}
}

// Out is the path of the argument OUT.
func (c *Case) Out() string { return filepath.Join(c.Temp, "out") }

// File returns the text of a file; a relative path is one of the case's folder.
func (c *Case) File(path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dir, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		c.Fatalf("%v", err)
	}
	return string(text)
}
