// Package artifact reads and writes the files that RecInt's steps hand to each other: atomically,
// with content hashes, and, for numbers, as safetensors. It knows nothing of what the files mean.
package artifact
