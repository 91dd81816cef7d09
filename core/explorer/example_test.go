package explorer_test

import (
	"fmt"
	"io/fs"
	"log"

	"github.com/recinterpreter/recinterpreter/core/explorer"
)

// The page is a file system, for http.FileServerFS.
func Example() {
	page, err := fs.Stat(explorer.Page(), "index.html")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(page.Name())
	// Output: index.html
}
