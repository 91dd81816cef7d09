package artifact

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestFieldError(t *testing.T) {
	err := fmt.Errorf("align: config: %w", &FieldError{"batch_size", 0, "at least 1"})
	var field *FieldError
	if !errors.As(err, &field) || field.Field != "batch_size" || err.Error() != "align: config: batch_size is 0; it must be at least 1" {
		t.Errorf("%v", err)
	}
}

func TestResumable(t *testing.T) {
	failed := errors.New("failed")
	for _, err := range []error{nil, failed} {
		if got := Resumable(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	for _, stopped := range []error{context.Canceled, context.DeadlineExceeded} {
		err := Resumable(fmt.Errorf("step 3: %w", stopped))
		if !errors.Is(err, ErrResumable) || !errors.Is(err, stopped) {
			t.Errorf("%v", err)
		}
		if again := Resumable(fmt.Errorf("run: %w", err)); again.Error() != "run: "+err.Error() {
			t.Errorf("told twice: %v", again)
		}
	}
}
