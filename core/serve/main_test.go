package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/recinterpreter/recinterpreter/core/internal/leak"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/internal/testrun"
	"github.com/recinterpreter/recinterpreter/core/service"
)

// folders are runs, for reading.
var folders map[string]string

func TestMain(m *testing.M) { os.Exit(withRuns(m)) }

// withRuns makes the runs, and fails the tests if one of them has left a native object or a
// goroutine alive.
func withRuns(m *testing.M) int {
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.PlainBodyDecoder)
	dir, err := os.MkdirTemp("", "recint-serve-test-")
	defer os.RemoveAll(dir)
	if err == nil {
		folders, err = testrun.All(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := leak.Run(m)
	http.DefaultClient.CloseIdleConnections()
	return leak.Goroutines(code)
}

// open opens a server of some runs, closed at the end of the test. Its log goes nowhere unless the
// options say where.
func open(t testing.TB, opts Options, names ...string) *Server {
	t.Helper()
	var runs []Run
	for _, name := range names {
		runs = append(runs, Run{name, folders[name]})
	}
	if opts.Service.MaxTokens == 0 {
		opts.Service.MaxTokens = 24
	}
	opts.Service.Engine = testllm.Engine(t)
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s, err := New(runs, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// listen serves until the test ends or stop is called, which waits and gives Serve's error.
func listen(t testing.TB, s *Server) (url string, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String(), stop
}

// call makes a request to the handler, compares the answer with the OpenAPI description, and gives
// it.
func call(t testing.TB, s *Server, method, path, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if err := conforms(s, r, body, w); err != nil {
		t.Errorf("%s %s %s: %d %s: %v", method, path, body, w.Code, w.Body, err)
	}
	if w.Header().Get("X-Request-Id") == "" {
		t.Errorf("%s %s has no id", method, path)
	}
	return w
}

// record gives what the handler answers.
func record(s *Server, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// description reads the description that a server gives.
func description(s *Server) (*openapi3.T, error) {
	return openapi3.NewLoader().LoadFromData(record(s, httptest.NewRequest("GET", "http://localhost/openapi.json", nil)).Body.Bytes())
}

// conforms compares an answer with the description.
func conforms(s *Server, r *http.Request, body string, w *httptest.ResponseRecorder) error {
	doc, err := description(s)
	if err != nil {
		return err
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return err
	}
	route, parameters, err := router.FindRoute(r)
	if err != nil {
		return err
	}
	request := r.Clone(context.Background())
	request.Body = io.NopCloser(strings.NewReader(body))
	input := &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route}
	if w.Code == http.StatusOK && body != "" {
		input.Options = &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			return fmt.Errorf("what was accepted is not described: %w", err)
		}
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: w.Code, Header: w.Header(), Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())),
	})
}

// decoded reads an answer of status 200.
func decoded[T any](t testing.TB, w *httptest.ResponseRecorder) (value T) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// until waits for a condition.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

var usual = service.Options{Slots: 8, Queue: 64}
