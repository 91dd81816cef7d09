// Package fetch downloads the pinned data set, LLM and libraries that RecInt's demonstration needs,
// verifies them, shows their licences, and stores them where the caller says. None of them is part
// of the repository.
//
// Every call is atomic and can be repeated: an intact file is left alone, and a cancelled or failed
// call leaves no partial file.
package fetch
