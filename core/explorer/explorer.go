package explorer

import (
	"embed"
	"io/fs"
)

//go:embed page
var files embed.FS

// Page holds the files of the page, first of all index.html.
func Page() fs.FS {
	page, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the name above is no path
	}
	return page
}
