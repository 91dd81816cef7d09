package app

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// beamJob is recint bulk. The test skips where its program was not built.
func beamJob(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	program := os.Getenv("RECINT_BULK")
	if program == "" {
		t.Skip("make test-bulk builds recint-bulk, which this needs")
	}
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, in(dir, with([]string{"--recint", self, "--threads", "1", "--run", "@run"}, args...))...)
	c.Env = append(os.Environ(), asRecint+"=1")
	c.WaitDelay = time.Minute
	return c
}

// files gives the content of all files of a folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all[e.Name()] = read(t, filepath.Join(dir, e.Name()))
	}
	return all
}

// children gives the processes that a process has started.
func children(t *testing.T, parent int) (pids []int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// Three workers, of which one is killed again and again while the job runs, and a job that is
// itself killed and goes on, leave the files that one worker leaves. RECINT_BULK_ROWS sets the
// number of rows.
func TestBulk(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("workers are found in /proc, which Linux has")
	}
	const kills = 10
	rows := 20_000
	if text := os.Getenv("RECINT_BULK_ROWS"); text != "" {
		var err error
		if rows, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf", "run")
	random := rand.New(rand.NewPCG(7, 7))
	var text bytes.Buffer
	for row := range rows {
		fmt.Fprintf(&text, "{\"id\": %d, \"history\": [\"%d\", \"%d\"]}\n", row, random.IntN(31), random.IntN(30)) // 30 is no item
	}
	write(t, filepath.Join(dir, "rows.jsonl"), text.Bytes())
	job := func(out string, workers string) *exec.Cmd {
		return beamJob(t, dir, "--in", "@rows.jsonl", "--out", "@"+out, "--workers", workers, "--side-by-side", "32")
	}
	done := func(c *exec.Cmd, says string) {
		t.Helper()
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), says) {
			t.Fatalf("%v: %v\n%s, want %q", c.Args, err, out, says)
		}
	}
	began := time.Now()
	done(job("one", "1"), fmt.Sprintf("answered now: %d rows", rows))
	alone := time.Since(began)
	want := files(t, filepath.Join(dir, "one"))
	if len(want) < rows/2048 {
		t.Errorf("%d files", len(want))
	}

	// Any worker is killed, while there are at least two.
	c := job("three", "3")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var killed atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	killer := make(chan struct{})
	go func() {
		defer close(killer)
		for ctx.Err() == nil && killed.Load() < kills {
			time.Sleep(alone / (4 * kills))
			if all := children(t, c.Process.Pid); len(all) >= 2 {
				if p, err := os.FindProcess(all[random.IntN(len(all))]); err == nil && p.Kill() == nil {
					killed.Add(1)
				}
			}
		}
	}()
	err := c.Wait()
	stop()
	<-killer
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if killed.Load() < kills {
		t.Errorf("%d kills", killed.Load())
	}
	same := func(name string) {
		t.Helper()
		got := files(t, filepath.Join(dir, name))
		for file, content := range got {
			if strings.HasPrefix(file, ".") { // what a killed worker was writing
				delete(got, file)
			} else if want[file] != content {
				t.Errorf("%s/%s has other bytes", name, file)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s has %d files, want %d", name, len(got), len(want))
		}
	}
	same("three")

	// The whole job is killed, and goes on.
	c = job("again", "2")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for giveUp := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if all, _ := filepath.Glob(filepath.Join(dir, "again", "*.parquet")); len(all) > 0 || time.Now().After(giveUp) {
			break
		}
	}
	workers := children(t, c.Process.Pid)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	for _, pid := range workers {
		if p, err := os.FindProcess(pid); err == nil {
			p.Kill()
		}
	}
	done(job("again", "2"), "rows")
	same("again")

	t.Run("flink", func(t *testing.T) {
		server := os.Getenv("RECINT_FLINK")
		if server == "" {
			missing := "a job server: start java -jar beam-runners-flink-1.19-job-server-VERSION.jar, which Apache Beam publishes, and name it with RECINT_FLINK=HOST:PORT"
			if _, err := exec.LookPath("java"); err != nil {
				missing = "Java, and " + missing
			}
			t.Skip("not run on Flink, which needs " + missing)
		}
		c := job("flink", "2")
		c.Args = with(c.Args, "--runner", "flink", "--endpoint", server, "--environment_type", "LOOPBACK")
		done(c, "rows")
		same("flink")
	})

	// What cannot be done is said, and nothing is tried again.
	bad := beamJob(t, dir, "--in", "@none", "--out", "@none.out")
	if out, err := bad.CombinedOutput(); err == nil || !strings.Contains(string(out), "no such file") {
		t.Errorf("no input: %v\n%s", err, out)
	}
	if want["dead-letters-000000.jsonl"] == "" {
		t.Error("no dead letters")
	}
}
