package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/recinterpreter/recinterpreter/core/service"
)

func TestOpenAPI(t *testing.T) {
	s := open(t, Options{Service: usual}, "residual")
	doc, err := description(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() { // each path is one of the server's
		for method := range item.Operations() {
			w := call(t, s, method, path, map[string]string{"POST": "{}"}[method])
			if w.Code == http.StatusNotFound || w.Code == http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
			if strings.HasPrefix(path, "/v1/") { // another method is answered as the path says
				r := httptest.NewRequest("PUT", "http://127.0.0.1:8080"+path, nil)
				w, allowed := record(s, r), r.Clone(t.Context())
				allowed.Method = method
				if err := conforms(s, allowed, "", w); err != nil || w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != method {
					t.Errorf("PUT %s: %d %v %s: %v", path, w.Code, w.Header(), w.Body, err)
				}
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	s := open(t, Options{Service: usual}, "residual", "recovery", "dreams")
	runs := decoded[runsAnswer](t, call(t, s, "GET", "/v1/runs", "")).Runs
	if len(runs) != 3 || runs[0].Name != "residual" || runs[1].Asks != "history" || !runs[2].Oracles {
		t.Fatalf("%+v", runs)
	}
	found := decoded[itemsAnswer](t, call(t, s, "GET", "/v1/items?query=golden+letter&limit=2", ""))
	letter := foundItem{Item{"film-8", "The Golden Letter"}, "Golden Letter, The (1968)"}
	if found.Run != "residual" || len(found.Items) != 1 || found.Items[0] != letter || found.Similar {
		t.Errorf("%+v", found)
	}
	if near := decoded[itemsAnswer](t, call(t, s, "GET", "/v1/items?query=goldn+leter&limit=1", "")); len(near.Items) != 1 ||
		near.Items[0] != letter || !near.Similar {
		t.Errorf("%+v", near)
	}
	const history = `"history":["film-1","film-8","film-15"]`
	h := s.runs.held["residual"]
	ids := []int32{1, 8, 15}

	state := make([]float32, 16)
	if err := h.State(state, ids); err != nil {
		t.Fatal(err)
	}
	if got := decoded[statesAnswer](t, call(t, s, "POST", "/v1/states", "{"+history+"}")); !slices.Equal(got.State, state) {
		t.Errorf("%v, want %v", got.State, state)
	}
	best, err := h.Recommend(t.Context(), nil, ids, 3)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(state)
	for _, body := range []string{`{"k":3,` + history + `}`, `{"k":3,"state":` + string(text) + "," + history + `}`} {
		got := decoded[recommendAnswer](t, call(t, s, "POST", "/v1/recommend", body))
		for i, b := range best {
			if len(got.Items) != 3 || got.Items[i].Item != describe(h, b.Item) {
				t.Errorf("%s: %+v, want %v", body, got, best)
			}
		}
	}
	if got := decoded[recommendAnswer](t, call(t, s, "POST", "/v1/recommend", "{"+history+"}")); len(got.Items) != usualItems {
		t.Errorf("%d items", len(got.Items))
	}

	for _, name := range []string{"residual", "recovery"} {
		got := decoded[interpretAnswer](t, call(t, s, "POST", "/v1/interpret", `{"run":"`+name+`","titles":2,`+history+`}`))
		if got.Run != name || len(got.Tokens) == 0 || len(got.Titles) != 2 || !(got.LogProb < 0) ||
			got.Titles[0].LogProb < got.Titles[1].LogProb {
			t.Errorf("%+v", got)
		}
		if name == "residual" && (len(got.Titles[0].Lines) != 1 || got.Titles[0].Lines[0].Item == nil) {
			t.Errorf("a title that names no item: %+v", got.Titles[0])
		}
		if want := map[string]int{"residual": 1, "recovery": 3}[name]; len(got.Truth) != want || got.Lines[0].Right == nil ||
			got.Truth[want-1].ID != "film-15" {
			t.Errorf("%s is compared with %+v; lines are %+v", name, got.Truth, got.Lines)
		}
	}
	if got := decoded[interpretAnswer](t, call(t, s, "POST", "/v1/interpret", `{"vector":[`+strings.Repeat("0,", 15)+`1],`+history+`}`)); len(
		got.Truth) != 0 {
		t.Errorf("a vector is compared with %+v", got.Truth)
	}
	oracle := decoded[oracleAnswer](t, call(t, s, "POST", "/v1/oracle", `{"run":"dreams","seed":3,`+history+`}`))
	titles := []string{"The Silent Orchard", "The Golden Letter", "The Broken Winter"}
	chart, err := s.runs.held["dreams"].Map()
	if err != nil || len(oracle.Nearest) != 5 || len(oracle.Titles) != 5 || !slices.Equal(oracle.History, titles) ||
		oracle.Place != chart.Place(oracle.Vector) || oracle.Place == (service.Point{}) {
		t.Errorf("%+v, %v", oracle, err)
	}
}

// Words are compared with the history as in evaluations: a title that occurs twice must be said
// twice, spelling may differ where the exact scorer overlooks it, and only the items of a long
// history that count are asked for.
func TestJudge(t *testing.T) {
	s := open(t, Options{Service: usual}, "residual", "recovery", "popularity")
	quarter := func(item int32) string {
		_, h, err := s.runs.use("popularity")
		if err != nil {
			t.Fatal(err)
		}
		defer h.release()
		truth, _ := h.Judge([]int32{item}, "")
		return truth.Answer[0]
	}
	for _, c := range []struct {
		run, text     string
		history       []int32
		named, rights []bool
	}{
		{"residual", "the  golden letter.", []int32{1, 8}, []bool{true}, []bool{true}},
		{"residual", "The Golden Letter\nThe Silent Orchard", []int32{1, 8}, []bool{false}, []bool{true, false}},
		{"recovery", "The Golden Letter\nNonsense\n\nthe silent orchard", []int32{1, 8, 8}, []bool{true, true, false}, []bool{true, false, true}},
		{"recovery", "The Silent Orchard", []int32{1, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8}, make([]bool, 10), []bool{false}},
		{"popularity", quarter(8), []int32{1, 8}, []bool{true}, []bool{true}},
		{"popularity", "Nonsense", []int32{1, 8}, []bool{false}, []bool{false}},
	} {
		_, h, err := s.runs.use(c.run)
		if err != nil {
			t.Fatal(err)
		}
		answer := interpretAnswer{Asks: h.Info().Asks, Text: c.text, Lines: lines(h, c.text)}
		judge(&answer, asked{held: h, history: c.history})
		h.release()
		var named, rights []bool
		for _, item := range answer.Truth {
			named = append(named, item.Named)
		}
		for _, claim := range answer.Claims {
			named = append(named, claim.Named)
		}
		for _, line := range answer.Lines {
			rights = append(rights, *line.Right)
		}
		if !slices.Equal(named, c.named) || !slices.Equal(rights, c.rights) {
			t.Errorf("%s, %q: named %v, lines right %v", c.run, c.text, named, rights)
		}
	}
}

// event is one of a stream.
type event struct{ name, data string }

func events(t *testing.T, text string) (all []event) {
	t.Helper()
	for block := range strings.SplitSeq(strings.TrimSuffix(text, "\n\n"), "\n\n") {
		name, data, ok := strings.Cut(block, "\n")
		if !ok || !strings.HasPrefix(name, "event: ") || !strings.HasPrefix(data, "data: ") {
			t.Fatalf("no event: %q", block)
		}
		all = append(all, event{name[7:], data[6:]})
	}
	return all
}

func TestStream(t *testing.T) {
	s := open(t, Options{Service: usual}, "residual")
	const body = `{"history":["film-1","film-8"]}`
	whole := decoded[interpretAnswer](t, call(t, s, "POST", "/v1/interpret", body))
	w := call(t, s, "POST", "/v1/interpret", body, "Accept", "text/event-stream")
	if w.Header().Get("Content-Type") != "text/event-stream" || w.Code != http.StatusOK {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	all := events(t, w.Body.String())
	last := all[len(all)-1]
	if len(all) != len(whole.Tokens)+1 || last.name != "answer" {
		t.Fatalf("%d events for %d tokens; the last is %+v", len(all), len(whole.Tokens), last)
	}
	var answer interpretAnswer
	if err := json.Unmarshal([]byte(last.data), &answer); err != nil || answer.Text != whole.Text {
		t.Errorf("%+v, want %+v; %v", answer, whole, err)
	}
	for i, e := range all[:len(all)-1] {
		var token struct{ Text string }
		if err := json.Unmarshal([]byte(e.data), &token); err != nil || e.name != "token" || token.Text != whole.Tokens[i].Text {
			t.Errorf("event %d: %+v, want %+v; %v", i, e, whole.Tokens[i], err)
		}
	}
	// What fails before the first token has a status.
	if w := call(t, s, "POST", "/v1/interpret", `{"history":["film-1"]}`, "Accept", "text/event-stream"); w.Code != http.StatusBadRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// leaver is a client that leaves at the first event.
type leaver struct {
	*httptest.ResponseRecorder
	leave func()
}

func (l leaver) Write(b []byte) (int, error) {
	l.leave()
	return l.ResponseRecorder.Write(b)
}

// A failure in the middle of a stream is reported in an event, with the status of a plain answer.
func TestStream_error(t *testing.T) {
	var log bytes.Buffer
	s := open(t, Options{Service: service.Options{MaxTokens: 250}, Log: slog.New(slog.NewJSONHandler(&log, nil))}, "residual")
	ctx, leave := context.WithCancel(t.Context())
	r := httptest.NewRequest("POST", "http://localhost/v1/interpret", strings.NewReader(twoFilms)).WithContext(ctx)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	w := leaver{httptest.NewRecorder(), leave}
	s.Handler().ServeHTTP(w, r)
	all := events(t, w.Body.String())
	var told errorAnswer
	if err := json.Unmarshal([]byte(all[len(all)-1].data), &told); err != nil || all[len(all)-1].name != "error" ||
		told.Status != statusGone || told.RequestID != w.Header().Get("X-Request-Id") {
		t.Errorf("%+v, %v", all[len(all)-1], err)
	}

	// A value that cannot be written: before the first event it is an error like any other,
	// afterwards it is told.
	r = r.WithContext(context.WithValue(t.Context(), requestID{}, s.opts.Log))
	cancelled := 0
	bad := &stream{w: httptest.NewRecorder(), cancel: func() { cancelled++ }}
	bad.send("token", math.NaN())
	if err := bad.end(r, context.Canceled); err == nil || !strings.Contains(err.Error(), "event token") || bad.wrote || cancelled != 1 {
		t.Errorf("%v, %+v", err, bad)
	}
	record := httptest.NewRecorder()
	bad = &stream{w: record, cancel: func() {}}
	bad.send("token", "fine")
	bad.send("answer", math.NaN())
	if err := bad.end(r, nil); err != nil {
		t.Error(err)
	}
	all = events(t, record.Body.String())
	if len(all) != 2 || all[1].name != "error" || !strings.Contains(all[1].data, `"status":500`) ||
		!strings.Contains(log.String(), "event answer") {
		t.Errorf("%+v, %s", all, log.String())
	}
}

// A missing path below /v1/ is reported in JSON, with or without a page.
func TestNotThere(t *testing.T) {
	for _, files := range []fs.FS{nil, fstest.MapFS{"index.html": {}}} {
		s := open(t, Options{Service: usual, Page: files}, "residual")
		for asked, want := range map[string]int{"GET /v1/nothing": 404, "POST /v1/nothing": 404, "GET /v1/": 404, "GET /v1/states": 405,
			"PUT /v1/items": 405} {
			method, path, _ := strings.Cut(asked, " ")
			w := record(s, httptest.NewRequest(method, "http://localhost"+path, nil))
			var told errorAnswer
			if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || w.Code != want || told.Status != want ||
				(w.Header().Get("Allow") != "") != (want == 405) {
				t.Errorf("%s: %d %v %s", asked, w.Code, w.Header(), w.Body)
			}
		}
	}
}

// A handler that panics answers 500 as long as it can; later the answer is cut off.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	s := open(t, Options{Service: usual, Log: slog.New(slog.NewJSONHandler(&log, nil))}, "residual")
	handler := s.observe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/begun":
			w.Write([]byte("half of"))
		case "/abort":
			panic(http.ErrAbortHandler)
		}
		panic("of the test")
	}))
	for path, want := range map[string]any{"/": nil, "/begun": http.ErrAbortHandler, "/abort": http.ErrAbortHandler} {
		log.Reset()
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("%s: it panics with %v, want %v", path, got, want)
				}
			}()
			handler.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
		}()
		if path == "/" && w.Code != http.StatusInternalServerError || strings.Contains(log.String(), "of the test") != (path != "/abort") ||
			!strings.Contains(log.String(), `"msg":"request"`) {
			t.Errorf("%s: %d, %s", path, w.Code, log.String())
		}
	}
}

