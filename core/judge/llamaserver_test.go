package judge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// llamaServer is where `make llama-tools` leaves llama.cpp's own server.
const llamaServer = "../../bin/llama-server"

// serve runs the server on a free port until the end of the test or a call of kill, and makes a
// judge of it.
func serve(t *testing.T, model string) (judge *Endpoint, kill func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	listener.Close()
	logs, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(llamaServer, "--model", model, "--host", "127.0.0.1", "--port", port, "--seed", "1", "--threads", "1",
		"--parallel", "2", "--ctx-size", "4096", "--predict", "16")
	server.Stdout, server.Stderr = logs, logs
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = server.Wait()
		close(ended)
	}()
	kill = func() {
		_ = server.Process.Kill()
		<-ended
		logs.Close()
	}
	t.Cleanup(kill)
	for start := time.Now(); !healthy(address); {
		select {
		case <-ended:
		case <-time.After(20 * time.Millisecond):
			if time.Since(start) < time.Minute {
				continue
			}
		}
		said, _ := os.ReadFile(logs.Name())
		t.Fatalf("%s is not healthy:\n%s", llamaServer, said)
	}
	judge, err = NewEndpoint(EndpointParams{URL: "http://" + address + "/v1", Model: "smollm2", Wait: time.Millisecond, Retries: 2})
	if err != nil {
		t.Fatal(err)
	}
	return judge, kill
}

func healthy(address string) bool {
	reply, err := http.Get("http://" + address + "/health")
	if err != nil {
		return false
	}
	reply.Body.Close()
	return reply.StatusCode == http.StatusOK
}

// counting notes the replies to each question.
type counting struct {
	*Endpoint
	mu      sync.Mutex
	replies map[string][]Reply
}

func (c *counting) Ask(ctx context.Context, question string) (Reply, error) {
	reply, err := c.Endpoint.Ask(ctx, question)
	if err == nil {
		c.mu.Lock()
		c.replies[question] = append(c.replies[question], reply)
		c.mu.Unlock()
	}
	return reply, err
}

// The endpoint is a real one, and dies in the middle: its replies are kept, and another continues
// with the rest.
func TestCompare_llamaServer(t *testing.T) {
	model := os.Getenv("RECINT_MODEL")
	if _, err := os.Stat(llamaServer); errors.Is(err, os.ErrNotExist) || model == "" {
		t.Skip("needs llama.cpp's server and SmolLM2 in RECINT_MODEL; `make test-judge` builds and fetches them")
	}
	titles := []string{"Heat", "Kolya", "Fargo", "Toy Story", "Twelve Monkeys", "12 Angry Men", "Terminator 2: Judgment Day", "Emma"}
	var all []Case
	for i := range 6 {
		all = append(all, Case{ID: fmt.Sprint(i), History: []string{titles[i], titles[i+1]}, Oracle: titles[(i+2)%8], Item: titles[(i+5)%8]})
	}
	endpoint, kill := serve(t, model)
	judge := &counting{Endpoint: endpoint, replies: map[string][]Reply{}}
	path := filepath.Join(t.TempDir(), "judge.jsonl")
	opts := Options{Path: path, Parallel: 2, Progress: func(done, _ int) {
		if done == 5 {
			kill()
		}
	}}
	if _, err := Compare(t.Context(), all, judge, opts); err == nil || !strings.Contains(err.Error(), "is a server running there?") {
		t.Fatalf("without a server: error %v", err)
	}
	before := len(judge.replies)
	if data, err := os.ReadFile(path); err != nil || strings.Count(string(data), "\n") != 1+before || before < 5 || before == 12 {
		t.Fatalf("%d replies before the end of the server, in the file %q, %v", before, data, err)
	}
	judge.Endpoint, _ = serve(t, model)
	opts.Progress = nil
	result, err := Compare(t.Context(), all, judge, opts)
	if err != nil {
		t.Fatal(err)
	}
	tokens := 0
	for question, replies := range judge.replies {
		if len(replies) != 1 || replies[0].Tokens < 1 {
			t.Errorf("%q has the replies %+v", question, replies)
		}
		tokens += replies[0].Tokens
	}
	if len(judge.replies) != 12 || result.Tokens != tokens || result.Preferred.N+result.Unclear != 12 {
		t.Errorf("%d questions with %d tokens; the result is %+v", len(judge.replies), tokens, result)
	}
	// Such a small model repeats the options from the first. At any but a low temperature it says
	// something else each time.
	if result.First.Hits < 9 {
		t.Errorf("%+v of %+v", result.First, judge.replies)
	}
	if read, err := Read(path); err != nil || *read != *result {
		t.Errorf("read: %+v, %v", read, err)
	}
}
