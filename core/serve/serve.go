package serve

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/cors"

	"github.com/recinterpreter/recinterpreter/core/service"
)

// Run is a run that is served under a name.
type Run struct {
	Name string
	Dir  string
}

// Options configure a server.
type Options struct {
	Service  service.Options // of each run
	Keys     []string        // accepted keys; none: requests need no key
	TLS      *tls.Config     // nil: plain HTTP
	Origins  []string        // origins of other pages that browsers allow to send requests; none: no other page
	Timeout  time.Duration   // of a request; 0: 30 seconds
	InFlight int             // requests at a time; 0: 256
	Page     fs.FS           // served at /; nil: nothing
	Log      *slog.Logger    // nil: slog.Default()
}

// CheckAddress refuses an address that other machines can reach if there are no keys, as Serve
// does.
func (o Options) CheckAddress(address net.Addr) error {
	if tcp, ok := address.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && len(o.Keys) == 0 {
		return fmt.Errorf("serve: other machines can reach %s, and there are no keys; listen on 127.0.0.1, or give keys", address)
	}
	return nil
}

// Server serves runs.
type Server struct {
	opts     Options
	runs     *runs
	keys     [][sha256.Size]byte
	flying   chan struct{} // has an element for each request that is being answered
	draining atomic.Bool
	metrics  *metrics
	handler  http.Handler
}

// New opens runs. The caller closes the server.
func New(named []Run, opts Options) (*Server, error) {
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.InFlight == 0 {
		opts.InFlight = 256
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Timeout < 0 || opts.InFlight < 1 {
		return nil, fmt.Errorf("serve: a time limit of %v and %d requests at a time; both must be more than 0", opts.Timeout, opts.InFlight)
	}
	all, err := openRuns(named, opts.Service)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, runs: all, flying: make(chan struct{}, opts.InFlight)}
	for _, key := range opts.Keys {
		s.keys = append(s.keys, sha256.Sum256([]byte(key)))
	}
	s.metrics = newMetrics(s)
	if s.handler, err = s.routes(); err != nil {
		return nil, errors.Join(err, all.close())
	}
	return s, nil
}

// Close closes the runs; Serve must have ended.
func (s *Server) Close() error { return s.runs.close() }

// Handler answers requests.
func (s *Server) Handler() http.Handler { return s.handler }

// Reload opens each run's folder again. Requests continue meanwhile, on the old run or the new one.
// A run that cannot be opened continues as before, and the error says why.
func (s *Server) Reload() error {
	err := s.runs.reload()
	s.metrics.reloads.WithLabelValues(map[bool]string{true: "ok", false: "failed"}[err == nil]).Inc()
	return err
}

// idle is how long a connection may be open before its first request arrives. Clients that keep
// spare connections drop them earlier, or find them closed when they use them.
const idle = 10 * time.Second

// arrival is how long a request may take to arrive.
var arrival = 15 * time.Second

// Serve answers requests until the context ends, then finishes those that it has accepted. It
// closes the listener. An address that other machines can reach needs keys.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	if err := s.opts.CheckAddress(listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{
		Handler:           s.handler,
		TLSConfig:         s.opts.TLS,
		ReadHeaderTimeout: idle,
		ReadTimeout:       arrival,
		WriteTimeout:      s.opts.Timeout + 15*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() {
		if s.opts.TLS != nil {
			ended <- server.ServeTLS(listener, "", "")
		} else {
			ended <- server.Serve(listener)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.opts.Log.Info("stopping: finishing accepted requests")
	patience, cancel := context.WithTimeout(context.Background(), s.opts.Timeout+15*time.Second)
	defer cancel()
	if err := server.Shutdown(patience); err != nil {
		return errors.Join(fmt.Errorf("serve: requests were cut off: %w", err), server.Close())
	}
	return nil
}

// routes assembles the handlers.
func (s *Server) routes() (http.Handler, error) {
	below, mux := http.NewServeMux(), http.NewServeMux() // two muxes: a page at / would hide missing paths below /v1/
	api := s.newAPI(below)
	below.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		known, method := api.OpenAPI().Paths[r.URL.Path], http.MethodGet
		if known == nil {
			writeError(w, refuse(http.StatusNotFound, "there is no %s here; GET /openapi.json lists all paths", r.URL.Path))
			return
		}
		if known.Post != nil {
			method = http.MethodPost
		}
		w.Header().Set("Allow", method)
		writeError(w, refuse(http.StatusMethodNotAllowed, "%s takes %s, not %s", r.URL.Path, method, r.Method))
	})

	document(api, "alive", "/healthz", "Is the server alive?", "text/plain")
	document(api, "ready", "/readyz", "Is the server ready for requests? 503: it is stopping, or the LLM of a run has failed.", "text/plain",
		http.StatusServiceUnavailable)
	document(api, "metrics", "/metrics", "Numbers for Prometheus", "text/plain")
	document(api, "openapi", "/openapi.json", "This description", "application/json")
	description, err := api.OpenAPI().Downgrade() // to version 3.0, which more tools read
	if err != nil {
		return nil, err
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "alive\n") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.key(s.metrics.handler()))
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(description)
	})
	if s.opts.Page != nil {
		mux.Handle("GET /", page(s.opts.Page))
	}

	handler := s.local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			below.ServeHTTP(w, r)
		} else {
			mux.ServeHTTP(w, r)
		}
	}))
	if len(s.opts.Origins) > 0 {
		handler = cors.New(cors.Options{
			AllowedOrigins: s.opts.Origins, AllowedMethods: []string{"GET", "POST"},
			AllowedHeaders: []string{"Authorization", "Content-Type"}, ExposedHeaders: []string{"X-Request-Id", "Retry-After"},
		}).Handler(handler)
	}
	return s.observe(handler), nil
}

// ready reports whether the server takes more requests: not while it stops, nor if the LLM of a run
// has failed.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.draining.Load() {
		writeText(w, http.StatusServiceUnavailable, "stopping\n")
		return
	}
	if name, err := s.runs.broken(); err != nil {
		writeText(w, http.StatusServiceUnavailable, "the LLM of run "+name+" has failed; reload the runs\n")
		return
	}
	writeText(w, http.StatusOK, "ready\n")
}

// key requires a valid API key.
func (s *Server) key(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if len(s.keys) > 0 && !(s.known(shown) && bearer) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeError(w, refuse(http.StatusUnauthorized, "a key is required: Authorization: Bearer KEY"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// known compares a key with all keys, in a time that reveals nothing about them.
func (s *Server) known(shown string) bool {
	sum, found := sha256.Sum256([]byte(shown)), 0
	for _, key := range s.keys {
		found |= subtle.ConstantTimeCompare(sum[:], key[:])
	}
	return found == 1
}

// local refuses, if there are no keys, requests to a host other than localhost: a web page can make
// its own host name point here (DNS rebinding). Browsers always send a host; health checks over
// HTTP/1.0 may not.
func (s *Server) local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		own := host == "" || strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") || ip != nil && ip.IsLoopback()
		if len(s.keys) == 0 && !own {
			writeError(w, refuse(http.StatusForbidden, "without keys only requests to localhost are answered, not to %q", host))
			return
		}
		next.ServeHTTP(w, r)
	})
}
