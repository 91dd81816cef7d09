package dataset_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// A data set of three items and one user is saved, loaded and split. Titles are found in the forms
// that people write.
func Example() {
	d := &dataset.Dataset{
		Name:  "three films",
		Items: []dataset.Item{{ID: "1", Title: "Toy Story"}, {ID: "2", Title: "The Good, the Bad and the Ugly"}, {ID: "3", Title: "Fargo"}},
		Users: []string{"ann"},
		Events: []dataset.Event{
			{User: 0, Item: 0, Time: 100}, {User: 0, Item: 1, Time: 200}, {User: 0, Item: 2, Time: 300},
		},
	}
	dir, err := os.MkdirTemp("", "dataset")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	folder := filepath.Join(dir, "films")
	if err := d.Save(folder); err != nil {
		log.Fatal(err)
	}
	if d, err = dataset.Load(folder); err != nil {
		log.Fatal(err)
	}
	user, _ := d.User("ann")
	for _, item := range d.History(user, 10) {
		fmt.Println(d.Items[item].Title)
	}
	// Output:
	// Toy Story
	// The Good, the Bad and the Ugly
	// Fargo
}

// MovieLens moves articles to the end and appends the year.
func ExampleCleanTitle() {
	fmt.Println(dataset.CleanTitle("Silence of the Lambs, The (1991)"))
	// Output: The Silence of the Lambs
}
