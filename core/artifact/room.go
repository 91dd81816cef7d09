package artifact

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// RoomFor refuses a file of the given size if the file system of path has less space free. Where
// the free space is unknown, it accepts the file, and writing may fail.
func RoomFor(path string, bytes int64) error {
	var system syscall.Statfs_t
	if syscall.Statfs(filepath.Dir(path), &system) != nil {
		return nil
	}
	if free := float64(system.Bavail) * float64(system.Bsize); float64(bytes) > free {
		return fmt.Errorf("artifact: %s would take %.2f GB, and there are %.2f GB free; free some space or choose another folder",
			path, float64(bytes)/1e9, free/1e9)
	}
	return nil
}
