package app

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/core/align"
)

// mpirun is the command as a number of processes that MPI connects. The test skips where MPI is
// missing, and says what to install.
func mpirun(t *testing.T, n int, dir string, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath("mpirun"); err != nil {
		t.Skip("there is no mpirun (Debian: apt-get install openmpi-bin)")
	}
	_, file, _, _ := runtime.Caller(0)
	if _, err := os.Stat(filepath.Join(filepath.Dir(file), "../../build/native/lib/librecint-mpi.so")); err != nil {
		t.Skip("librecint-mpi.so was not built: install MPI's headers (Debian: apt-get install libopenmpi-dev) and run make")
	}
	binary, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", strconv.Itoa(n), binary, "--backend", "cpu"},
		in(dir, args)...)
	c := exec.Command("mpirun", args...)
	c.Env = append(os.Environ(), asRecint+"=1")
	c.WaitDelay = time.Minute
	return c
}

// on runs a command on n ranks to its end.
func on(t *testing.T, n int, dir string, args ...string) string {
	t.Helper()
	c := mpirun(t, n, dir, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, out.String())
	}
	return out.String()
}

// Ranks that MPI connects leave the files that one process leaves, and rank 0 alone speaks.
func TestMPI(t *testing.T) {
	alone := tinyCopy(t, "data", "tiny.gguf")
	recommender := with(trainTiny, "--micro-batch", "4", "--epochs", "2")
	adapter := with(alignTiny, "--samples", "80", "--batch", "8", "--pass-positions", "40", "--warm-micro-batch", "64")
	runs(t, alone, recommender...)
	runs(t, alone, adapter...)
	for _, n := range []int{2, 3} {
		shared := tinyCopy(t, "data", "tiny.gguf")
		if out := on(t, n, shared, recommender...); strings.Count(out, "best epoch") != 2 { // validation and test
			t.Errorf("%d ranks say\n%s", n, out)
		}
		if !reflect.DeepEqual(tensors(t, alone, "sasrec.safetensors"), tensors(t, shared, "sasrec.safetensors")) {
			t.Errorf("%d ranks train another recommender", n)
		}
		if out := on(t, n, shared, adapter...); strings.Count(out, "80 samples in") != 1 {
			t.Errorf("%d ranks say\n%s", n, out)
		}
		for _, name := range []string{align.AdapterFile, align.CheckpointFile} {
			if !reflect.DeepEqual(tensors(t, alone, "run/"+name), tensors(t, shared, "run/"+name)) {
				t.Errorf("%d ranks leave another %s", n, name)
			}
		}
	}
}

// When a rank is killed the others stop within 10 seconds and name it, and the run continues from
// the checkpoint on another number of ranks, to the same bits.
func TestMPI_killed(t *testing.T) {
	alone := tinyCopy(t, "data", "tiny.gguf", "sasrec.safetensors")
	adapter := with(alignTiny, "--samples", "1600", "--batch", "8", "--pass-positions", "40", "--warm-steps", "0")
	runs(t, alone, adapter...)
	shared := tinyCopy(t, "data", "tiny.gguf", "sasrec.safetensors")
	c := mpirun(t, 3, shared, adapter...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log := filepath.Join(shared, "run", align.LogFile)
	for lines := 0; lines < 40; time.Sleep(time.Millisecond) {
		content, _ := os.ReadFile(log) // not there at first
		lines = bytes.Count(content, []byte("\n"))
		select {
		case err := <-ended:
			t.Fatalf("ended too early: %v\n%s", err, out.String())
		case <-ctx.Done():
			t.Fatal("no step was logged within a minute")
		default:
		}
	}
	victim := child(t, c.Process.Pid, 2)
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Errorf("mpirun ended with %v, want a failure", err)
		}
	case <-time.After(10 * time.Second):
		c.Process.Kill()
		<-ended
		t.Error("the other ranks still run 10 s after the death of one")
	}
	contains(t, out.String(), "process rank 2 ", "on signal 9", "and saved", "the same command") // the first two in words of mpirun
	on(t, 2, shared, adapter...)
	for _, name := range []string{align.AdapterFile, align.CheckpointFile} {
		if !reflect.DeepEqual(tensors(t, alone, "run/"+name), tensors(t, shared, "run/"+name)) {
			t.Errorf("the run that went on leaves another %s", name)
		}
	}
}

// child finds the process of a rank among the children of mpirun, by the variable that tells it its
// rank.
func child(t *testing.T, mpirun, rank int) *os.Process {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		stat, _ := os.ReadFile(path) // a process may end meanwhile
		_, rest, _ := strings.Cut(string(stat), ") ")
		environment, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(mpirun) &&
			bytes.Contains(environment, []byte("OMPI_COMM_WORLD_RANK="+strconv.Itoa(rank)+"\x00")) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			p, err := os.FindProcess(pid)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	t.Fatalf("mpirun %d has no child of rank %d", mpirun, rank)
	return nil
}
