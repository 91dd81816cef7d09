// Package fetch brings the pinned data and model files that RecInt's demonstration needs, verifies
// them, shows their licences, and puts them where the caller says. Nothing of it is ever part of
// the repository.
//
// Everything is atomic and can be repeated: what is there and intact is left alone, a cancelled or
// failed call leaves nothing half-written.
package fetch
