package artifact

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// Lock keeps other processes from writing what this one writes.
type Lock struct{ file *flock.Flock }

// Claim takes the lock of a file or folder before writing to it, perhaps for hours. If another
// process holds it, the error names that process. The system releases the lock of a process that
// ends, however it ends. The lock is a hidden file, .NAME.lock, next to the file that it protects.
func Claim(path string) (*Lock, error) {
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
	file := flock.New(name)
	held, err := file.TryLock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("artifact: %s cannot be written: its lock: %w; choose a folder that exists and that you may write to", path, err), file.Close())
	}
	if !held {
		holder, err := os.ReadFile(name)
		if err != nil || len(holder) == 0 {
			holder = []byte("another process")
		}
		return nil, errors.Join(fmt.Errorf("artifact: %s is being written by %s; wait for it, or end it", path, strings.TrimSpace(string(holder))),
			file.Close())
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	text := fmt.Sprintf("process %d on %s: %s\n", os.Getpid(), host, strings.Join(os.Args, " "))
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("artifact: %s cannot be written: its lock: %w", path, err), file.Close())
	}
	return &Lock{file}, nil
}

// Release lets others write. A second Release does nothing.
func (l *Lock) Release() error { return l.file.Close() }
