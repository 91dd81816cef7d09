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

	"github.com/danielgtaylor/huma/v2"

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
		Name string `json:"name" doc:"The value of run in requests."`
		service.Info
	}
	// Item is exported for huma, which skips embedded fields of other types.
	Item struct {
		ID    string `json:"id" doc:"In the data set."`
		Title string `json:"title" doc:"The title that an interpretation should name."`
	}
	itemsAnswer struct {
		Run     string      `json:"run"`
		Items   []foundItem `json:"items"`
		Similar bool        `json:"similar" doc:"No title holds the words; these are the most similar ones."`
	}
	foundItem struct {
		Item
		RawTitle string `json:"raw_title" doc:"The title in the source of the data set."`
	}
	statesAnswer struct {
		Run   string    `json:"run"`
		State []float32 `json:"state" doc:"[W]"`
	}
	recommendAnswer struct {
		Run   string       `json:"run"`
		Items []scoredItem `json:"items" doc:"Best first."`
	}
	scoredItem struct {
		Item
		Score float32 `json:"score" doc:"The recommender's."`
	}
	interpretAnswer struct {
		Run     string          `json:"run"`
		Asks    prompt.Asked    `json:"asks" doc:"The question of the run's prompt."`
		Text    string          `json:"text" doc:"The LLM's answer: the likeliest token at each step, of those that a closed set of answers allows, if there is one."`
		LogProb float64         `json:"log_prob" doc:"Of the whole text and its end, in nats."`
		Ended   bool            `json:"ended" doc:"false if the text was cut."`
		Unlike  bool            `json:"unlike" doc:"The states are unlike those that the adapter was trained on, so that the words mean little."`
		Tokens  []service.Token `json:"tokens"`
		Lines   []namedLine     `json:"lines"`
		Truth   []judgedItem    `json:"truth,omitempty" doc:"The items that the words about a history should name: its last item, or its items that count. Missing for vectors and states."`
		Claims  []judgedClaim   `json:"claims,omitempty" doc:"The lines that the words about a history should have, for questions that do not name items."`
		Titles  []rankedAnswer  `json:"titles,omitempty" doc:"The likeliest answers that are titles, if the request asks for them."`
	}
	namedLine struct {
		Text  string `json:"text" doc:"A line of an answer."`
		Item  *Item  `json:"item"` // nil: the line names none
		Right *bool  `json:"right,omitempty" doc:"For words about a history: the line is one of truth or claims, and no earlier line named it."`
	}
	judgedItem struct {
		Item
		Named bool `json:"named" doc:"The exact scorer of recint evaluate finds the title in the words."`
	}
	judgedClaim struct {
		Text  string `json:"text" doc:"A true line."`
		Named bool   `json:"named" doc:"The exact scorer of recint evaluate finds it in the words."`
	}
	rankedAnswer struct {
		Lines   []namedLine `json:"lines"`
		LogProb float64     `json:"log_prob" doc:"In nats."`
	}
	oracleAnswer struct {
		Run string `json:"run"`
		service.Oracle
		Place service.Point `json:"place"` // on the run's map
	}
	mapAnswer struct {
		Run    string       `json:"run"`
		Of     string       `json:"of" enum:"states,items" doc:"What paths show: states, each scaled to the length of an item's vector, or the items of the history, if the states are not in the space of the items' vectors."`
		Shares [2]float64   `json:"shares" doc:"Of the vectors' variance, along x and y."`
		Total  int          `json:"catalogue" doc:"How many items the catalogue has. If these are more than items, items is a sample of them."`
		Items  []placedItem `json:"items"`
	}
	placedItem struct {
		Item
		service.Point
	}
	pathAnswer struct {
		Run    string          `json:"run"`
		Of     string          `json:"of" enum:"states,items" doc:"As of the map."`
		Points []service.Point `json:"points"`
	}
	errorAnswer struct {
		Error     string `json:"error" doc:"The problem, and what to do."`
		Status    int    `json:"status" doc:"The status of the answer; in a stream, which began with 200, the status that a plain answer would have."`
		RequestID string `json:"request_id" doc:"As in the header X-Request-Id and in the server's log."`
	}
)

// TransformSchema lets a line name no item: huma itself lets no object be null.
func (namedLine) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["item"] = &huma.Schema{Description: "The item that the line names, if there is one.",
		AllOf: []*huma.Schema{s.Properties["item"]}, Extensions: map[string]any{"nullable": true}}
	return s
}

const internal = "an internal error occurred; the server's log describes it under the request's id"

// admit waits for a request's body, so that slow clients do not occupy the server, and then admits
// it if there is room for one more. It limits the request's time.
func (s *Server) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// explain returns the status and the message for an error.
func explain(err error) (status int, message string) {
	var refused refusal
	var invalid *service.InvalidError
	switch {
	case errors.As(err, &refused):
		return refused.status, refused.message
	case errors.As(err, &invalid):
		return http.StatusBadRequest, strings.TrimPrefix(err.Error(), "service: ")
	case errors.Is(err, service.ErrBusy):
		return http.StatusTooManyRequests, "the server is busy; ask again a little later"
	case errors.Is(err, service.ErrClosed):
		return http.StatusServiceUnavailable, "the server is stopping"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "there was not enough time to answer; ask again a little later"
	case errors.Is(err, context.Canceled):
		return statusGone, "the client has left"
	}
	return http.StatusInternalServerError, internal
}

