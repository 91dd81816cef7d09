// Package app is the command recint: it reads flags, calls the library in core, and shows the
// results. It has a file for each command.
package app
