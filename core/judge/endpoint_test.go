package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const good = `{"choices":[{"message":{"role":"assistant","content":"1"}}],"usage":{"total_tokens":42}}`

// served makes a judge of a local server, with short waits.
func served(t *testing.T, p EndpointParams, handle http.HandlerFunc) *Endpoint {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	p.URL, p.Model, p.Wait = server.URL+"/v1", "m", time.Millisecond
	e, err := NewEndpoint(p)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEndpoint_asks(t *testing.T) {
	e := served(t, EndpointParams{Key: "secret"}, func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Model       string
			Temperature *float64
			Messages    []struct{ Role, Content string }
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/v1/chat/completions" ||
			r.Header.Get("Authorization") != "Bearer secret" || body.Model != "m" || body.Temperature == nil || *body.Temperature > 1e-6 ||
			len(body.Messages) != 1 || body.Messages[0].Content != "which?" {
			t.Errorf("%s %v %+v %v", r.URL, r.Header, body, err)
		}
		fmt.Fprint(w, good)
	})
	reply, err := e.Ask(t.Context(), "which?")
	if err != nil || reply != (Reply{"1", 42}) {
		t.Errorf("%+v, %v", reply, err)
	}
}

// Whatever goes wrong a few times and then right is asked again, and what a server says for good is told.
func TestEndpoint_misbehaves(t *testing.T) {
	fails := map[string]http.HandlerFunc{
		"429": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"error":{"message":"slow down"}}`)
		},
		"500":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) },
		"malformed": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"choices":[{"mess`) },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"choices"`)
			panic(http.ErrAbortHandler)
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"too slow": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
	}
	for name, fail := range fails {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			e := served(t, EndpointParams{Timeout: 200 * time.Millisecond, Retries: 3}, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) <= 2 {
					fail(w, r)
					return
				}
				fmt.Fprint(w, good)
			})
			if reply, err := e.Ask(t.Context(), "q"); err != nil || reply.Text != "1" || n.Load() != 3 {
				t.Errorf("%+v after %d attempts, %v", reply, n.Load(), err)
			}
		})
	}
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		want   string
		most   int32
	}{
		"401": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":{"message":"no such key"}}`)
		}, "is the key right", 1},
		"404":              {http.NotFound, "/v1", 1},
		"429 for good":     {fails["429"], "slow down", 4},
		"500 for good":     {fails["500"], "500", 4},
		"never any sense":  {fails["malformed"], "unexpected", 4},
		"nothing is there": {fails["hangs up"], "EOF", 4},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			e := served(t, EndpointParams{Retries: 3}, func(w http.ResponseWriter, r *http.Request) { n.Add(1); c.handle(w, r) })
			if _, err := e.Ask(t.Context(), "q"); err == nil || !strings.Contains(err.Error(), c.want) || n.Load() > c.most {
				t.Errorf("%d attempts, error %v, want one with %q", n.Load(), err, c.want)
			}
		})
	}
}

// An empty reply has been paid for: it is kept, and says nothing.
func TestEndpoint_emptyReply(t *testing.T) {
	for _, body := range []string{`{"choices":[],"usage":{"total_tokens":9}}`,
		`{"choices":[{"message":{"content":""}}],"usage":{"total_tokens":9}}`} {
		e := served(t, EndpointParams{}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		r, err := Compare(t.Context(), cases(2), e, Options{})
		if err != nil || r.Unclear != 4 || r.Tokens != 36 || r.Tie.Hits != 2 {
			t.Errorf("%s: %+v, %v", body, r, err)
		}
	}
}

func TestEndpoint_cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := served(t, EndpointParams{}, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	if _, err := e.Ask(ctx, "q"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestEndpoint_rate(t *testing.T) {
	e := served(t, EndpointParams{PerMinute: 60 * 50}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, good) })
	start := time.Now()
	for range 6 {
		if _, err := e.Ask(t.Context(), "q"); err != nil {
			t.Fatal(err)
		}
	}
	if spent := time.Since(start); spent < 90*time.Millisecond { // 5 pauses of 20 ms after the first
		t.Errorf("6 questions at 50 a second in %v", spent)
	}
	if _, err := NewEndpoint(EndpointParams{URL: "http://x"}); err == nil {
		t.Error("an endpoint without a model")
	}
	for _, address := range []string{"127.0.0.1:9", "ftp://x/v1", "http://", "x"} {
		if _, err := NewEndpoint(EndpointParams{URL: address, Model: "m"}); err == nil || !strings.Contains(err.Error(), "http://") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