// statusGone is the status in logs for a client that disconnected, as in nginx.
const statusGone = 499

// tell writes an error as the answer.
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
	w.Write(append(text, '\n')) // fails only if the client has disconnected
	return nil
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(text))
}

func describe(s *held, id int32) Item {
	d := s.Describe(id)
	return Item{d.ID, d.Title}
}

func (s *Server) list(http.ResponseWriter, *http.Request, *struct{}) (*runsAnswer, error) {
	answer := runsAnswer{[]namedRun{}}
	for _, name := range s.runs.names {
		_, h, err := s.runs.use(name)
		if err != nil {
			return nil, err
		}
		answer.Runs = append(answer.Runs, namedRun{name, h.Info()})
		h.release()
	}
	return &answer, nil
}

func (s *Server) items(_ http.ResponseWriter, _ *http.Request, request *itemsRequest) (*itemsAnswer, error) {
	name, h, err := s.runs.use(string(request.Run))
	if err != nil {
		return nil, err
	}
	defer h.release()
	found, similar := h.Search(request.Query, request.Limit)
	answer := itemsAnswer{name, []foundItem{}, similar}
	for _, id := range found {
		answer.Items = append(answer.Items, foundItem{describe(h, id), h.Describe(id).RawTitle})
	}
	return &answer, nil
}

func (s *Server) states(_ http.ResponseWriter, _ *http.Request, a asked, _ statesRequest) (*statesAnswer, error) {
	state := make([]float32, a.Info().StateWidth)
	if err := a.State(state, a.history); err != nil {
		return nil, err
	}
	return &statesAnswer{a.name, state}, nil
}

func (s *Server) recommend(_ http.ResponseWriter, r *http.Request, a asked, request recommendRequest) (*recommendAnswer, error) {
	k := min(usualItems, a.Info().Items)
	if request.K != nil {
		k = *request.K
	}
	var best []recommender.Scored
	var err error
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
	return &answer, nil
}

func (s *Server) oracle(_ http.ResponseWriter, r *http.Request, a asked, request oracleRequest) (*oracleAnswer, error) {
	oracle, err := a.Oracle(r.Context(), a.history, *request.Seed)
	if err != nil {
		return nil, err
	}
	chart, err := a.Map()
	if err != nil {
		return nil, err
	}
	return &oracleAnswer{a.name, oracle, chart.Place(oracle.Vector)}, nil
}

func (s *Server) interpret(w http.ResponseWriter, r *http.Request, a asked, request interpretRequest) (*interpretAnswer, error) {
	q := service.Question{History: a.history, User: request.User, Vector: request.Vector, States: request.States}
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
	reading, err := a.InterpretAndRank(ctx, q, request.Titles, said)
	if err != nil {
		return nil, events.end(r, err)
	}
	words := reading.Words
	answer := interpretAnswer{Run: a.name, Asks: a.Info().Asks, Text: words.Text, LogProb: words.LogProb, Ended: words.Ended, Unlike: reading.Unlike,
		Tokens: []service.Token{}, Lines: lines(a.held, words.Text)}
	for i, piece := range words.Pieces {
		answer.Tokens = append(answer.Tokens, service.Token{Text: piece, LogProb: words.LogProbs[i]})
	}
	if q.Vector == nil && q.States == nil && q.User == "" {
		judge(&answer, a)
	}
	for _, title := range reading.Ranked {
		answer.Titles = append(answer.Titles, rankedAnswer{lines(a.held, title.Text), title.LogProb})
	}
	if said == nil {
		return &answer, nil
	}
	events.send("answer", answer)
	return nil, events.end(r, nil)
}

// lines finds the items that the lines of a text name.
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

// judge compares words with the truth about their history, as evaluations do.
func judge(answer *interpretAnswer, a asked) {
	truth, named := a.Judge(a.history, answer.Text)
	for i, id := range truth.Items {
		answer.Truth = append(answer.Truth, judgedItem{describe(a.held, id), named[i]})
	}
	if len(truth.Items) == 0 {
		for i, text := range truth.Answer {
			answer.Claims = append(answer.Claims, judgedClaim{text, named[i]})
		}
	}
	if len(truth.Answer) == 0 { // the true answer is unknown
		return
	}
	for i, line := range evaluate.Lines(answer.Text, truth.Answer) {
		answer.Lines[i].Right = &line.Right
	}
}

// wantsEvents reports whether a client accepts server-sent events.
func wantsEvents(r *http.Request) bool {
	return slices.ContainsFunc(strings.Split(r.Header.Get("Accept"), ","), func(kind string) bool {
		kind, _, _ = strings.Cut(kind, ";")
		return strings.TrimSpace(kind) == "text/event-stream"
	})
}

// patience is the time that a client has to read an event.
const patience = 10 * time.Second

// stream writes server-sent events. The first event begins the answer, so that an earlier failure
// can still set the status.
type stream struct {
	w       http.ResponseWriter
	wrote   bool
	broken  bool  // the client does not read
	problem error // of a value that is no JSON
	cancel  func()
}

// send writes an event. If that fails, it cancels the work and sends no further event.
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

// end reports an error, or a failure of send, to the client and the log, as an event if the stream
// has begun. Otherwise it returns the error.
func (s *stream) end(r *http.Request, err error) error {
	if s.problem != nil { // send has cancelled the work
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
