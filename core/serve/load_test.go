package serve

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/core/service"
)

// ask posts a body and gives status and answer. Each call has a client of its own to leave no
// connection behind.
func ask(ctx context.Context, url, body string) (status int, text string, header http.Header, err error) {
	r, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return 0, "", nil, err
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	return response.StatusCode, string(all), response.Header, err
}

const twoFilms = `{"history":["film-1","film-8"]}`

// Five times as many clients as there is room for ask again and again, until many were answered and
// many refused. No more than there is room for are under way or wait, which bounds their time; the
// rest are told to come again, and nothing else happens.
func TestOverload(t *testing.T) {
	const slots, queue, answers, refusals = 5, 5, 100, 50
	s := open(t, Options{Service: service.Options{Slots: slots, Queue: queue}}, "residual")
	url, _ := listen(t, s)
	var answered, refused atomic.Int64
	var all sync.WaitGroup
	for range 5 * (slots + queue) {
		all.Go(func() {
			for answered.Load() < answers || refused.Load() < refusals {
				status, text, header, err := ask(t.Context(), url+"/v1/interpret", twoFilms)
				if now := s.runs.held["residual"].Stats(); now.Waiting > queue || now.Live > slots {
					t.Errorf("%d wait and %d are under way, with room for %d and %d", now.Waiting, now.Live, queue, slots)
				}
				switch {
				case err != nil:
					t.Error(err)
					return
				case status == http.StatusOK:
					answered.Add(1)
				case status == http.StatusTooManyRequests && header.Get("Retry-After") == "1":
					refused.Add(1)
					time.Sleep(10 * time.Millisecond)
				default:
					t.Errorf("%d %s", status, text)
				}
			}
		})
	}
	all.Wait()
}

// A log that cannot be written, as on a full disk, delays no request.
func TestLogFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	s := open(t, Options{Service: usual, Log: slog.New(slog.NewJSONHandler(full, nil))}, "residual")
	url, stop := listen(t, s)
	for body, want := range map[string]int{twoFilms: http.StatusOK, `{"history":["film-99","film-1"]}`: http.StatusBadRequest} {
		if status, text, _, err := ask(t.Context(), url+"/v1/interpret", body); err != nil || status != want {
			t.Errorf("%d %s %v", status, text, err)
		}
	}
	if err := s.Reload(); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if w := call(t, s, "GET", "/metrics", ""); !strings.Contains(w.Body.String(), `recint_requests_total{route="POST /v1/interpret",status="200"} 1`) {
		t.Error("the metrics have lost a request")
	}
}

// A server is not ready while a run of it answers no questions, and is again when that run was
// loaded anew.
func TestReady(t *testing.T) {
	s := open(t, Options{Service: usual}, "residual", "recovery")
	if w := call(t, s, "GET", "/readyz", ""); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if err := s.runs.held["recovery"].Close(); err != nil {
		t.Fatal(err)
	}
	if w := call(t, s, "GET", "/readyz", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "run recovery") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if w := call(t, s, "GET", "/readyz", ""); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// More requests at a time than the server takes are refused, whatever they ask for.
func TestInFlight(t *testing.T) {
	s := open(t, Options{Service: usual, InFlight: 1}, "residual")
	s.flying <- struct{}{}
	if w := call(t, s, "POST", "/v1/states", twoFilms); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	<-s.flying
	if w := call(t, s, "POST", "/v1/states", twoFilms); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTimeout(t *testing.T) {
	s := open(t, Options{Service: usual, Timeout: time.Microsecond}, "residual")
	if w := call(t, s, "POST", "/v1/interpret", twoFilms); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// When the server stops under load, each request that it has accepted is answered; the others find
// no server.
func TestStopUnderLoad(t *testing.T) {
	s := open(t, Options{Service: usual}, "residual")
	url, stop := listen(t, s)
	var answered atomic.Int64
	var all sync.WaitGroup
	ended := make(chan struct{})
	for range 16 {
		all.Go(func() {
			for {
				status, text, _, err := ask(context.Background(), url+"/v1/interpret", twoFilms)
				switch {
				case errors.Is(err, syscall.ECONNREFUSED), err != nil && isClosed(ended):
					return // a connection that was open but had no request yet is closed without an answer
				case err != nil:
					t.Error(err)
					return
				case status != http.StatusOK:
					t.Errorf("%d %s", status, text)
					return
				}
				answered.Add(1)
			}
		})
	}
	until(t, "answers", func() bool { return answered.Load() > 10 })
	close(ended)
	if err := stop(); err != nil {
		t.Error(err)
	}
	all.Wait()
	if stats := s.runs.held["residual"].Stats(); stats.Answered != answered.Load() || stats.GivenUp+stats.Failed != 0 {
		t.Errorf("%d answers have arrived, %+v", answered.Load(), stats)
	}
	if w := call(t, s, "GET", "/readyz", ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("ready after the end: %d", w.Code)
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Reloading interrupts no request; a run with missing or broken files continues as before.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(folders["residual"]))); err != nil {
		t.Fatal(err)
	}
	was := folders["residual"]
	folders["residual"] = filepath.Join(dir, "run")
	s := open(t, Options{Service: usual}, "residual")
	folders["residual"] = was
	url, _ := listen(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var answered atomic.Int64
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				if status, text, _, err := ask(t.Context(), url+"/v1/interpret", twoFilms); err != nil || status != http.StatusOK {
					t.Errorf("%d %s %v", status, text, err)
				}
				answered.Add(1)
			}
		})
	}
	for range 2 {
		before, count := s.runs.held["residual"], answered.Load()
		if err := s.Reload(); err != nil {
			t.Error(err)
		}
		if s.runs.held["residual"] == before {
			t.Error("it is the same service as before")
		}
		until(t, "answers of the new one", func() bool { return answered.Load() > count+8 })
	}
	if err := os.RemoveAll(dir); err != nil { // files that are open or in memory are still read
		t.Fatal(err)
	}
	count := answered.Load()
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "continues as before") {
		t.Errorf("without a folder: %v", err)
	}
	until(t, "more answers", func() bool { return answered.Load() > count+8 })
	cancel()
	all.Wait()
}

