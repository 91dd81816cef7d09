package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/service"
)

// The bodies of answers.
type (
	runsAnswer struct {
		Runs []namedRun `json:"runs"`
	}
	namedRun struct {
		Name string `json:"name"`
		service.Info
	}
	item struct {
		ID    string `json:"id"`
		Title string `json:"title"`
	}
	itemsAnswer struct {
		Run     string      `json:"run"`
		Items   []foundItem `json:"items"`
		Similar bool        `json:"similar"`
	}
	foundItem struct {
		item
		RawTitle string `json:"raw_title"`
	}
	statesAnswer struct {
		Run   string    `json:"run"`
		State []float32 `json:"state"`
	}
	recommendAnswer struct {
		Run   string       `json:"run"`
		Items []scoredItem `json:"items"`
	}
	scoredItem struct {
		item
		Score float32 `json:"score"`
	}
	interpretAnswer struct {
		Run     string          `json:"run"`
		Asks    prompt.Asked    `json:"asks"`
		Text    string          `json:"text"`
		LogProb float64         `json:"log_prob"`
		Ended   bool            `json:"ended"` // false where it was cut
		Tokens  []service.Token `json:"tokens"`
		Lines   []namedLine     `json:"lines"`
		Truth   []judgedItem    `json:"truth,omitempty"` // what a history asks for
		Titles  []rankedAnswer  `json:"titles,omitempty"`
	}
	namedLine struct {
		Text  string `json:"text"`
		Item  *item  `json:"item"`            // that the line names
		Right *bool  `json:"right,omitempty"` // beside a truth: it is one of its titles
	}
	judgedItem struct {
		item
		Named bool `json:"named"`
	}
	rankedAnswer struct {
		Lines   []namedLine `json:"lines"`
		LogProb float64     `json:"log_prob"`
	}
	oracleAnswer struct {
		Run string `json:"run"`
		service.Oracle
		Place service.Point `json:"place"` // on the run's map
	}
	mapAnswer struct {
		Run    string       `json:"run"`
		Of     string       `json:"of"` // what has a path
		Shares [2]float64   `json:"shares"`
		Items  []placedItem `json:"items"`
	}
	placedItem struct {
		item
		service.Point
	}
	pathAnswer struct {
		Run    string          `json:"run"`
		Of     string          `json:"of"`
		Points []service.Point `json:"points"`
	}
	errorAnswer struct {
		Error     string `json:"error"`
		Status    int    `json:"status"` // of the answer; of a stream that has begun, the one that it would have had
		RequestID string `json:"request_id"`
	}
)

const internal = "something failed here; the server's log says what, beside the request's id"

// answer wraps what computes an answer: with limits on requests at a time and on time, and with JSON or an error for the client. A
// request counts once its body has arrived, so that slow clients lock out nobody. A nil answer without an error has been written
// already.
func (s *Server) answer(compute func(w http.ResponseWriter, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := receive(w, r); err != nil {
			writeError(w, err)
			return
		}
		select {
		case s.flying <- struct{}{}:
			defer func() { <-s.flying }()
		default:
			writeError(w, service.ErrBusy)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.opts.Timeout)
		defer cancel()
		inner := r.WithContext(ctx)
		value, err := compute(w, inner)
		if err == nil && value != nil {
			err = writeJSON(w, http.StatusOK, value)
		}
		if err != nil {
			if status, _ := explain(err); status >= http.StatusInternalServerError {
				logOf(r).Warn("a request failed", "error", err)
			}
			writeError(w, err)
		}
	}
}

// explain gives the status and the message of an error.
func explain(err error) (status int, message string) {
	var refused refusal
	var invalid *service.InvalidError
	switch {
	case errors.As(err, &refused):
		return refused.status, refused.message
	case errors.As(err, &invalid):
		return http.StatusBadRequest, strings.TrimPrefix(err.Error(), "service: ")
	case errors.Is(err, service.ErrBusy):
		return http.StatusTooManyRequests, "more is asked than can be answered; ask again a little later"
	case errors.Is(err, service.ErrClosed):
		return http.StatusServiceUnavailable, "the server is stopping"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "there was not enough time to answer; ask again a little later"
	case errors.Is(err, context.Canceled):
		return statusGone, "the client has left"
	}
	return http.StatusInternalServerError, internal
}

