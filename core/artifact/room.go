package artifact

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// RoomFor refuses a file of so many bytes at path where its file system has not that much free.
// Where that cannot be found out, writing will tell.
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
