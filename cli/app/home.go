package app

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/fetch"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx"
)

// The names that can be given instead of paths. Their files are downloaded when first needed.
const (
	ml100k      = "ml-100k"
	smollm2     = "smollm2-135m"
	onnxRuntime = "onnxruntime"
)

// home is the folder for downloads: $RECINT_HOME, or recint in the user's cache folder.
func home() (string, error) {
	if dir := os.Getenv("RECINT_HOME"); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for data and models: %w; set RECINT_HOME to a folder", err)
	}
	return filepath.Join(cache, "recint"), nil
}

// datasetPath gives the folder of a data set: the path itself, or the place of a named download.
func datasetPath(c *cli.Context, name string) (string, error) {
	if name != ml100k {
		return name, nil
	}
	dir, err := home()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "data", ml100k)
	if exists(filepath.Join(dir, "dataset.json")) {
		return dir, nil
	}
	return dir, fetch.ML100K(c.Context, dir, c.App.ErrWriter)
}

// modelPath gives the file of an LLM: the path itself, or the place of a named download.
func modelPath(c *cli.Context, name string) (string, error) {
	if name != smollm2 {
		return name, nil
	}
	dir, err := home()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "models")
	if path := filepath.Join(dir, fetch.SmolLM2File); exists(path) {
		return path, nil
	}
	return fetch.SmolLM2(c.Context, dir, c.App.ErrWriter)
}

// useRuntime selects the downloaded ONNX Runtime for ONNX models, unless the user names another
// library.
func useRuntime(*cli.Context) error {
	dir, err := home()
	if err != nil || os.Getenv(onnx.LibraryVariable) != "" {
		return nil // code that needs the library reports that it is missing
	}
	name := fetch.ONNXRuntimeFile()
	if path := filepath.Join(dir, "models", name); name != "" && exists(path) {
		return os.Setenv(onnx.LibraryVariable, path)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// newFile refuses an existing file, and creates the folder of the path.
func newFile(path string) error {
	if exists(path) {
		return fmt.Errorf("%s is there already; choose another --out, or remove it", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return fmt.Errorf("the folder of %s cannot be made: %w; choose one that you may write to", path, err)
	}
	return nil
}

func dataFlag() cli.Flag {
	return &cli.StringFlag{Name: "data", Value: ml100k, Usage: "data set: a `FOLDER`, or " + ml100k}
}

func llmFlag() cli.Flag {
	return &cli.StringFlag{Name: "llm", Value: smollm2, Usage: "LLM: a GGUF `FILE` of an architecture that recint models info accepts, or " + smollm2}
}
