package report_test

import (
	"bytes"
	"fmt"
	"log"
	"os"

	"github.com/recinterpreter/recinterpreter/core/internal/testrun"
	"github.com/recinterpreter/recinterpreter/core/report"
)

// The folder of a run becomes a page of its settings, losses and evaluations.
func Example() {
	dir, err := os.MkdirTemp("", "report")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	folder, err := testrun.Residual(dir) // instead of a run of yours
	if err != nil {
		log.Fatal(err)
	}
	r, err := report.New([]string{folder})
	if err != nil {
		log.Fatal(err)
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Runs[0].Name, len(r.Runs[0].Training) > 0, bytes.HasPrefix(page.Bytes(), []byte("<!DOCTYPE html>")))
	// Output: run true true
}
