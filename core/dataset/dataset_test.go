package dataset

import (
	"errors"
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
	d, err := load(files(headFile, goodHead, itemsFile, goodItems, eventsFile, goodEvents), "x")
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
		{"items.tsv:4: the line is not UTF-8", goodHead, goodItems + "c\t\xff\tC\n", goodEvents},
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
		if _, err := load(folder, "x"); err == nil || !strings.Contains(err.Error(), c.want) {
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
		`u.data:3: item_id "x" is not a whole number`: "1\tx\t3\t4\n",
		"u.data:3: user 1 or item 4 is unknown":       "1\t4\t3\t4\n",
		"u.data:3: 3 fields":                          "1\t2\t3\n",
	} {
		bad := files("u.item", string(official["u.item"].Data), "u.data", string(official["u.data"].Data)+change)
		_, err := ImportMovieLens100K(bad)
		if format := (*FormatError)(nil); !errors.As(err, &format) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	delete(official, "u.data")
	if _, err := ImportMovieLens100K(official); err == nil || !strings.Contains(err.Error(), "no MovieLens-100K here") {
		t.Errorf("half a folder: %v", err)
	}
}

// Expected by hand. User 0 takes items 0, 1, 2, 3 (the tie in time at 3 goes by item, whatever the order of the file),
// user 1 takes 4, 3, 2, 1.
func TestSequencesByHand(t *testing.T) {
	d := &Dataset{Name: "n", Users: []string{"u", "v"}, Items: make([]Item, 5), Events: []Event{
		{User: 1, Item: 4, Time: 1}, {User: 0, Item: 2, Time: 3}, {User: 0, Item: 1, Time: 3}, {User: 0, Item: 0, Time: 2},
		{User: 0, Item: 3, Time: 9}, {User: 1, Item: 3, Time: 2}, {User: 1, Item: 2, Time: 5}, {User: 1, Item: 1, Time: 9},
	}}
	got, err := Sequences(d, Protocol{MaxHistory: 2, MinHistory: 2})
	want := []Sequence{
		{User: 0, History: []int32{0, 1}, Next: 2, Time: 3},
		{User: 1, History: []int32{4, 3}, Next: 2, Time: 5},
		{User: 0, History: []int32{1, 2}, Next: 3, Time: 9},
		{User: 1, History: []int32{3, 2}, Next: 1, Time: 9},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got := d.History(0, 3); !reflect.DeepEqual(got, []int32{1, 2, 3}) {
		t.Errorf("history %v", got)
	}
	if _, err := SplitChronological(d, DefaultProtocol()); err == nil || !strings.Contains(err.Error(), "too few") {
		t.Errorf("two sequences were split: %v", err)
	}
	for _, p := range []Protocol{{}, {MaxHistory: 2, MinHistory: 3}, {MaxHistory: 3}} {
		if _, err := Sequences(d, p); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}

// One user with 23 events has 20 positions with at least 3 earlier ones: 16, 2 and 2.
func TestSplitCutsByTime(t *testing.T) {
	d := &Dataset{Name: "n", Users: []string{"u"}, Items: make([]Item, 23)}
	for i := range 23 {
		d.Items[i].Title = fmt.Sprint(i % 22)
		d.Events = append(d.Events, Event{Item: int32(22 - i), Time: int64(22 - i)})
	}
	s, err := SplitChronological(d, DefaultProtocol())
	if err != nil || len(s.Train) != 16 || len(s.Validation) != 2 || len(s.Test) != 2 {
		t.Fatalf("got %v, %v", s, err)
	}
	if q := s.Test[1]; q.Next != 22 || !reflect.DeepEqual(q.History, []int32{12, 13, 14, 15, 16, 17, 18, 19, 20, 21}) {
		t.Errorf("last sequence %v", q)
	}
	if q := s.Train[0]; q.Next != 3 || len(q.History) != 3 {
		t.Errorf("first sequence %v", q)
	}
	stats, err := Describe(d, DefaultProtocol())
	if err != nil || stats.Density != 1 || stats.LastTime != 22 || stats.MedianHistory != 10 || stats.DuplicateTitles != 1 ||
		stats.Train != 16 || stats.TopItems[0] != (ItemCount{"0", 1}) {
		t.Errorf("stats %+v, %v", stats, err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(goodHead, goodItems, goodEvents)
	f.Add(`{"name":"n","users":2}`, "raw_title\titem_id\ttitle\r\nx\ty\tz\r\n", "user_id\titem_id\ttime\trating\nu\ty\t-1\t1e3\n")
	f.Fuzz(func(t *testing.T, head, items, events string) {
		d, err := load(files(headFile, head, itemsFile, items, eventsFile, events), "x")
		if err != nil {
			return
		}
		if _, err := Describe(d, DefaultProtocol()); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzImportMovieLens100K(f *testing.F) {
	f.Add("1|A, The (1990)"+strings.Repeat("|", 22)+"\n", "1\t1\t3\t4\n")
	f.Fuzz(func(t *testing.T, items, events string) {
		d, err := ImportMovieLens100K(files("u.item", items, "u.data", events))
		if err == nil && (len(d.Items) == 0 || len(d.Events) == 0) {
			t.Fatal("an empty data set was imported")
		}
	})
}