// The LLM stops working for clients that leave in the middle of a stream. It may be done before one
// of them has left, so several do.
func TestClientLeaves(t *testing.T) {
	s := open(t, Options{Service: service.Options{Slots: 5, MaxTokens: 250}}, "residual")
	address, _ := listen(t, s)
	request := "POST /v1/interpret HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n" +
		"Content-Length: 31\r\n\r\n" + twoFilms
	until(t, "a question to be given up", func() bool {
		connection, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		if _, err := connection.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(connection)
		for line := ""; !strings.HasPrefix(line, "data: "); {
			if line, err = lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return s.runs.held["residual"].Stats().GivenUp > 0
	})
	if w := call(t, s, "POST", "/v1/states", twoFilms); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// unread is a client that takes nothing.
type unread struct {
	http.ResponseWriter
	writes atomic.Int64
}

func (u *unread) SetWriteDeadline(time.Time) error { return nil }
func (u *unread) FlushError() error                { return os.ErrDeadlineExceeded }
func (u *unread) Write(b []byte) (int, error)      { u.writes.Add(1); return len(b), nil }
func (u *unread) WriteHeader(int)                  {}
func (u *unread) Header() http.Header              { return http.Header{} }

// A reader that is too slow for the deadline of an event ends its own stream, and delays no
// request.
func TestSlowReader(t *testing.T) {
	s := open(t, Options{Service: service.Options{Slots: 5, MaxTokens: 250}}, "residual")
	r, err := http.NewRequest("POST", "http://localhost/v1/interpret", strings.NewReader(twoFilms))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	w := &unread{}
	s.Handler().ServeHTTP(w, r)
	if w.writes.Load() != 1 {
		t.Errorf("%d events were written to a client that reads none", w.writes.Load())
	}
	until(t, "the question to be given up", func() bool { return s.runs.held["residual"].Stats().GivenUp == 1 })
}

// Whatever a request holds, it is answered or refused as the description says; nothing fails or
// panics.
func fuzz(f *testing.F, method, path string, seeds ...string) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	s := open(f, Options{Service: service.Options{MaxTokens: 2}}, "residual")
	f.Fuzz(func(t *testing.T, text string) {
		target, body := path, text
		if method == "GET" {
			target, body = path+"?"+url.PathEscape(text), ""
		}
		if w := call(t, s, method, target, body); w.Code >= 500 {
			t.Errorf("%q: %d %s", text, w.Code, w.Body)
		}
	})
}

func FuzzStates(f *testing.F) {
	fuzz(f, "POST", "/v1/states", `{"history":["film-1"]}`, `{"run":"","history":null}`, `[`, `null`)
}
func FuzzRecommend(f *testing.F) {
	fuzz(f, "POST", "/v1/recommend", `{"history":["film-1"],"k":3}`, `{"history":["1"],"state":[1e38,-0.5],"k":3}`, `{"k":0}`, `{"state":[1e999]}`)
}
func FuzzInterpret(f *testing.F) {
	fuzz(f, "POST", "/v1/interpret", `{"history":["1"],"vector":[1],"states":[[1],[2]],"titles":2}`, `{"states":[[]]}`, `{"titles":-1}`)
}
func FuzzOracle(f *testing.F) {
	fuzz(f, "POST", "/v1/oracle", `{"history":["1"],"seed":18446744073709551615}`, `{"seed":-1}`)
}
func FuzzItems(f *testing.F) {
	fuzz(f, "GET", "/v1/items", "query=a&limit=3", "limit=%zz", "limit=-1", "query=%ff")
}

// A service that is replaced stays open for whoever has it in hand.
func TestReload_waitsForUsers(t *testing.T) {
	s := open(t, Options{Service: usual}, "residual")
	_, h, err := s.runs.use("")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Reload() }()
	until(t, "the new service", func() bool {
		_, now, err := s.runs.use("")
		if err != nil {
			return false
		}
		now.release()
		return now != h
	})
	if err := h.State(make([]float32, 16), []int32{1}); err != nil {
		t.Error(err)
	}
	h.release()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := h.State(make([]float32, 16), []int32{1}); !errors.Is(err, service.ErrClosed) {
		t.Errorf("the old service is still open: %v", err)
	}
}
