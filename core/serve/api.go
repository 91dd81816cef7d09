package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// refusals are the errors of requests below /v1/.
var refusals = map[int]string{
	http.StatusBadRequest:            "The request is invalid; the message says how to correct it.",
	http.StatusUnauthorized:          "A key is required.",
	http.StatusForbidden:             "The request names another host than localhost, and the server has no keys.",
	http.StatusNotFound:              "There is no such run.",
	http.StatusMethodNotAllowed:      "The path takes another method, which Allow names.",
	http.StatusRequestTimeout:        "The body has not arrived in time.",
	http.StatusRequestEntityTooLarge: "The body is larger than 1 MiB.",
	http.StatusUnsupportedMediaType:  "The body is not JSON.",
	http.StatusTooManyRequests:       "The server is busy. Send the request again after the seconds that Retry-After names.",
	http.StatusInternalServerError:   "An internal error; the server's log describes it.",
	http.StatusServiceUnavailable:    "Time ran out, or the server is stopping. Send the request again after the seconds that Retry-After names.",
}

// guarded is a mux that passes each request through a guard first.
type guarded struct {
	*http.ServeMux
	guard func(http.Handler) http.Handler
}

// HandleFunc implements humago.Mux.
func (g guarded) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	g.Handle(pattern, g.guard(http.HandlerFunc(handler)))
}

// newAPI registers everything below /v1/ on a mux. Paths, parameters, bodies and their description
// follow from Go types.
func (s *Server) newAPI(mux *http.ServeMux) huma.API {
	format := huma.Format{
		Marshal:   func(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) },
		Unmarshal: func(data []byte, v any) error { return artifact.ParseJSON(data, v, artifact.KnownKeys) },
	}
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	about := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: "RecInt", Version: "1", License: &huma.License{Name: "MIT"},
			Description: "A sequential recommender's view of a user: its states, its recommendations, and both in words. " +
				"Requests name items by their ids in the data set; GET /v1/items finds them."},
		Servers:  []*huma.Server{{URL: "/"}},
		Security: []map[string][]string{{}, {"key": {}}},
		Components: &huma.Components{
			Schemas:   schemas,
			Responses: map[string]*huma.Response{},
			SecuritySchemes: map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer",
				Description: "One of the server's keys, if it has any."}},
		},
	}
	failure := map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(reflect.TypeFor[errorAnswer](), true, "")}}
	for status, text := range refusals {
		response := &huma.Response{Description: text, Content: failure}
		switch status {
		case http.StatusMethodNotAllowed:
			response.Headers = map[string]*huma.Param{"Allow": {Required: true, Schema: &huma.Schema{Type: huma.TypeString}}}
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			response.Headers = map[string]*huma.Param{"Retry-After": {Schema: &huma.Schema{Type: huma.TypeInteger}}}
		}
		about.Components.Responses[strconv.Itoa(status)] = response
	}
	api := humago.New(guarded{mux, func(next http.Handler) http.Handler { return s.key(s.admit(next)) }}, huma.Config{
		OpenAPI: about, Formats: map[string]huma.Format{"application/json": format, "json": format}, DefaultFormat: "application/json",
		Transformers: []huma.Transformer{explainRefusal},
	})
	api.UseMiddleware(func(c huma.Context, next func(huma.Context)) { next(client{c}) })

	get := func(id, summary, description string) huma.Operation {
		return huma.Operation{Method: http.MethodGet, Path: "/v1/" + id, OperationID: id, Summary: summary, Description: description}
	}
	post := func(id, summary, description string) huma.Operation {
		op := get(id, summary, description)
		op.Method = http.MethodPost
		return op
	}
	route(s, api, get("runs", "The runs that the server answers for", "Requests that name no run mean the first one."), s.list)
	route(s, api, get("items", "Find items by words of their titles",
		"Returns items whose titles contain all the words; if there are none, those with the most similar titles."), s.items)
	route(s, api, get("map", "Places of items in the plane",
		"Places are the two principal components of the vectors that score items. Of a catalogue of more than 4,000 items, about 4,000 "+
			"are shown, spread evenly over it."), s.plot)
	routeHistory(s, api, post("states", "The recommender's state after a history", ""), s.states)
	routeHistory(s, api, post("path", "Places of the states or items of a history on the map",
		"Returns a place after each of the last items that count, oldest first."), s.path)
	routeHistory(s, api, post("recommend", "The items that the recommender ranks highest, without those of the history", ""), s.recommend)
	routeHistory(s, api, post("interpret", "What the states hold, in words",
		"With Accept: text/event-stream the answer comes as events: `token` with a Token for each, then `answer` with the body of a plain "+
			"request, or `error` with an ErrorAnswer."), s.interpret)
	routeHistory(s, api, post("oracle", "the ideal next item that a diffusion recommender draws, in words", ""), s.oracle)

	words := about.Paths["/v1/interpret"].Post.Responses["200"].Content
	words["text/event-stream"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	for _, schema := range schemas.Map() {
		for _, property := range schema.Properties { // huma allows null for all lists and pointers; answers have none
			for ; property != nil; property = property.Items {
				property.Nullable = false
			}
		}
	}
	return api
}

