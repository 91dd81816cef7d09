package serve_test

import (
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"

	"github.com/recinterpreter/recinterpreter/core/internal/testrun"
	"github.com/recinterpreter/recinterpreter/core/serve"
)

// Handler answers requests in a server of your own; Serve listens on an address until its context
// ends.
func Example() {
	dir, err := os.MkdirTemp("", "serve")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	folder, err := testrun.Residual(dir) // instead of a run of yours
	if err != nil {
		log.Fatal(err)
	}
	s, err := serve.New([]serve.Run{{Name: "films", Dir: folder}}, serve.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	server := httptest.NewServer(s.Handler())
	defer server.Close()

	response, err := server.Client().Get(server.URL + "/v1/items?query=silent+harbour")
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	var found struct{ Items []serve.Item }
	if err := json.NewDecoder(response.Body).Decode(&found); err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.Status, found.Items[0].ID, found.Items[0].Title)
	// Output: 200 OK film-0 The Silent Harbour
}