// statusGone is what logs show for a client that has left, as nginx does.
const statusGone = 499

// tell makes an error an answer to the request that w answers.
func tell(w http.ResponseWriter, err error) errorAnswer {
	status, message := explain(err)
	return errorAnswer{message, status, w.Header().Get("X-Request-Id")}
}

func writeError(w http.ResponseWriter, err error) {
	told := tell(w, err)
	if told.Status == http.StatusTooManyRequests || told.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, told.Status, told)
}

func writeJSON(w http.ResponseWriter, status int, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(text, '\n')) // an error is the client's, who has left
	return nil
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(text))
}

func describe(s *held, id int32) item {
	d := s.Describe(id)
	return item{d.ID, d.Title}
}

func (s *Server) list(http.ResponseWriter, *http.Request) (any, error) {
	answer := runsAnswer{[]namedRun{}}
	for _, name := range s.runs.names {
		_, h, err := s.runs.use(name)
		if err != nil {
			return nil, err
		}
		answer.Runs = append(answer.Runs, namedRun{name, h.Info()})
		h.release()
	}
	return answer, nil
}

func (s *Server) items(_ http.ResponseWriter, r *http.Request) (any, error) {
	request, err := readItems(r)
	if err != nil {
		return nil, err
	}
	name, h, err := s.runs.use(request.Run)
	if err != nil {
		return nil, err
	}
	defer h.release()
	found, similar := h.Search(request.Query, request.Limit)
	answer := itemsAnswer{name, []foundItem{}, similar}
	for _, id := range found {
		answer.Items = append(answer.Items, foundItem{describe(h, id), h.Describe(id).RawTitle})
	}
	return answer, nil
}

func (s *Server) states(w http.ResponseWriter, r *http.Request) (any, error) {
	_, a, err := readAsked[statesRequest](s, r)
	if err != nil {
		return nil, err
	}
	defer a.release()
	state := make([]float32, a.Info().StateWidth)
	if err := a.State(state, a.history); err != nil {
		return nil, err
	}
	return statesAnswer{a.name, state}, nil
}

// asked is the run of a request, in use, and the items that the request is about.
type asked struct {
	*held
	name    string
	history []int32
}

// readAsked reads a request and finds its run and items. The caller releases the run if there is no error.
func readAsked[T body](s *Server, r *http.Request) (request T, a asked, err error) {
	if request, err = read[T](r); err != nil {
		return request, a, err
	}
	run, ids := request.about()
	if a.name, a.held, err = s.runs.use(run); err != nil {
		return request, a, err
	}
	if a.history, err = items(a.Service, ids); err != nil {
		a.release()
	}
	return request, a, err
}

func (s *Server) recommend(w http.ResponseWriter, r *http.Request) (any, error) {
	request, a, err := readAsked[recommendRequest](s, r)
	if err != nil {
		return nil, err
	}
	defer a.release()
	k := min(usualItems, a.Info().Items)
	if request.K != nil {
		k = *request.K
	}
	var best []recommender.Scored
	if request.State != nil {
		best, err = a.RecommendState(request.State, a.history, k)
	} else {
		best, err = a.Recommend(r.Context(), make([]recommender.Scored, 0, k), a.history, k)
	}
	if err != nil {
		return nil, err
	}
	answer := recommendAnswer{a.name, make([]scoredItem, len(best))}
	for i, b := range best {
		answer.Items[i] = scoredItem{describe(a.held, b.Item), b.Score}
	}
	return answer, nil
}

func (s *Server) oracle(w http.ResponseWriter, r *http.Request) (any, error) {
	request, a, err := readAsked[oracleRequest](s, r)
	if err != nil {
		return nil, err
	}
	defer a.release()
	seed := uint64(1)
	if request.Seed != nil {
		seed = *request.Seed
	}
	oracle, err := a.Oracle(r.Context(), a.history, seed)
	if err != nil {
		return nil, err
	}
	chart, err := a.Map()
	if err != nil {
		return nil, err
	}
	return oracleAnswer{a.name, oracle, chart.Place(oracle.Vector)}, nil
}

