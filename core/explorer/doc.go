// Package explorer is a page that looks into runs through the requests of package serve: you put a
// history together by clicking, and it shows what a recommender makes of it. It is plain HTML, CSS
// and JavaScript without a build step, and asks no other host.
//
// Titles come from data sets. The scripts therefore insert them into the page as text only, and the
// server's content security policy allows nothing else.
package explorer
