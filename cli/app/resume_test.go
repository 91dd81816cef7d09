package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Trainings that are long enough to be killed on the way: 100 updates with checkpoints at 25, 50
// and 75, and 16 epochs, of which one after the tenth is the best, so that it depends on all of a
// checkpoint.
var (
	longAlign = with(alignTiny, "--batch", "8", "--samples", "800", "--warm-steps", "200")
	longTrain = with(trainTiny, "--width", "64", "--batch", "4", "--epochs", "16", "--patience", "16",
		"--learning-rate", "0.00005")
)

// process is the command as a process of its own.
type process struct {
	*exec.Cmd
	stderr bytes.Buffer
	ended  chan error
}

// start starts the command and waits until the log has at least a number of lines; 0: until it is
// there.
func start(t *testing.T, dir, log string, lines int, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], in(dir, with([]string{"--backend", "cpu", "--threads", "1"}, args...))...),
		ended: make(chan error, 1)}
	p.Env, p.Stderr = append(os.Environ(), asRecint+"=1"), &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	for giveUp := time.After(time.Minute); ; {
		content, err := os.ReadFile(filepath.Join(dir, log))
		if err == nil && bytes.Count(content, []byte("\n")) >= lines {
			return p
		}
		select {
		case err := <-p.ended:
			t.Fatalf("recint %v ended before %s had %d lines: %v\n%s", args, log, lines, err, p.stderr.String())
		case <-giveUp:
			p.Process.Kill()
			<-p.ended
			t.Fatalf("recint %v: %s has no %d lines after a minute\n%s", args, log, lines, p.stderr.String())
		case <-time.After(time.Millisecond):
		}
	}
}

// kill ends the process as kill -9 does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if status, ok := p.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the process was not killed on the way: %v\n%s", p.ProcessState, p.stderr.String())
	}
}

// interrupt presses Ctrl-C. The process has a second to end; the test allows more, since it does
// not measure the machine.
func (p *process) interrupt(t *testing.T, says string) {
	t.Helper()
	began := time.Now()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
		t.Logf("ended %v after the interruption", time.Since(began))
	case <-time.After(5 * time.Second):
		p.Process.Kill()
		<-p.ended
		t.Error("not ended within 5 s")
	}
	if code := p.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	contains(t, p.stderr.String(), says, "the same command", "interrupted")
	if strings.Contains(p.stderr.String(), "context canceled") {
		t.Errorf("%q is a programmer's word", p.stderr.String())
	}
}

func tensors(t *testing.T, dir, name string) []artifact.Tensor {
	t.Helper()
	file, err := artifact.ReadSafetensors(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Tensors) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return file.Tensors
}

// events reads a training's log without its times.
func events(t *testing.T, dir, name string) []align.Event {
	t.Helper()
	var list []align.Event
	for _, line := range strings.Split(strings.TrimSpace(read(t, filepath.Join(dir, name))), "\n") {
		var e align.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		e.Seconds, e.Speed = 0, 0
		list = append(list, e)
	}
	return list
}