func (s *Server) interpret(w http.ResponseWriter, r *http.Request) (any, error) {
	request, a, err := readAsked[interpretRequest](s, r)
	if err != nil {
		return nil, err
	}
	defer a.release()
	q := service.Question{History: a.history, Vector: request.Vector, States: request.States}
	if len(a.history) == 0 {
		q.History = nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	events := &stream{w: w, cancel: cancel}
	var said func(service.Token)
	if wantsEvents(r) {
		said = func(t service.Token) { events.send("token", t) }
	}
	words, titles, err := a.InterpretAndRank(ctx, q, request.Titles, said)
	if err != nil {
		return nil, events.end(r, err)
	}
	answer := interpretAnswer{Run: a.name, Asks: a.Info().Asks, Text: words.Text, LogProb: words.LogProb, Ended: words.Ended,
		Tokens: []service.Token{}, Lines: lines(a.held, words.Text)}
	for i, piece := range words.Pieces {
		answer.Tokens = append(answer.Tokens, service.Token{Text: piece, LogProb: words.LogProbs[i]})
	}
	if q.Vector == nil && q.States == nil {
		judge(&answer, a)
	}
	for _, title := range titles {
		answer.Titles = append(answer.Titles, rankedAnswer{lines(a.held, title.Text), title.LogProb})
	}
	if said == nil {
		return answer, nil
	}
	events.send("answer", answer)
	return nil, events.end(r, nil)
}

// lines says which items the lines of a text name.
func lines(h *held, text string) []namedLine {
	named := []namedLine{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		n := namedLine{Text: line}
		if id, ok := h.Title(line); ok {
			found := describe(h, id)
			n.Item = &found
		}
		named = append(named, n)
	}
	return named
}

// judge holds words against the history that they are about, as evaluations do: its last item, or those of its items that count.
func judge(answer *interpretAnswer, a asked) {
	truth, named := a.Judge(a.history, answer.Text)
	titles := make([]string, len(truth))
	for i, id := range truth {
		titles[i] = a.Describe(id).Title
	}
	for i, id := range truth {
		answer.Truth = append(answer.Truth, judgedItem{describe(a.held, id), named[i]})
	}
	for i, line := range evaluate.Lines(answer.Text, titles) {
		answer.Lines[i].Right = &line.Right
	}
}

// wantsEvents says whether a client asks for server-sent events.
func wantsEvents(r *http.Request) bool {
	return slices.ContainsFunc(strings.Split(r.Header.Get("Accept"), ","), func(kind string) bool {
		kind, _, _ = strings.Cut(kind, ";")
		return strings.TrimSpace(kind) == "text/event-stream"
	})
}

// patience is how long a client may take to read an event.
const patience = 10 * time.Second

// stream writes server-sent events. The first one begins the answer, so that what fails before has a status of its own.
type stream struct {
	w       http.ResponseWriter
	wrote   bool
	broken  bool  // the client does not read
	problem error // of a value that is no JSON
	cancel  func()
}

// send writes an event. Where that fails the work is cancelled, and no further event is sent.
func (s *stream) send(event string, value any) {
	if s.broken || s.problem != nil {
		return
	}
	text, err := json.Marshal(value)
	if err != nil {
		s.problem = fmt.Errorf("serve: event %s: %w", event, err)
		s.cancel()
		return
	}
	if !s.wrote {
		s.wrote = true
		s.w.Header().Set("Content-Type", "text/event-stream")
		s.w.Header().Set("Cache-Control", "no-store")
		s.w.Header().Set("X-Accel-Buffering", "no")
		s.w.WriteHeader(http.StatusOK)
	}
	control := http.NewResponseController(s.w)
	control.SetWriteDeadline(time.Now().Add(patience))
	if _, err = fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, text); err == nil {
		err = control.Flush()
	}
	if err != nil {
		s.broken = true
		s.cancel()
	}
}

// end tells the client and the log of an error, or of a problem that send has met, in an event if the stream has begun. Where it has
// not it gives the error back.
func (s *stream) end(r *http.Request, err error) error {
	if s.problem != nil { // which has cancelled the work
		err, s.problem = s.problem, nil
	}
	if err == nil || !s.wrote {
		return err
	}
	told := tell(s.w, err)
	level := slog.LevelInfo
	if told.Status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	logOf(r).Log(r.Context(), level, "a stream was cut", "status", told.Status, "error", err)
	s.send("error", told)
	return nil
}
