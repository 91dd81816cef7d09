// Package testllm gives tests a tiny random LLM, and an engine.
package testllm

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
)

// Params are those of engines for tests that are not about one: one CPU thread, or what
// RECINT_BACKEND names (make test-gpu).
func Params() cgo.EngineParams {
	return cgo.EngineParams{Backend: cmp.Or(os.Getenv("RECINT_BACKEND"), "cpu"), Threads: 1, Strict: true}
}

// Coarse says whether the products of engines of Params are.
func Coarse() bool { return cgo.EngineInfo{Backend: Params().Backend}.CoarseProducts() }

// Bound is how far off results of engines of Params may be: coarse where their products are, and
// else exact.
func Bound(exact, coarse float64) float64 { return BoundOn(Params().Backend, exact, coarse) }

// BoundOn is that of a backend.
func BoundOn(backend string, exact, coarse float64) float64 {
	if (cgo.EngineInfo{Backend: backend}).CoarseProducts() {
		return coarse
	}
	return exact
}

// Engine makes an engine of Params, closed at the end of the test.
func Engine(t testing.TB) *cgo.Engine {
	t.Helper()
	engine, err := cgo.NewEngine(Params())
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
