package bulk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/bulk"
	"github.com/recinterpreter/recinterpreter/core/internal/testrun"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// Each row gets an answer, or an error that says what is wrong with the row.
func Example() {
	dir, err := os.MkdirTemp("", "bulk")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	folder, err := testrun.Residual(dir) // instead of a run of yours
	if err != nil {
		log.Fatal(err)
	}
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	r, err := run.Open(engine, folder, interpret.Options{MaxTokens: 8})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	rows := `{"id": "a", "history": ["film-0", "film-7", "film-14"]}
{"id": "b", "user": "100"}
{"id": "c", "history": ["film-0", "no film"]}
`
	var answers bytes.Buffer
	job := bulk.Job{Run: r, In: bulk.Standard, Out: bulk.Standard, Input: strings.NewReader(rows), Output: &answers}
	if _, err := job.Do(context.Background()); err != nil {
		log.Fatal(err)
	}
	for line := range bytes.Lines(answers.Bytes()) {
		var a bulk.Answer
		if err := json.Unmarshal(line, &a); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("row %d, id %s, answered: %v\n", a.Row, a.ID, a.Text != nil)
		if a.Error != "" {
			fmt.Println(a.Error)
		}
	}
	// Output:
	// row 1, id "a", answered: true
	// row 2, id "b", answered: true
	// row 3, id "c", answered: false
	// the data set has no item with the id "no film"
}
