package serve

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
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
		History []itemID `json:"history"`
	}
	recommendRequest struct {
		Run     string    `json:"run"`
		History []itemID  `json:"history"`
		State   []float32 `json:"state"` // in place of ranking by the history, whose items are left out all the same
		K       *int      `json:"k"`
	}
	interpretRequest struct {
		Run     string      `json:"run"`
		History []itemID    `json:"history"`
		Vector  []float32   `json:"vector"`
		States  [][]float32 `json:"states"`
		Titles  int         `json:"titles"` // how many of the likeliest titles to give beside the words
	}
	oracleRequest struct {
		Run     string   `json:"run"`
		History []itemID `json:"history"`
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
	about() (run string, history []itemID)
}

func (r statesRequest) about() (string, []itemID)    { return r.Run, r.History }
func (r recommendRequest) about() (string, []itemID) { return r.Run, r.History }
func (r interpretRequest) about() (string, []itemID) { return r.Run, r.History }
func (r oracleRequest) about() (string, []itemID)    { return r.Run, r.History }

func (r statesRequest) check() error    { return checkLengths(r.History, 0) }
func (r interpretRequest) check() error { return checkLengths(r.History, r.Titles) }
func (r oracleRequest) check() error    { return checkLengths(r.History, 0) }

func (r recommendRequest) check() error {
	if r.K != nil && (*r.K < 1 || *r.K > mostItems) {
		return refuse(http.StatusBadRequest, "k is %d; it must be 1 to %d", *r.K, mostItems)
	}
	return checkLengths(r.History, 0)
}

func checkLengths(history []itemID, titles int) error {
	if len(history) > mostHistory {
		return refuse(http.StatusBadRequest, "the history has %d items; at most %d are taken, of which the last ones count",
			len(history), mostHistory)
	}
	if titles < 0 || titles > mostTitles {
		return refuse(http.StatusBadRequest, "titles is %d; it must be 0 to %d", titles, mostTitles)
	}
	return nil
}

// itemID is the id of an item in the data set, which may be written as a number.
type itemID string

// UnmarshalJSON reads a text or a whole number.
func (i *itemID) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, (*string)(i))
	}
	whole, fraction, _ := strings.Cut(string(text), ".")
	if digits := strings.TrimPrefix(whole, "-"); strings.Trim(digits, "0123456789") != "" || strings.Trim(fraction, "0") != "" {
		return fmt.Errorf("%.60s is no item's id; ids are texts in quotes or whole numbers", text)
	}
	*i = itemID(whole)
	return nil
}

// receive waits for all of a request's body, of at most mostBytes when it is unpacked, and puts it in the body's place.
func receive(w http.ResponseWriter, r *http.Request) error {
	in := io.Reader(http.MaxBytesReader(w, r.Body, mostBytes))
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return unreadable(err)
		}
		in = http.MaxBytesReader(w, unpacked, mostBytes)
	default:
		return refuse(http.StatusUnsupportedMediaType, "the body has the encoding %q; send it plain or with gzip", encoding)
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return unreadable(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	return nil
}

// unreadable says why a body did not arrive, without what is the server's own business, such as addresses.
func unreadable(err error) error {
	var large *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &large):
		return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", large.Limit)
	case errors.As(err, &network) && network.Timeout():
		return refuse(http.StatusRequestTimeout, "the body has not arrived in time; send the request again, all of it at once")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return refuse(http.StatusBadRequest, "the body is not gzip, as its header Content-Encoding says")
	}
	return refuse(http.StatusBadRequest, "the body cannot be read: it is cut off, or not encoded as its headers say")
}

// read decodes the body of a request that has arrived, one JSON value with known names only.
func read[T interface{ check() error }](r *http.Request) (value T, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return value, refuse(http.StatusUnsupportedMediaType, "the body must be JSON, with the header Content-Type: application/json")
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return value, unreadable(err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return value, refuse(http.StatusBadRequest, "the body is empty; send a JSON object, such as {\"history\": [\"ID\"]}")
	}
	if err := artifact.ParseJSON(data, &value, artifact.KnownKeys); err != nil {
		return value, refuse(http.StatusBadRequest, "the body cannot be read: %v", err)
	}
	return value, value.check()
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
func items(s *service.Service, ids []itemID) ([]int32, error) {
	found := make([]int32, len(ids))
	for i, id := range ids {
		item, ok := s.Item(string(id))
		if !ok {
			return nil, refuse(http.StatusBadRequest, "history: the data set has no item with the id %q; GET /v1/items?query= finds items", id)
		}
		found[i] = item
	}
	return found, nil
}