// document describes a path outside /v1/.
func document(api huma.API, id, path, summary, kind string, statuses ...int) {
	op := huma.Operation{Method: http.MethodGet, Path: path, OperationID: id, Summary: summary, Responses: map[string]*huma.Response{}}
	content := map[string]*huma.MediaType{kind: {Schema: &huma.Schema{}}}
	for _, status := range append(statuses, http.StatusOK) {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: content}
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + strconv.Itoa(status)}
	}
	api.OpenAPI().AddOperation(&op)
}

// route answers requests of an operation: I has its parameters and body, O is the body of the
// answer. If it returns neither an answer nor an error, it has written the answer itself.
func route[I, O any](s *Server, api huma.API, op huma.Operation, compute func(http.ResponseWriter, *http.Request, *I) (*O, error)) {
	op.SkipValidateBody, op.BodyReadTimeout, op.MaxBodyBytes = true, -1, -1 // the guard and routeHistory do so
	answer := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[O](), true, "")
	op.Responses = map[string]*huma.Response{"200": {Description: http.StatusText(http.StatusOK),
		Content: map[string]*huma.MediaType{"application/json": {Schema: answer}}}}
	for status := range refusals {
		name := strconv.Itoa(status)
		op.Responses[name] = &huma.Response{Ref: "#/components/responses/" + name}
	}
	huma.Register(api, op, func(_ context.Context, in *I) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(c huma.Context) {
			r, w := humago.Unwrap(c)
			value, err := compute(w, r, in)
			if err == nil && value != nil {
				err = writeJSON(w, http.StatusOK, value)
			}
			if err != nil {
				if status, _ := explain(err); status >= http.StatusInternalServerError {
					logOf(r).Warn("a request failed", "error", err)
				}
				writeError(w, err)
			}
		}}, nil
	})
}

// asked is the run that a request uses, and the request's items.
type asked struct {
	*held
	name    string
	history []int32
}

// routeHistory is route for requests about a history. It looks up the run and the items.
func routeHistory[T body, O any](s *Server, api huma.API, op huma.Operation,
	compute func(http.ResponseWriter, *http.Request, asked, T) (*O, error)) {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), false, "")
	route(s, api, op, func(w http.ResponseWriter, r *http.Request, in *struct{ Body T }) (*O, error) {
		if err := limits(schema, reflect.ValueOf(in.Body)); err != nil {
			return nil, err
		}
		run, ids := in.Body.about()
		name, h, err := s.runs.use(run)
		if err != nil {
			return nil, err
		}
		defer h.release()
		history, err := items(h.Service, ids)
		if err != nil {
			return nil, err
		}
		return compute(w, r, asked{h, name, history}, in.Body)
	})
}

// limits compares the numbers and lists of a request with the limits of its schema, which are the
// tags of its fields.
func limits(schema *huma.Schema, request reflect.Value) error {
	for i := range request.NumField() {
		name, _, _ := strings.Cut(request.Type().Field(i).Tag.Get("json"), ",")
		field, may := reflect.Indirect(request.Field(i)), schema.Properties[name]
		switch {
		case field.Kind() == reflect.Slice && may.MaxItems != nil && field.Len() > *may.MaxItems:
			return refuse(http.StatusBadRequest, "the %s has %d items; at most %d are accepted, and the last ones count",
				name, field.Len(), *may.MaxItems)
		case field.CanInt() && may.Maximum != nil && (float64(field.Int()) < *may.Minimum || float64(field.Int()) > *may.Maximum):
			return refuse(http.StatusBadRequest, "%s is %d; it must be %g to %g", name, field.Int(), *may.Minimum, *may.Maximum)
		}
	}
	return nil
}

// client is a context in which huma refuses requests with the same status as the rest of the
// server.
type client struct{ inner }

type inner huma.Context

// Unwrap returns humago's context.
func (c client) Unwrap() huma.Context { return c.inner }

// SetStatus begins the answer.
func (c client) SetStatus(status int) {
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest
	}
	c.inner.SetStatus(status)
}

// explainRefusal rewrites huma's refusals in the form of all errors.
func explainRefusal(c huma.Context, _ string, v any) (any, error) {
	_, w := humago.Unwrap(c)
	w.Header().Set("Content-Type", "application/json")
	found := v.(*huma.ErrorModel).Errors[0]
	message := "the body cannot be read: " + found.Message
	if name, ok := strings.CutPrefix(found.Location, "query."); ok {
		message = fmt.Sprintf("%s is %.60q: %s", name, fmt.Sprint(found.Value), found.Message)
	}
	return tell(w, refuse(http.StatusBadRequest, "%s", message)), nil
}
