package artifact

import (
	"path/filepath"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/reference"
)

// The safetensors library of Python wrote the reference files.
func TestReadReferenceFiles(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(reference.Folder(t, "reference"), "*.safetensors"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d reference files, %v", len(paths), err)
	}
	for _, path := range paths {
		f, err := ReadSafetensors(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if f.Metadata["model"] == "SASRec" && f.Metadata["item_num"] == "1682" {
			if _, err := f.Float32("item_embeddings.weight", 1683, 64); err != nil {
				t.Error(err)
			}
		}
	}
}
