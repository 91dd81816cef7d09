package dataset

import (
	"errors"
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
	if want := (Event{User: 1, Item: 1, Time: 5, Rating: 4.5}); d.Events[0] != want {
		t.Errorf("event %v, want %v", d.Events[0], want)
	}
	dir := t.TempDir()
	if err := d.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil || !reflect.DeepEqual(again, d) {
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
		{"events.tsv:4: the line is longer", goodHead, goodItems, goodEvents + strings.Repeat("x", 1<<20)},
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

// The official layout: u.item has 24 fields separated by |, in Latin-1; é is byte 0xe9 there. RecBole's layout: UTF-8.
func TestImportMovieLensBothFormsAgree(t *testing.T) {
	rest := "|01-Jan-1995||http://x" + strings.Repeat("|0", 19) + "\n"
	official := files("u.item", "1|Matrix, The (1999)"+rest+"2|Mis\xe9rables, Les (1995)"+rest+"3|unknown"+rest,
		"u.data", "10\t2\t3\t881250949\n9\t1\t5\t7\n")
	recBole := files("ml-100k.item", "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"+
		"1\tMatrix, The\t1999\tx\n2\tMisérables, Les\t1995\tx\n3\tunkonwn\tunkonwn\tx\n",
		"ml-100k.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n10\t2\t3\t881250949\n9\t1\t5\t7\n")
	a, err := ImportMovieLens100K(official)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ImportMovieLens100K(recBole)
	if err != nil {
		t.Fatal(err)
	}
	want := []Item{{"1", "The Matrix", "Matrix, The (1999)"}, {"2", "Les Misérables", "Misérables, Les (1995)"},
		{"3", "unknown", "unknown"}}
	if !reflect.DeepEqual(a.Items, want) {
		t.Errorf("got %v", a.Items)
	}
	if want := (Event{User: 1, Item: 1, Time: 881250949, Rating: 3}); a.Events[0] != want {
		t.Errorf("event %v, want %v", a.Events[0], want)
	}
	if a.Hash() != b.Hash() {
		t.Errorf("the two forms differ: %v, %v", a, b)
	}
	for want, change := range map[string]string{
		`u.data:3: item "x" is not in u.item`: "1\tx\t3\t4\n",
		"u.data:3: 3 fields":                  "1\t2\t3\n",
	} {
		bad := files("u.item", string(official["u.item"].Data), "u.data", string(official["u.data"].Data)+change)
		_, err := ImportMovieLens100K(bad)
		if format := (*FormatError)(nil); !errors.As(err, &format) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	gap := files("u.item", "1|A"+rest+"3|B"+rest, "u.data", "1\t3\t3\t4\n")
	if _, err := ImportMovieLens100K(gap); err == nil || !strings.Contains(err.Error(), `item 2 has the id "3"`) {
		t.Errorf("a gap among the ids: %v", err)
	}
	delete(official, "u.data")
	if _, err := ImportMovieLens100K(official); err == nil || !strings.Contains(err.Error(), "no layout that is known: u.data and u.item") {
		t.Errorf("half a folder: %v", err)
	}
}
