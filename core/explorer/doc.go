// Package explorer is a page that looks into runs through the requests of package serve: what a recommender believes of somebody whose
// history is put together by clicking. It is plain HTML, CSS and JavaScript without a build step, and asks no other host.
//
// Titles come from data sets, so that the scripts put them into the page as text only; the server's content security policy holds them to it.
package explorer
