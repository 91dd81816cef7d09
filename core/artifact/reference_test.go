package artifact

import (
	"path/filepath"
	"testing"
)

// The reference files were written by the safetensors library of Python. A user's clone does not have them.
func TestReadReferenceFiles(t *testing.T) {
	paths, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "reference", "*.safetensors"))
	if len(paths) == 0 {
		t.Skip("no ../shared/reference beside this clone")
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
