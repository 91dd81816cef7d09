package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	"github.com/recinterpreter/recinterpreter/core/service"
)

// Limits of a request. What a run can take is checked by its service.
const (
	mostBytes   = 1 << 20 // of a body
	mostHistory = 1000    // items, of which the last ones count
	mostItems   = 1000    // of an answer
	mostTitles  = 20
	usualItems  = 10
)

// The bodies of requests. Items are named by their ids in the data set; an empty run is the first one.
type (
	statesRequest struct { // also of a path
		Run     string   `json:"run"`
		History []string `json:"history"`
	}
	recommendRequest struct {
		Run     string    `json:"run"`
		History []string  `json:"history"`
		State   []float32 `json:"state"` // in place of ranking by the history, whose items are left out all the same
		K       *int      `json:"k"`
	}
	interpretRequest struct {
		Run     string      `json:"run"`
		History []string    `json:"history"`
		Vector  []float32   `json:"vector"`
		States  [][]float32 `json:"states"`
		Titles  int         `json:"titles"` // how many of the likeliest titles to give beside the words
	}
	oracleRequest struct {
		Run     string   `json:"run"`
		History []string `json:"history"`
		Seed    *uint64  `json:"seed"`
	}
	itemsRequest struct {
		Run   string
		Query string
		Limit int
	}
)

// refusal is an error with the status that tells it.
type refusal struct {
	status  int
	message string
}

func (r refusal) Error() string { return r.message }

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Sprintf(format, args...)}
}

// body is what is read of a request about a history.
type body interface {
	check() error
	about() (run string, history []string)
}

func (r statesRequest) about() (string, []string)    { return r.Run, r.History }
func (r recommendRequest) about() (string, []string) { return r.Run, r.History }
func (r interpretRequest) about() (string, []string) { return r.Run, r.History }
func (r oracleRequest) about() (string, []string)    { return r.Run, r.History }

func (r statesRequest) check() error    { return checkLengths(r.History, 0) }
func (r interpretRequest) check() error { return checkLengths(r.History, r.Titles) }
func (r oracleRequest) check() error    { return checkLengths(r.History, 0) }

func (r recommendRequest) check() error {
	if r.K != nil && (*r.K < 1 || *r.K > mostItems) {
		return refuse(http.StatusBadRequest, "k is %d; it must be 1 to %d", *r.K, mostItems)
	}
	return checkLengths(r.History, 0)
}

func checkLengths(history []string, titles int) error {
	if len(history) > mostHistory {
		return refuse(http.StatusBadRequest, "the history has %d items; at most %d are taken, of which the last ones count",
			len(history), mostHistory)
	}
	if titles < 0 || titles > mostTitles {
		return refuse(http.StatusBadRequest, "titles is %d; it must be 0 to %d", titles, mostTitles)
	}
	return nil
}

// read decodes the body of a request, one JSON value of at most mostBytes with known names only.
func read[T interface{ check() error }](w http.ResponseWriter, r *http.Request) (value T, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return value, refuse(http.StatusUnsupportedMediaType, "the body must be JSON, with the header Content-Type: application/json")
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBytes))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&value)
	if err == nil {
		if _, err = decoder.Token(); err == nil {
			err = errors.New("there is more than one value")
		} else if errors.Is(err, io.EOF) {
			return value, value.check()
		}
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return value, refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", large.Limit)
	}
	return value, refuse(http.StatusBadRequest, "the body cannot be read: %v", err)
}

// readItems reads the query of a search.
func readItems(r *http.Request) (itemsRequest, error) {
	values := r.URL.Query()
	request := itemsRequest{Run: values.Get("run"), Query: values.Get("query"), Limit: usualItems}
	if text := values.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 || limit > mostItems {
			return request, refuse(http.StatusBadRequest, "limit is %q; it must be 1 to %d", text, mostItems)
		}
		request.Limit = limit
	}
	if len(request.Query) > 200 {
		return request, refuse(http.StatusBadRequest, "the query has %d bytes; at most 200 are taken", len(request.Query))
	}
	return request, nil
}

// items finds those that a request names.
func items(s *service.Service, ids []string) ([]int32, error) {
	found := make([]int32, len(ids))
	for i, id := range ids {
		item, ok := s.Item(id)
		if !ok {
			return nil, refuse(http.StatusBadRequest, "history: the data set has no item with the id %q; GET /v1/items?query= finds items", id)
		}
		found[i] = item
	}
	return found, nil
}
