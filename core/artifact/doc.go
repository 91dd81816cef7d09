// Package artifact reads and writes the files that RecInt's steps pass to each other: atomically,
// with content hashes, and with numbers as safetensors. It does not know what the files mean.
package artifact