func TestRefusals(t *testing.T) {
	s := open(t, Options{Service: usual}, "residual", "recovery")
	long := `{"history":["film-1"` + strings.Repeat(`,"film-1"`, 1000) + `]}`
	vector, huge := "["+strings.Repeat("0,", 15)+"1]", "["+strings.Repeat("3e38,", 15)+"3e38]"
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/v1/states", `{`, 400, "cannot be read"},
		{"/v1/states", `{"history":["film-1"]} {}`, 400, "one value is expected"},
		{"/v1/states", `{"history":["film-1"]} x`, 400, "cannot be read"},
		{"/v1/states", `{"histroy":["film-1"]}`, 400, "histroy"},
		{"/v1/states", `{"history":[1]}`, 400, `the id "1"`},
		{"/v1/states", `{"history":[1.5]}`, 400, "1.5 is no item's id"},
		{"/v1/states", `{"history":[null]}`, 400, "null is no item's id"},
		{"/v1/states", `{"history":"film-1"}`, 400, "history is a text; it must be a list"},
		{"/v1/states", ` `, 400, "the body is empty"},
		{"/v1/states", `[]`, 400, "the value is a list; it must be an object"},
		{"/v1/recommend", `{"history":["film-1"],"k":3.0}`, 400, "k is 3.0; it must be a whole number"},
		{"/v1/recommend", `{"history":["film-1"],"k":"3"}`, 400, "k is a text; it must be a whole number"},
		{"/v1/recommend", `{"history":["film-1"],"k":[]}`, 400, "k is a list; it must be a whole number"},
		{"/v1/states", strings.Repeat("[", 100000), 400, "depth"},
		{"/v1/states", `{"history":["film-99"]}`, 400, `"film-99"`},
		{"/v1/states", `{"history":[]}`, 400, "0 items"},
		{"/v1/states", `{"history":null}`, 400, "0 items"},
		{"/v1/states", long, 400, "1001 items"},
		{"/v1/states", `{"history":["` + strings.Repeat("x", maxBytes) + `"]}`, 413, "larger than 1048576"},
		{"/v1/states", `{"run":"other","history":["film-1"]}`, 404, "residual, recovery"},
		{"/v1/recommend", `{"history":["film-1"],"k":0}`, 400, "1 to 1000"},
		{"/v1/recommend", `{"history":["film-1"],"k":31}`, 400, "1 to 30"},
		{"/v1/recommend", `{"state":[1e999]}`, 400, "1e999"},
		{"/v1/recommend", `{"state":[NaN]}`, 400, "invalid character"},
		{"/v1/recommend", `{"state":[1,2]}`, 400, "needs 16"},
		{"/v1/interpret", `{"history":["film-1"]}`, 400, "two are needed"},
		{"/v1/interpret", `{"history":["film-1","film-2"],"titles":21}`, 400, "0 to 20"},
		{"/v1/interpret", `{"states":[` + vector + `]}`, 400, "shows 2"},
		{"/v1/recommend", `{"state":` + huge + `}`, 400, "smaller numbers"},
		{"/v1/interpret", `{"states":[` + vector + `,` + huge + `]}`, 400, "smaller numbers"},
		{"/v1/interpret", `{"history":["film-1"],"vector":` + huge + `}`, 400, "smaller numbers"},
		{"/v1/interpret", `{"run":"recovery","history":["film-1"],"vector":` + vector + `}`, 400, "last item"},
		{"/v1/oracle", `{"history":["film-1"]}`, 400, "oracles are drawn by"},
		{"/v1/oracle", `{"history":["film-1"],"seed":-1}`, 400, "seed"},
	} {
		w := call(t, s, "POST", c.path, c.body)
		var said errorAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code != c.status || !strings.Contains(said.Error, c.says) ||
			said.Status != w.Code || said.RequestID != w.Header().Get("X-Request-Id") {
			t.Errorf("%s %.80s: %d %s; want %d with %q (%v)", c.path, c.body, w.Code, w.Body, c.status, c.says, err)
		}
	}
	for _, query := range []string{"limit=0", "limit=x", "limit=1001", "query=" + strings.Repeat("x", 201)} {
		if w := call(t, s, "GET", "/v1/items?"+query, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%.40s: %d", query, w.Code)
		}
	}
	if w := call(t, s, "POST", "/v1/states", `{}`, "Content-Type", "text/plain"); w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("text: %d", w.Code)
	}
}

