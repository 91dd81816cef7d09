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
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/recinterpreter/recinterpreter/core/service"
)

const (
	maxBytes   = 1 << 20 // of a body
	usualItems = 10      // of an answer
)

// The parameters and bodies of requests, with their limits. The service checks the limits of its
// run.
type (
	runName string   // "": the first one
	itemIDs []itemID // in the data set, oldest first

	runRequest struct {
		Run runName `query:"run"`
	}
	itemsRequest struct {
		Run   runName `query:"run"`
		Query string  `query:"query" maxLength:"200" doc:"Words of a title; without any, the first items of the catalogue."`
		Limit int     `query:"limit" minimum:"1" maximum:"1000" default:"10"`
	}
	statesRequest struct { // also of a path
		Run     runName `json:"run,omitempty"`
		History itemIDs `json:"history"`
	}
	recommendRequest struct {
		Run     runName   `json:"run,omitempty"`
		History itemIDs   `json:"history,omitempty"`
		State   []float32 `json:"state,omitempty" doc:"[W]: ranks by this state instead of the history, whose items are still excluded; for a recommender that draws oracles, an oracle [D]."`
		K       *int      `json:"k,omitempty" minimum:"1" maximum:"1000" doc:"Number of items; 10 if missing."`
	}
	interpretRequest struct {
		Run     runName     `json:"run,omitempty"`
		History itemIDs     `json:"history,omitempty"`
		User    string      `json:"user,omitempty" doc:"Instead of a history: a user of the data set, or of the run's file of states, whose latest items count."`
		Vector  []float32   `json:"vector,omitempty" doc:"[D], in the space of item embeddings: follows the history like one more item. For runs that ask for the last item."`
		States  [][]float32 `json:"states,omitempty" doc:"Instead of history, user and vector: the states in the slots of the run's prompt, such as those before and after an item, each [W]."`
		Titles  int         `json:"titles,omitempty" minimum:"0" maximum:"20" doc:"Number of the likeliest titles to return in addition to the words."`
	}
	oracleRequest struct {
		Run     runName `json:"run,omitempty"`
		History itemIDs `json:"history"`
		Seed    *uint64 `json:"seed,omitempty" default:"1" doc:"Seed and history determine the oracle."`
	}
)

// Schema describes a run's name.
func (runName) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: "Name of the run; the first one if it is missing or empty."}
}

// Schema describes a history.
func (itemIDs) Schema(huma.Registry) *huma.Schema {
	most := 1000
	return &huma.Schema{Type: huma.TypeArray, MaxItems: &most, Description: "Ids of items in the data set, oldest first. Of long ones the last items count.",
		Items: &huma.Schema{AnyOf: []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeInteger}}}}
}

// refusal is an error with the status that tells it.
type refusal struct {
	status  int
	message string
}

func (r refusal) Error() string { return r.message }

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Sprintf(format, args...)}
}

// body is that of a request about a history.
type body interface {
	about() (run string, history []itemID)
}

func (r statesRequest) about() (string, []itemID)    { return string(r.Run), r.History }
func (r recommendRequest) about() (string, []itemID) { return string(r.Run), r.History }
func (r interpretRequest) about() (string, []itemID) { return string(r.Run), r.History }
func (r oracleRequest) about() (string, []itemID)    { return string(r.Run), r.History }

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

// receive reads a request's whole body, of at most maxBytes when unpacked, and replaces the body by
// it. The body of a POST must be present and JSON.
func receive(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength > maxBytes {
		return unreadable(&http.MaxBytesError{Limit: maxBytes})
	}
	in := io.Reader(http.MaxBytesReader(w, r.Body, maxBytes))
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return unreadable(err)
		}
		in = http.MaxBytesReader(w, unpacked, maxBytes)
	default:
		return refuse(http.StatusUnsupportedMediaType, "the body has the encoding %q; send it plain or with gzip", encoding)
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return unreadable(err)
	}
	if r.Method == http.MethodPost {
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return refuse(http.StatusUnsupportedMediaType, "the body must be JSON, with the header Content-Type: application/json")
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return refuse(http.StatusBadRequest, "the body is empty; send a JSON object, such as {\"history\": [\"ID\"]}")
		}
		r.Header.Set("Content-Type", "application/json") // huma requires lower case
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	return nil
}

// unreadable says why a body did not arrive, without internal details such as addresses.
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

// items looks up the items that a request names.
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
