// Package explorer is a web page for exploring runs through the HTTP API of package serve: you
// build a history by clicking, and the page shows how a recommender responds. It is plain HTML, CSS
// and JavaScript without a build step, and contacts no other host.
//
// Titles come from data sets. The scripts therefore insert them into the page as text only, and the
// server's content security policy allows nothing else.
package explorer
