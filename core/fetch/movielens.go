package fetch

import (
	"archive/zip"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/importer"
)

const ml100kTerms = `MovieLens 100K belongs to GroupLens, University of Minnesota. Terms, in short:
  use it for research and acknowledge it: F. M. Harper and J. A. Konstan (2015), The MovieLens Datasets: History and
  Context, ACM Transactions on Interactive Intelligent Systems 5(4), article 19; no redistribution and no commercial use
  without permission; no endorsement by GroupLens may be implied; no guarantee of correctness.
`

func (s sources) ml100k(ctx context.Context, dir string, out io.Writer) error {
	if d, err := dataset.Load(dir); err == nil && d.Name == "ml-100k" {
		fmt.Fprintf(out, "MovieLens-100K is already in %s\n", dir)
		return nil
	} else if err == nil {
		return fmt.Errorf("fetch: %s holds the data set %q; choose another folder", dir, d.Name)
	}
	work, err := workFolder(dir)
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	d, err := s.official(ctx, work, out)
	if err != nil {
		if ctx.Err() != nil {
			return cancelled(ctx, err)
		}
		fmt.Fprintf(out, "the official archive is not available (%v)\n", err)
		if d, err = s.fromWheel(ctx, work, out); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return cancelled(ctx, ctx.Err())
	}
	if err := d.Save(dir); err != nil {
		return err
	}
	fmt.Fprintf(out, "%sMovieLens-100K: %d users, %d items, %d events in %s\n", ml100kTerms, len(d.Users), len(d.Items),
		len(d.Events), dir)
	return nil
}

// official downloads the archive from GroupLens and imports it.
func (s sources) official(ctx context.Context, work string, out io.Writer) (*dataset.Dataset, error) {
	const (
		longest = 64 << 20 // bytes; the archive has 5 MB
		patient = 2 * time.Minute
	)
	fmt.Fprintf(out, "downloading %s\n", s.archive)
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: s.connectTimeout}).DialContext,
		TLSHandshakeTimeout:   s.connectTimeout,
		ResponseHeaderTimeout: 2 * s.connectTimeout,
	}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.archive, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return nil, wrapped.Err // without the address, which was printed above
	} else if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", response.Status)
	}
	path := filepath.Join(work, "ml-100k.zip")
	if err := writeFile(ctx, path, io.LimitReader(response.Body, longest)); err != nil {
		return nil, err
	}
	if err := verify(path, md5.New(), s.archiveMD5); err != nil {
		return nil, err
	}
	return importFrom(ctx, path, "ml-100k")
}

// fromWheel imports the copy that RecBole ships.
func (s sources) fromWheel(ctx context.Context, work string, out io.Writer) (*dataset.Dataset, error) {
	path, err := s.download(ctx, s.recbole, work, out)
	if err != nil {
		return nil, err
	}
	return importFrom(ctx, path, "recbole/dataset_example/ml-100k")
}

// importFrom imports a folder of a zip file (a wheel is one).
func importFrom(ctx context.Context, path, folder string) (*dataset.Dataset, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("fetch: cannot open %s: %w", filepath.Base(path), err)
	}
	defer archive.Close()
	sub, err := fs.Sub(archive, folder)
	if err != nil {
		return nil, err
	}
	return importer.MovieLens100K(ctx, sub)
}

// writeFile copies a reader to a new file.
func writeFile(ctx context.Context, path string, r io.Reader) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := copyContext(ctx, file, r); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
