package serve

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

// load is one kind of request at a rate per second.
type load struct {
	name   string
	rate   int
	target vegeta.Target
}

func loads(url string, ids []string) []load {
	history := func(n int) string { return `{"history":["` + strings.Join(ids[:n], `","`) + `"]}` }
	post := func(path, body string, header ...string) vegeta.Target {
		t := vegeta.Target{Method: "POST", URL: url + path, Body: []byte(body), Header: http.Header{"Content-Type": {"application/json"}}}
		if len(header) > 0 {
			t.Header.Set("Accept", header[0])
		}
		return t
	}
	return []load{
		{"recommend", 100, post("/v1/recommend", history(10))},
		{"states", 50, post("/v1/states", history(4))},
		{"items", 20, vegeta.Target{Method: "GET", URL: url + "/v1/items?query=the"}},
		{"interpret", 2, post("/v1/interpret", history(3))},
		{"interpret, streamed", 2, post("/v1/interpret", history(5), "text/event-stream")},
		{"metrics", 1, vegeta.Target{Method: "GET", URL: url + "/metrics"}},
	}
}

// TestSoak puts a mixed load on a server for RECINT_SOAK, such as 30s, and wants no errors and,
// once a third of the time has passed, memory that does not grow by more than 2 %. RECINT_SOAK_RUN
// names the folder of another run than a tiny one.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("RECINT_SOAK"))
	if err != nil {
		t.Skip("RECINT_SOAK says for how long; make soak sets it")
	}
	runs := []Run{{"residual", folders["residual"]}}
	if dir := os.Getenv("RECINT_SOAK_RUN"); dir != "" {
		runs[0].Dir = dir
	}
	opts := Options{Service: usual, Log: slog.New(slog.DiscardHandler)}
	opts.Service.Engine = testllm.Engine(t)
	s, err := New(runs, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	url, _ := listen(t, s)
	var ids []string
	for item := range int32(10) {
		ids = append(ids, s.runs.held["residual"].Describe(item).ID)
	}

	var all sync.WaitGroup
	report := make([]string, 6)
	for i, l := range loads(url, ids) {
		all.Go(func() {
			transport := &http.Transport{IdleConnTimeout: idle / 2, MaxIdleConnsPerHost: 100}
			defer transport.CloseIdleConnections()
			attacker := vegeta.NewAttacker(vegeta.Client(&http.Client{Transport: transport}))
			rate := vegeta.Rate{Freq: l.rate, Per: time.Second}
			var m vegeta.Metrics
			for result := range attacker.Attack(vegeta.NewStaticTargeter(l.target), rate, length, l.name) {
				m.Add(result)
			}
			m.Close()
			report[i] = fmt.Sprintf("%-20s %7d requests, p50 %8v, p95 %8v, p99 %8v, longest %8v", l.name, m.Requests, round(m.Latencies.P50),
				round(m.Latencies.P95), round(m.Latencies.P99), round(m.Latencies.Max))
			if m.Success < 1 {
				t.Errorf("%s: %v %v", l.name, m.StatusCodes, m.Errors)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	grown := make(chan string, 1)
	go func() { grown <- watch(ctx, t, length) }()
	all.Wait()
	cancel()
	t.Log("\n" + strings.Join(report, "\n") + "\n" + <-grown)
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// watch follows the memory of the process, driver included, and compares the last third of the time
// with the second.
func watch(ctx context.Context, t *testing.T, length time.Duration) string {
	begin, most := time.Now(), [3]float64{}
	for ctx.Err() == nil {
		third := min(int(3*time.Since(begin)/length), 2)
		most[third] = max(most[third], resident(t))
		time.Sleep(100 * time.Millisecond)
	}
	grown := 100 * (most[2]/most[1] - 1)
	if grown > 2 {
		t.Errorf("memory has grown by %.1f %%", grown)
	}
	return fmt.Sprintf("memory at most %.1f, %.1f and %.1f MB in the three thirds of the time, %+.1f %%; %d goroutines", most[0],
		most[1], most[2], grown, runtime.NumGoroutine())
}

// resident is the memory of the process in MB.
func resident(t *testing.T) float64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / 1e6
}
