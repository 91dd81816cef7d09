// Package local holds a judge that runs here, on an LLM of one's own.
package local
