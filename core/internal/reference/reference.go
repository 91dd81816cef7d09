// Package reference finds the reference cases of other implementations, which are not part of the
// repository.
package reference

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Folder returns a folder of the reference cases: "reference" (numbers of the paper's authors'
// code), "cases-right" (inputs with the data sets that they give) or "data". RECINT_REFERENCE names
// the folder that they lie in, or the one called reference; a relative path starts at the
// repository's root. Without the variable the test is skipped.
func Folder(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("RECINT_REFERENCE")
	if root == "" {
		t.Skip("set RECINT_REFERENCE=FOLDER, the folder of the reference cases, to run this test (CONTRIBUTING.md)")
	}
	if !filepath.IsAbs(root) {
		root = filepath.Join(repository(t), root)
	}
	path := filepath.Join(strings.TrimSuffix(root, "/reference"), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("RECINT_REFERENCE=%s does not hold the reference cases: %v", root, err)
	}
	return path
}

// repository returns the root of this repository: go test runs in the package's folder.
func repository(t testing.TB) string {
	dir, err := os.Getwd()
	for err == nil {
		if _, err = os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir, err = parent, nil
		}
	}
	t.Fatal(err)
	return ""
}