func TestKeys(t *testing.T) {
	s := open(t, Options{Service: usual, Keys: []string{"one", "two"}}, "residual")
	for header, want := range map[string]int{"": 401, "Bearer ": 401, "Bearer three": 401, "one": 401, "Bearer one": 200, "Bearer two": 200,
		"Basic one": 401} {
		for _, path := range []string{"/v1/items", "/metrics"} {
			if w := call(t, s, "GET", path, "", "Authorization", header); w.Code != want {
				t.Errorf("%s with %q: %d, want %d", path, header, w.Code, want)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json"} {
		if w := call(t, s, "GET", path, ""); w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	open := open(t, Options{Service: usual}, "residual")
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := open.Serve(t.Context(), listener); err == nil || !strings.Contains(err.Error(), "no keys") {
		t.Errorf("an address that others reach, without keys: %v", err)
	}
	if w := call(t, open, "GET", "/v1/items", "", "Host", "evil.example"); w.Code != http.StatusOK {
		t.Errorf("a header named Host: %d", w.Code)
	}
	for host, want := range map[string]int{"evil.example": 403, "localhost.evil.example": 403, "10.0.0.1": 403, "LOCALHOST": 200, "localhost.": 200,
		"Localhost:8080": 200, "127.0.0.1": 200, "[::1]:8080": 200, "": 200} {
		r := httptest.NewRequest("GET", "/v1/items", nil)
		if r.Host = host; host == "" { // as HTTP/1.0 allows
			r.Proto, r.ProtoMinor = "HTTP/1.0", 0
		}
		if w := record(open, r); w.Code != want {
			t.Errorf("host %q: %d, want %d", host, w.Code, want)
		}
	}
}

func TestOrigins(t *testing.T) {
	for origin, want := range map[string]string{"": "", "https://page.example": "https://page.example"} {
		s := open(t, Options{Service: usual,
			Origins: slices.DeleteFunc([]string{origin}, func(o string) bool { return o == "" })}, "residual")
		r, _ := http.NewRequest("GET", "http://localhost/v1/items", nil)
		r.Header.Set("Origin", "https://page.example")
		if got := record(s, r).Header().Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%q: %q", origin, got)
		}
	}
}

// The log has a line for each request, with its id; metrics count it under its route.
func TestLogAndMetrics(t *testing.T) {
	var log bytes.Buffer
	s := open(t, Options{Service: usual, Log: slog.New(slog.NewJSONHandler(&log, nil))}, "residual")
	call(t, s, "POST", "/v1/interpret", `{"history":["film-1","film-8"]}`, "X-Request-Id", "mine-1")
	if id := call(t, s, "GET", "/v1/items", "", "X-Request-Id", "no good\tid").Header().Get("X-Request-Id"); strings.Contains(id, " ") {
		t.Errorf("id %q", id)
	}
	var line struct {
		ID, Method, Path string
		Status           int
	}
	if err := json.NewDecoder(&log).Decode(&line); err != nil || line.ID != "mine-1" || line.Path != "/v1/interpret" || line.Status != 200 {
		t.Errorf("%+v, %v", line, err)
	}
	text := call(t, s, "GET", "/metrics", "").Body.String()
	for _, want := range []string{`recint_requests_total{route="POST /v1/interpret",status="200"} 1`,
		`recint_questions_answered_total{run="residual"} 1`, `recint_request_seconds_count{route="GET /v1/items"} 1`, "go_goroutines"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestNew_refusals(t *testing.T) {
	for name, runs := range map[string][]Run{
		"none":      nil,
		"one twice": {{"a", folders["residual"]}, {"a", folders["residual"]}},
		"no name":   {{"", folders["residual"]}},
		"no run":    {{"a", folders["residual"]}, {"b", t.TempDir()}},
	} {
		if s, err := New(runs, Options{Service: usual}); err == nil {
			t.Errorf("%s: no error", name)
			s.Close()
		}
	}
	if _, err := New([]Run{{"a", folders["residual"]}}, Options{InFlight: -1}); err == nil || !strings.Contains(err.Error(), "-1 requests") {
		t.Errorf("%v", err)
	}
}
