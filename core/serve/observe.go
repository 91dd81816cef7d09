package serve

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/recinterpreter/recinterpreter/core/service"
)

// requestID is the key of a request's id in its context.
type requestID struct{}

// usable matches valid request ids from clients or proxies.
var usable = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// seen records the status and size of an answer.
type seen struct {
	http.ResponseWriter
	status int
	bytes  int
}

// Unwrap gives http.ResponseController access to the writer.
func (s *seen) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// WriteHeader records the status.
func (s *seen) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (s *seen) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	n, err := s.ResponseWriter.Write(b)
	s.bytes += n
	return n, err
}

// observe assigns an id to a request, counts and logs it, and recovers from panics. A response
// already under way is aborted, so that clients do not mistake it for a complete one.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin, id := time.Now(), r.Header.Get("X-Request-Id")
		if !usable.MatchString(id) {
			id = rand.Text()
		}
		w.Header().Set("X-Request-Id", id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		writer := &seen{ResponseWriter: w}
		log := s.opts.Log.With("id", id)
		r = r.WithContext(context.WithValue(r.Context(), requestID{}, log))
		s.metrics.flying.Inc()
		defer func() {
			s.metrics.flying.Dec()
			problem := recover()
			if problem != nil && problem != http.ErrAbortHandler {
				log.Error("a handler panicked", "problem", problem, "stack", string(debug.Stack()))
				if problem = http.ErrAbortHandler; writer.status == 0 {
					problem = nil
					writeError(writer, refuse(http.StatusInternalServerError, internal))
				}
			}
			took, route := time.Since(begin), r.Pattern
			if route == "" {
				route = "none"
			}
			s.metrics.requests.WithLabelValues(route, strconv.Itoa(writer.status)).Inc()
			s.metrics.seconds.WithLabelValues(route).Observe(took.Seconds())
			level := slog.LevelInfo
			if writer.status >= http.StatusInternalServerError {
				level = slog.LevelWarn
			}
			log.Log(r.Context(), level, "request", "method", r.Method, "path", r.URL.Path, "status", writer.status, "bytes", writer.bytes,
				"ms", float64(took.Microseconds())/1000, "from", r.RemoteAddr)
			if problem != nil {
				panic(problem)
			}
		}()
		next.ServeHTTP(writer, r)
	})
}

// logOf is the log of a request.
func logOf(r *http.Request) *slog.Logger { return r.Context().Value(requestID{}).(*slog.Logger) }

// metrics are the metrics for Prometheus.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	flying   prometheus.Gauge
	reloads  *prometheus.CounterVec
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "recint_requests_total", Help: "Requests, by route and status."},
			[]string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "recint_request_seconds", Help: "Time to the end of an answer, by route.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}, []string{"route"}),
		flying: prometheus.NewGauge(prometheus.GaugeOpts{Name: "recint_requests_in_flight", Help: "Requests that are being answered."}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "recint_reloads_total", Help: "Reloads of all runs, by result."},
			[]string{"result"}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.flying, m.reloads, questions{s.runs}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// questions collects the services' counts of questions to the LLM. Counters restart when a run is
// reloaded.
type questions struct{ *runs }

// number is one of service.Stats.
type number struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(service.Stats) int64
}

// described lists all numbers.
var described = []number{
	gauge("recint_questions_waiting", "Questions in the queue.", func(s service.Stats) int64 { return s.Waiting }),
	gauge("recint_questions_live", "Questions that are being answered.", func(s service.Stats) int64 { return s.Live }),
	counter("recint_batches_total", "Passes of prompts through the LLM.", func(s service.Stats) int64 { return s.Batches }),
	counter("recint_questions_asked_total", "Questions in these passes.", func(s service.Stats) int64 { return s.Asked }),
	counter("recint_questions_answered_total", "Questions that were answered.", func(s service.Stats) int64 { return s.Answered }),
	counter("recint_questions_given_up_total", "Questions whose callers stopped waiting.", func(s service.Stats) int64 { return s.GivenUp }),
	counter("recint_questions_failed_total", "Questions that the LLM failed on.", func(s service.Stats) int64 { return s.Failed }),
	counter("recint_questions_refused_total", "Questions for which the queue had no room, or that were too large.",
		func(s service.Stats) int64 { return s.Refused }),
	counter("recint_tokens_total", "Tokens of answers.", func(s service.Stats) int64 { return s.Tokens }),
}

func gauge(name, help string, value func(service.Stats) int64) number {
	return number{prometheus.NewDesc(name, help, []string{"run"}, nil), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(service.Stats) int64) number {
	return number{prometheus.NewDesc(name, help, []string{"run"}, nil), prometheus.CounterValue, value}
}

// Describe implements prometheus.Collector.
func (q questions) Describe(to chan<- *prometheus.Desc) {
	for _, d := range described {
		to <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (q questions) Collect(to chan<- prometheus.Metric) {
	for _, name := range q.names {
		_, s, err := q.use(name)
		if err != nil {
			continue
		}
		stats := s.Stats()
		s.release()
		for _, d := range described {
			to <- prometheus.MustNewConstMetric(d.desc, d.kind, float64(d.value(stats)), name)
		}
	}
}
