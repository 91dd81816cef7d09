package artifact

import (
	"context"
	"errors"
	"fmt"
)

// FieldError is a value of a configuration that is out of range. Code that reads the configuration
// from another source, such as flags, replaces the field's name by that of the source.
type FieldError struct {
	Field string // by its name in JSON
	Value any
	Want  string
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%s is %v; it must be %s", e.Field, e.Value, e.Want)
}

// ErrResumable is found in the error of work that is unfinished and kept.
var ErrResumable = errors.New("the same command continues it")

// ErrDoesNotFit is found in the error of work that needs more memory than there is.
var ErrDoesNotFit = errors.New("it does not fit")

// Resumable adds ErrResumable to the error of work that was told to stop and keeps what is
// finished; other errors it passes on.
func Resumable(err error) error {
	stopped := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if !stopped || errors.Is(err, ErrResumable) {
		return err
	}
	return fmt.Errorf("%w; %w", err, ErrResumable)
}
