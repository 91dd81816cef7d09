package importer_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/core/importer"
)

// A CSV file becomes a data set. The report accounts for every row.
func Example() {
	dir, err := os.MkdirTemp("", "importer")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	source := filepath.Join(dir, "plays.csv")
	text := "user_id,item_id,timestamp,title\n" +
		"ann,a1,1700000000,Blue Train\n" +
		"ann,b2,1700000100,Kind of Blue\n" +
		"ben,a1,1700000200,Blue Train\n" +
		"ben,a1,1700000200,Blue Train\n"
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		log.Fatal(err)
	}
	d, report, err := importer.Import(context.Background(), source, filepath.Join(dir, "plays"), importer.Options{Name: "plays"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d items, %d users; %d of %d rows imported, duplicates: %d\n", len(d.Items), len(d.Users), report.Imported, report.Rows,
		report.Duplicates)
	// Output: 2 items, 2 users; 3 of 4 rows imported, duplicates: 1
}
