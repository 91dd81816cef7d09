// Package testllm gives tests a tiny random LLM on a CPU engine.
package testllm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
)

// Engine makes a CPU engine with one thread, closed at the end of the test.
func Engine(t testing.TB) *cgo.Engine {
	t.Helper()
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return engine
}

// Path writes the tiny LLM to a file.
func Path(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := os.WriteFile(path, gguftest.LLM(1), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// GGUF opens the tiny LLM, closed at the end of the test.
func GGUF(t testing.TB) *cgo.GGUF {
	t.Helper()
	gguf, err := cgo.OpenGGUF(Path(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gguf.Close() })
	return gguf
}

// Width is the width of the tiny LLM's embeddings.
func Width(t testing.TB) int {
	t.Helper()
	info, err := GGUF(t).Describe()
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Embd)
}
