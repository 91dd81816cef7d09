package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/recinterpreter/recinterpreter/core/fetch"
)

// A cancelled call leaves no files. Repeat it to fetch the files.
func ExampleML100K() {
	dir, err := os.MkdirTemp("", "fetch")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err = fetch.ML100K(ctx, dir, io.Discard)
	left, _ := os.ReadDir(dir)
	fmt.Println(errors.Is(err, context.Canceled), len(left), "files")
	// Output: true 0 files
}

// The demonstration's LLM, about 90 MB, is downloaded once and verified. This example needs the
// network, so that tests only compile it.
func ExampleSmolLM2() {
	path, err := fetch.SmolLM2(context.Background(), "models", os.Stdout)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the LLM is at", path)
}
