package app

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/importer"
)

// The import of a file with one row that cannot be used: what is kept, what is said, and that the
// data set is there.
func TestDataImport(t *testing.T) {
	dir := t.TempDir()
	events := "who,item,time,rating\n" + "u,9,1,5\n"
	events += "w,2,1,5\n"
	for _, row := range []string{"1,1,5", "2,2,4", "1,3,5", "2,4,1", "1,5,4"} {
		events += "u," + row + "\nv," + row + "\n"
	}
	write(t, filepath.Join(dir, "e.csv"), []byte(events))
	write(t, filepath.Join(dir, "i.csv"), []byte("item,title\n1,\"Matrix, The (1999)\"\n2,Fargo\n"))
	command := []string{"data", "import", "@e.csv", "--items", "@i.csv", "--user", "who"}

	stdout, stderr := runs(t, dir, with(command, "--to", "@new", "--min-rating", "2", "--split", "leave-one-out")...)
	contains(t, stdout, "3, 2, 9 (", "leave-one-out", "0 to train, 0 to validate, 2 to test", "The Matrix (6)", "not known: ask",
		"0 of 2 test users", "1 users have one event")
	contains(t, stderr, "12 rows read, 9 imported, 3 skipped", "1 skipped whose item has no title", "2 skipped below the lowest rating",
		"no sequence is left to train on", "columns: user from who, item from item, time from time, rating from rating, title from title",
		`e.csv:2: item "9" is not in `)
	again, _ := runs(t, dir, "data", "stats", "--data", "@new")
	if again != stdout {
		t.Errorf("stats says\n%s\nimporting said\n%s", again, stdout)
	}
	var all struct {
		Import importer.Report
		Stats  dataset.Stats
	}
	parses(t, &all, dir, with(command, "--to", "@other", "--k-core", "2", "--json")...)
	if all.Import.Untitled != 1 || all.Stats.Events != 10 || all.Stats.SplitBy != dataset.Chronological || all.Stats.Name != "other" {
		t.Errorf("%+v", all)
	}
	fails(t, 1, []string{"new exists; choose another folder"}, dir, with(command, "--to", "@new")...)
	fails(t, 1, []string{`e.csv:2: item "9" is not in `, "add the item there or remove the line"}, dir,
		with(command, "--to", "@strict", "--strict")...)
	if exists(filepath.Join(dir, "strict")) {
		t.Error("a refused import left a folder")
	}
	for want, args := range map[string]string{
		"name one folder or file": "data import --to x", "--to is missing": "data import x", "name one folder": "data import x y --to z",
	} {
		fails(t, 2, []string{want, "see recint data import --help"}, dir, strings.Fields(args)...)
	}
}

// Data that are already split have no users and events, and the output says what is unknown.
func TestDataStatsGiven(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"items.tsv": "item_id\ttitle\nx\tA\ny\tB\n", "train.tsv": "history\tnext\nx\ty\n",
		"validation.tsv": "history\tnext\ny\tx\n", "test.tsv": "history\tnext\nx x\ty\n"} {
		mkdir(t, filepath.Join(dir, "parts"))
		write(t, filepath.Join(dir, "parts", name), []byte(text))
	}
	stdout, _ := runs(t, dir, "data", "import", "@parts", "--to", "@new")
	contains(t, stdout, "given", "1 to train, 1 to validate, 1 to test", "came without times", "0 of 1 test sequences are in training",
		"B (2)")
	if strings.Contains(stdout, "users") {
		t.Error(stdout)
	}
}
