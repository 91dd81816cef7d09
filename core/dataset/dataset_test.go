package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

// files makes a folder in memory.
func files(pairs ...string) fstest.MapFS {
	folder := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		folder[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return folder
}

const (
	goodHead   = `{"name": "hand-made"}`
	goodItems  = "item_id\ttitle\traw_title\na\tThe \"A\"\tA \"A\", The\nb\tB\tB (1999)\n"
	goodEvents = "user_id\titem_id\ttime\trating\n10\tb\t5\t4.5\n9\ta\t7\t1\n"
)

func TestSaveLoadRoundTrip(t *testing.T) {
	d, err := load(files(headFile, goodHead, itemsFile, goodItems, eventsFile, goodEvents), ".")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"9", "10"}; !reflect.DeepEqual(d.Users, want) {
		t.Errorf("users %v, want %v: sorted as numbers", d.Users, want)
	}
	if want := (Event{User: 1, Item: 1, Time: 5, Rating: 4.5}); d.Events[1] != want {
		t.Errorf("event %v, want %v: events sorted by user", d.Events[1], want)
	}
	dir := t.TempDir()
	if err := d.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil || again.Hash() != d.Hash() {
		t.Fatalf("got %+v, %v, want %+v", again, err, d)
	}
	if again.recorded = ""; !reflect.DeepEqual(again, d) || again.Hash() != d.Hash() {
		t.Errorf("got %+v, %v, want %+v", again, err, d)
	}
	d.Events[0].Rating = 3
	if again.Hash() == d.Hash() {
		t.Error("a changed rating leaves the hash as it was")
	}
	d.Items[0].Title = "a\tb"
	if err := d.Save(dir); err == nil || !strings.Contains(err.Error(), "without tabs") {
		t.Errorf("a title with a tab: %v", err)
	}
	if _, err := Load(dir); err != nil {
		t.Errorf("a refused Save damaged the folder: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct{ want, head, items, events string }{
		{"not a data set folder", "", goodItems, goodEvents},
		{"dataset.json: ", "{", goodItems, goodEvents},
		{`"name" is missing`, "{}", goodItems, goodEvents},
		{"says 3 users, the files have 2", `{"name":"n","users":3}`, goodItems, goodEvents},
		{"its hash is not", `{"name":"n","hash":"00"}`, goodItems, goodEvents},
		{`items.tsv:1: no column "raw_title"`, goodHead, "item_id\ttitle\na\tA\n", goodEvents},
		{`items.tsv:4: item_id "a" occurs twice`, goodHead, goodItems + "a\tA\tA\n", goodEvents},
		{"items.tsv:4: item_id or title is empty", goodHead, goodItems + "c\t\tA\n", goodEvents},
		{"items.tsv:4: 2 fields separated by \"\\t\", expected 3", goodHead, goodItems + "c\tC\n", goodEvents},
		{"items.tsv:4: title is not UTF-8", goodHead, goodItems + "c\t\xff\tC\n", goodEvents},
		{"items.tsv:1: the file is empty", goodHead, "", goodEvents},
		{"has no items", goodHead, "item_id\ttitle\traw_title\n", goodEvents},
		{"has no events", goodHead, goodItems, "user_id\titem_id\ttime\trating\n"},
		{`events.tsv:1: no column "time"`, goodHead, goodItems, "user_id\titem_id\trating\n9\ta\t7\n"},
		{`events.tsv:4: item_id "z" is not in items.tsv`, goodHead, goodItems, goodEvents + "9\tz\t7\t1\n"},
		{`events.tsv:4: time "noon" is not a whole number`, goodHead, goodItems, goodEvents + "9\ta\tnoon\t1\n"},
		{`events.tsv:4: rating "good" is not a finite number`, goodHead, goodItems, goodEvents + "9\ta\t7\tgood\n"},
		{`events.tsv:4: rating "NaN" is not a finite number`, goodHead, goodItems, goodEvents + "9\ta\t7\tNaN\n"},
		{"events.tsv:4: user_id is empty", goodHead, goodItems, goodEvents + "\ta\t7\t1\n"},
		{"events.tsv:4: the line is longer", goodHead, goodItems, goodEvents + strings.Repeat("x", LongestRecord+1)},
	} {
		folder := files(headFile, c.head, itemsFile, c.items, eventsFile, c.events)
		if c.head == "" {
			delete(folder, headFile)
		}
		if _, err := load(folder, "."); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

// Optional parts of a folder: attributes, empty ratings, byte-order marks.
func TestLoadAttributes(t *testing.T) {
	const mark = "\ufeff"
	d, err := load(files(headFile, mark+goodHead, itemsFile, mark+"genres\titem_id\ttitle\traw_title\nx|y\ta\tA\tA\n\tb\tB\tB\n",
		usersFile, mark+"user_id\tage\n8\t1\n9\t30\n", eventsFile, mark+"user_id\titem_id\ttime\trating\n10\tb\t5\t\n9\ta\t7\t1\n"), ".")
	if err != nil {
		t.Fatal(err)
	}
	items, users := Attributes{[]string{"genres"}, [][]string{{"x|y"}, {""}}}, Attributes{[]string{"age"}, [][]string{{"30"}, {""}}}
	if !reflect.DeepEqual(d.ItemAttributes, items) || !reflect.DeepEqual(d.UserAttributes, users) || d.Events[1].Rating == d.Events[1].Rating {
		t.Errorf("got %+v", d)
	}
	dir := t.TempDir()
	if err := d.Save(dir); err != nil {
		t.Fatal(err)
	}
	if again, err := Load(dir); err != nil || !reflect.DeepEqual(again.ItemAttributes, items) || !reflect.DeepEqual(again.UserAttributes, users) {
		t.Errorf("got %+v, %v", again, err)
	}
	for want, names := range map[string][]string{"used twice": {"genres", "genres"}, "is empty": {""}, "1 values for 2 names": {"a", "b"},
		"tab or a line break": {"a\tb"}} {
		d.ItemAttributes.Names = names
		if want != "1 values for 2 names" {
			for i := range d.ItemAttributes.Values {
				d.ItemAttributes.Values[i] = make([]string, len(names))
			}
		}
		if err := d.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		d.ItemAttributes.Values = [][]string{{"x"}, {""}}
	}
}

// Ids are texts: those that look like one number are different ones.
func TestLoadIDs(t *testing.T) {
	ids := []string{"7", "007", "0", "00", "+7", "-7", "7.0", "999999999", "12345678901234567890", "x", "11", "3"}
	items, events := "item_id\ttitle\traw_title\n", "user_id\titem_id\ttime\trating\n"
	for time, id := range ids {
		items += id + "\tT\tT\n"
		events += fmt.Sprintf("u\t%s\t%d\t1\n", id, time)
	}
	d, err := load(files(headFile, goodHead, itemsFile, items, eventsFile, events), ".")
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range d.Events {
		if e.Item != int32(i) {
			t.Errorf("%q is read as item %d, %q", ids[i], e.Item, d.Items[e.Item].ID)
		}
	}
	for _, none := range []string{"8", "07", "", "1000000000", "y"} {
		if _, err := load(files(headFile, goodHead, itemsFile, items, eventsFile, events+"u\t"+none+"\t99\t1\n"), "."); err == nil {
			t.Errorf("an event of item %q is read", none)
		}
	}
}

// Files that a person has written otherwise than Save does, such as with Windows' line ends, keep
// the hash of their content.
func TestLoadHash(t *testing.T) {
	d, err := load(files(headFile, goodHead, itemsFile, goodItems, eventsFile, goodEvents), ".")
	if err != nil {
		t.Fatal(err)
	}
	head := `{"name": "n", "hash": "` + d.Hash() + `"}`
	for _, events := range []string{goodEvents, strings.ReplaceAll(goodEvents, "\n", "\r\n")} {
		again, err := load(files(headFile, head, itemsFile, goodItems, eventsFile, events), ".")
		if err != nil || again.Hash() != d.Hash() {
			t.Errorf("%q: %v, %v", events, again, err)
		}
	}
	changed := strings.Replace(goodEvents, "4.5", "3.5", 1)
	if _, err := load(files(headFile, head, itemsFile, goodItems, eventsFile, changed), "."); err == nil || changed == goodEvents {
		t.Errorf("a changed rating: %v", err)
	}
}

// The hash does not depend on the order of events. A folder from the time when it did is read and
// keeps its hash.
func TestHashOfEventsInAnyOrder(t *testing.T) {
	const first, second = "10\tb\t5\t4.5\n", "9\ta\t7\t1\n"
	read := func(head, events string) (*Dataset, error) {
		return load(files(headFile, head, itemsFile, goodItems, eventsFile, "user_id\titem_id\ttime\trating\n"+events), ".")
	}
	sorted, err := read(goodHead, second+first)
	other, err2 := read(goodHead, first+second)
	if err != nil || err2 != nil || sorted.Hash() != other.Hash() || !reflect.DeepEqual(sorted, other) {
		t.Fatalf("%+v and %+v, %v, %v", sorted, other, err, err2)
	}
	sum := sha256.Sum256([]byte(goodItems + "user_id\titem_id\ttime\trating\n" + first + second))
	recorded := hex.EncodeToString(sum[:])
	old, err := read(`{"name": "old", "hash": "`+recorded+`"}`, first+second)
	if err != nil || old.Hash() != recorded || recorded == sorted.Hash() || !reflect.DeepEqual(old.Events, sorted.Events) {
		t.Errorf("%+v, %v", old, err)
	}
}
