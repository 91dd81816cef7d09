package artifact_test

import (
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// A file is replaced as a whole or not at all, and its hash binds others to it.
func Example() {
	dir, err := os.MkdirTemp("", "artifact")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "states.safetensors")
	err = artifact.WriteSafetensors(path, &artifact.File{
		Metadata: map[string]string{"model": "SASRec"},
		Tensors:  []artifact.Tensor{{Name: "states", DType: "F32", Shape: []int{2, 3}, F32: []float32{1, 2, 3, 4, 5, 6}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	before, err := artifact.HashFile(path)
	if err != nil {
		log.Fatal(err)
	}
	err = artifact.WriteAtomic(path, func(w io.Writer) error {
		io.WriteString(w, "half of a fi")
		return io.ErrUnexpectedEOF // the old file stays
	})
	after, _ := artifact.HashFile(path)
	fmt.Println(err != nil, before == after)
	// Output: true true
}

// A run that was stopped resumes its journal after the last whole record.
func ExampleOpenJournal() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	type header struct{ Run string }
	type answer struct{ Text string }
	all := func(records []answer) (int, error) { return len(records), nil } // keep all of them
	path := filepath.Join(dir, "answers.jsonl")
	for _, text := range []string{"Toy Story", "Fargo"} {
		journal, err := artifact.OpenJournal(path, header{"residual"}, all)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(journal.Records), "records were there")
		if err := journal.Append(answer{text}); err != nil {
			log.Fatal(err)
		}
		if err := journal.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 0 records were there
	// 1 records were there
}
