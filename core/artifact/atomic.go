package artifact

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
)

// WriteAtomic replaces the file at path by what write produces, or leaves it exactly as it was. The
// bytes go to a temporary file in the same folder, which is synced and renamed over path; then the
// folder is synced. When write, the disk or a later step fails, the temporary file is removed. The
// folder must exist. Errors from write are wrapped.
func WriteAtomic(path string, write func(io.Writer) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("artifact: cannot write %s: %w%s", path, err, remedy(err))
		}
	}()
	dir, name := filepath.Split(path)
	temp := filepath.Join(dir, "."+name+".tmp-"+rand.Text()[:8])
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
		return cause.Err // its path is temp, which means nothing to a user
	}
	defer func() {
		file.Close() // a second Close is harmless; the first one's error is looked at below
		if temp != "" {
			os.Remove(temp)
		}
	}()
	if err := write(file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	temp = ""
	return syncFolder(dir)
}

// syncFolder makes a rename inside dir durable. Errors of file systems that cannot sync a folder
// are ignored.
func syncFolder(dir string) error {
	if dir == "" {
		dir = "."
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	err = folder.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// remedy says what a user can do about a failed write, or "".
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ": the disk is full; free some space or choose another folder"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return ": choose a folder that you may write to"
	case errors.Is(err, fs.ErrNotExist):
		return ": create the folder first"
	}
	return ""
}

// splitGGUF matches the name of a part of a split GGUF.
var splitGGUF = regexp.MustCompile(`^(.*)-\d{5}-of-(\d{5})\.gguf$`)

// HashFile returns the SHA-256 of the file's content in lower-case hexadecimal. For a part of a
// split GGUF it hashes all parts, one after the other.
func HashFile(path string) (string, error) {
	paths := []string{path}
	if match := splitGGUF.FindStringSubmatch(path); match != nil {
		n, _ := strconv.Atoi(match[2]) // of five digits
		paths = nil
		for i := range n {
			paths = append(paths, fmt.Sprintf("%s-%05d-of-%s.gguf", match[1], i+1, match[2]))
		}
	}
	sum := sha256.New()
	for _, path := range paths {
		if err := hashInto(sum, path); err != nil {
			return "", fmt.Errorf("artifact: cannot hash: %w", err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func hashInto(sum hash.Hash, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(sum, file)
	return err
}
