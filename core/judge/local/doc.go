// Package local is a judge (package judge) on an LLM of your own, which runs on the engine of this
// program. It needs no server.
package local
