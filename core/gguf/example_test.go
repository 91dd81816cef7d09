package gguf_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/gguf"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
)

// An LLM of any shape, with random weights, serves to measure speed and memory before the real one
// is downloaded.
func Example() {
	shape := gguf.LLM{Name: "small", Architecture: "llama", Layers: 2, Embd: 64, Heads: 4, HeadsKV: 2, HeadDim: 16, FF: 128,
		Vocab: gguftest.Vocab, Context: 512, Tied: true, RopeBase: 10000, RMSEps: 1e-5}
	file, err := shape.Random(gguf.BF16, 1, gguftest.Tokenizer()) // gguf.Tokenizer reads that of a file
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "gguf")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "small.gguf")
	if err := file.Save(context.Background(), path, nil); err != nil {
		log.Fatal(err)
	}

	saved, err := cgo.OpenGGUF(path)
	if err != nil {
		log.Fatal(err)
	}
	defer saved.Close()
	info, err := saved.Describe()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d weights: %s, %d layers, embeddings of width %d\n", file.Weights(), info.Architecture, info.Layers, info.Embd)
	// Output: 90624 weights: llama, 2 layers, embeddings of width 64
}