// Killed in the warm start, before the first checkpoint of the training, between two and after
// others, or interrupted, a run continues to the adapter and the log of an uninterrupted one.
func TestAlignGoesOn(t *testing.T) {
	log, adapter := filepath.Join("run", align.LogFile), filepath.Join("run", align.AdapterFile)
	whole := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf")
	runs(t, whole, longAlign...)
	for name, stop := range map[string]func(dir string){
		"killed": func(dir string) {
			for _, lines := range []int{0, 3, 30, 40, 60} {
				start(t, dir, log, lines, longAlign...).kill(t)
			}
		},
		"interrupted": func(dir string) {
			start(t, dir, log, 30, longAlign...).interrupt(t, "align: stopped after step ")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf")
			stop(dir)
			if exists(filepath.Join(dir, adapter)) {
				t.Error("there is an adapter before the end")
			}
			runs(t, dir, longAlign...)
			if !reflect.DeepEqual(tensors(t, dir, adapter), tensors(t, whole, adapter)) {
				t.Error("another adapter")
			}
			if got, want := events(t, dir, log), events(t, whole, log); !reflect.DeepEqual(got, want) {
				t.Errorf("another log:\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}

// Interrupted during the warm start, a run is saved as well.
func TestInterruptedWarmStart(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf")
	p := start(t, dir, filepath.Join("run", align.LogFile), 0, with(longAlign, "--warm-steps", "1000000")...)
	p.interrupt(t, "of the warm start and saved: interrupted; the same command continues it")
}

func TestExplain(t *testing.T) {
	for want, err := range map[string]error{
		"a: interrupted; the same command starts again":                      fmt.Errorf("a: %w", context.Canceled),
		"a: interrupted; the same command continues it":                      artifact.Resumable(fmt.Errorf("a: %w", context.Canceled)),
		"engine: no GPU; --backend and --strict-device say where to compute": &cgo.Error{Op: "engine", Code: cgo.Backend, Message: "no GPU"},
	} {
		if got := explain(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// Killed in several epochs, or interrupted, a training continues to the file of one that never
// stopped.
func TestRecommenderGoesOn(t *testing.T) {
	const log, weights = "sasrec.log.jsonl", "sasrec.safetensors"
	whole := tinyCopy(t, "data")
	table, stderr := runs(t, whole, longTrain...)
	if !regexp.MustCompile(`weights of epoch 1\d of 16:`).MatchString(stderr) {
		t.Errorf("the best epoch is too early to test anything: %s", stderr)
	}
	for name, stop := range map[string]func(dir string){
		"killed": func(dir string) {
			for _, lines := range []int{1, 4, 8} {
				start(t, dir, log, lines, longTrain...).kill(t)
			}
		},
		"interrupted": func(dir string) {
			start(t, dir, log, 3, longTrain...).interrupt(t, "recommender: stopped after step ")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tinyCopy(t, "data")
			stop(dir)
			if exists(filepath.Join(dir, weights)) {
				t.Error("there are weights before the end")
			}
			stdout, stderr := runs(t, dir, longTrain...)
			contains(t, stderr, "going on from "+filepath.Join(dir, "sasrec.checkpoint.safetensors"))
			if stdout != table {
				t.Errorf("got\n%s\nwant\n%s", stdout, table)
			}
			if !reflect.DeepEqual(tensors(t, dir, weights), tensors(t, whole, weights)) {
				t.Error("other weights")
			}
		})
	}
}

// An evaluation that was killed while it wrote, at any byte, continues to the file of one that
// never stopped.
func TestEvaluationGoesOn(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf", "run")
	evaluation := []string{"evaluate", "residual", "--run", "@run", "--samples", "12"}
	table, _ := runs(t, dir, evaluation...)
	path := filepath.Join(dir, "run", "residual-12-1.jsonl")
	whole := read(t, path)
	random := rand.New(rand.NewPCG(6, 6))
	for range 12 {
		cut := random.IntN(len(whole))
		write(t, path, []byte(whole[:cut]))
		if stdout, _ := runs(t, dir, evaluation...); stdout != table {
			t.Errorf("cut at byte %d: got\n%s\nwant\n%s", cut, stdout, table)
		}
		if read(t, path) != whole {
			t.Errorf("cut at byte %d: other bytes", cut)
		}
	}
}

// What is wrong with the first row that cannot be answered is said, and a job without any answer
// fails. Its file says it of each row.
func TestRows_wrong(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf", "run")
	const right, wrong = `{"history": ["1", "2"]}` + "\n", `{"history": ["1", "x"]}` + "\n"
	job := func(rows string) []string {
		write(t, filepath.Join(dir, "rows.jsonl"), []byte(rows))
		os.Remove(filepath.Join(dir, "out.jsonl"))
		return []string{"interpret", "--run", "@run", "--in", "@rows.jsonl", "--out", "@out.jsonl"}
	}
	_, stderr := runs(t, dir, job(right)...)
	contains(t, stderr, "1 rows\n")
	_, stderr = runs(t, dir, job(right+wrong+wrong)...)
	contains(t, stderr, "3 rows; 2 of the 3 that were asked about now have an error, the first is row 2: ", `"x"`)
	fails(t, 1, []string{"no row could be answered", "the first is row 1: ", `"x"`}, dir, job(wrong+wrong)...)
	// The first shard has all rows, and the second one none that could be wrong.
	fails(t, 1, []string{"no row"}, dir, with(job(wrong+wrong), "--shard", "1/2")...)
	runs(t, dir, with(job(wrong+wrong), "--shard", "2/2")...)
	fails(t, 1, []string{"no row"}, dir, job(wrong+wrong)...)
	if lines := read(t, filepath.Join(dir, "out.jsonl")); strings.Count(lines, `"error":`) != 2 {
		t.Error(lines)
	}
}

// Answers to a file of rows are those of a job that was never stopped, byte for byte, however often
// the process is killed.
func TestRowsGoOn(t *testing.T) {
	const kills, rows = 20, 4000
	dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf", "run")
	random := rand.New(rand.NewPCG(7, 7))
	var text strings.Builder
	for row := range rows {
		fmt.Fprintf(&text, "{\"id\": %d, \"history\": [\"%d\", \"%d\"]}\n", row, random.IntN(31), random.IntN(30)) // 30 is no item
	}
	write(t, filepath.Join(dir, "rows.jsonl"), []byte(text.String()))
	job := func(out string) []string {
		return []string{"interpret", "--run", "@run", "--in", "@rows.jsonl", "--out", "@" + out, "--side-by-side", "8"}
	}
	runs(t, dir, job("whole.jsonl")...)
	killed := 0
	for lines := 0; killed < kills; killed++ {
		lines += random.IntN(2 * rows / kills / 2)
		if lines >= rows-500 {
			break // it would end before it is killed
		}
		start(t, dir, "killed.jsonl", lines, job("killed.jsonl")...).kill(t)
	}
	if killed < kills/2 {
		t.Errorf("%d kills", killed)
	}
	runs(t, dir, job("killed.jsonl")...)
	whole := read(t, filepath.Join(dir, "whole.jsonl"))
	if read(t, filepath.Join(dir, "killed.jsonl")) != whole || strings.Count(whole, "\n") != rows || !strings.Contains(whole, `no item with the id`) {
		t.Error("other bytes")
	}
}
