// Package explorer is a page that looks into runs through the requests of package serve: what a recommender believes of somebody whose
// history is put together by clicking. It is plain HTML, CSS and JavaScript without a build step, and asks no other host.
//
// Titles come from data sets, so that the scripts put them into the page as text only; the server's content security policy holds them to it.
package explorer

import (
	"embed"
	"io/fs"
)

//go:embed page
var files embed.FS

// Page holds the files of the page, index.html first of all.
func Page() fs.FS {
	page, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the name above is no path
	}
	return page
}
