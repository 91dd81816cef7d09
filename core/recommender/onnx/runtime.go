package onnx

import (
	"errors"
	"fmt"
	"os"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// LibraryVariable is the environment variable that names the shared library of ONNX Runtime.
const LibraryVariable = "ORT_LIBRARY"

// ErrNoRuntime is found in the error where the library of ONNX Runtime is not named.
var ErrNoRuntime = errors.New("onnx: ONNX Runtime computes such models, and its library is not there; fetch it with " +
	"`recint models fetch onnxruntime`, or name the file libonnxruntime.so in " + LibraryVariable)

// starting guards the runtime's environment, of which a process has one.
var starting sync.Mutex

// start opens the library once. A failure can be repaired: the next call tries again.
func start() error {
	starting.Lock()
	defer starting.Unlock()
	if ort.IsInitialized() {
		return nil
	}
	path := os.Getenv(LibraryVariable)
	if path == "" {
		return ErrNoRuntime
	}
	ort.SetSharedLibraryPath(path)
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return fmt.Errorf("onnx: %s=%s is no usable library of ONNX Runtime (%w); name another file, or fetch one with "+
			"`recint models fetch onnxruntime`", LibraryVariable, path, err)
	}
	return nil
}
