package importer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/reference"
)

// The expected data sets are those of 2026-11-28, checked by hand or against pandas. The order of
// rows and additional attribute columns may differ.
func TestImportWhatWasRight(t *testing.T) {
	cases, err := filepath.Glob(filepath.Join(reference.Folder(t, "cases-right"), "*", "expected"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, expected := range cases {
		dir := filepath.Dir(expected)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			one := func(pattern string) string {
				found, err := filepath.Glob(filepath.Join(dir, pattern))
				if err != nil || len(found) != 1 {
					t.Fatalf("%q, %v", found, err)
				}
				return found[0]
			}
			to := filepath.Join(t.TempDir(), "new")
			_, report, err := Import(t.Context(), one("events.*"), to, Options{Name: "n", Items: one("items.*")})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"events.tsv", "items.tsv"} {
				want, got := sortedLines(t, filepath.Join(expected, name)), sortedLines(t, filepath.Join(to, name))
				columns := strings.Count(want[0], "\t") + 1
				for i, line := range got {
					fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
					got[i] = strings.Join(fields[:min(columns, len(fields))], "\t") + "\n"
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: got %q, want %q, report %+v", name, got, want, report)
				}
			}
		})
	}
}

func sortedLines(t *testing.T, path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(strings.Lines(string(text)))
}
