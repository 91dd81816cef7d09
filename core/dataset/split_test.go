package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Expected by hand. User 0 takes items 0, 1, 2, 3 (the tie in time at 3 goes by item, regardless of
// the order of the file), user 1 takes 4, 3, 2, 1.
func TestSequencesByHand(t *testing.T) {
	d := &Dataset{Name: "n", Users: []string{"u", "v"}, Items: make([]Item, 5), Events: []Event{
		{User: 1, Item: 4, Time: 1}, {User: 0, Item: 2, Time: 3}, {User: 0, Item: 1, Time: 3}, {User: 0, Item: 0, Time: 2},
		{User: 0, Item: 3, Time: 9}, {User: 1, Item: 3, Time: 2}, {User: 1, Item: 2, Time: 5}, {User: 1, Item: 1, Time: 9},
	}}
	targets, err := d.targets(Protocol{MaxHistory: 2, MinHistory: 2})
	if err != nil {
		t.Fatal(err)
	}
	var got []Sequence
	for _, s := range targets {
		got = append(got, s)
	}
	want := []Sequence{
		{User: 0, History: []int32{0, 1}, Next: 2, Time: 3, Row: 2},
		{User: 0, History: []int32{1, 2}, Next: 3, Time: 9, Row: 3},
		{User: 1, History: []int32{4, 3}, Next: 2, Time: 5, Row: 6},
		{User: 1, History: []int32{3, 2}, Next: 1, Time: 9, Row: 7},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if got := d.History(0, 3); !reflect.DeepEqual(got, []int32{1, 2, 3}) {
		t.Errorf("history %v", got)
	}
	if _, err := SplitChronological(d, DefaultProtocol()); err == nil || !strings.Contains(err.Error(), "too few") {
		t.Errorf("two sequences were split: %v", err)
	}
	for _, p := range []Protocol{{}, {MaxHistory: 2, MinHistory: 3}, {MaxHistory: 3}} {
		if _, err := d.Split(p); err == nil || strings.Contains(err.Error(), "too few") {
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
	stats, err := Describe(t.Context(), d, DefaultProtocol())
	if err != nil || stats.Density != 1 || stats.LastTime != 22 || stats.MedianHistory != 10 || stats.DuplicateTitles != 1 ||
		stats.Train != 16 || stats.TopItems[0] != (ItemCount{"0", 1}) {
		t.Errorf("stats %+v, %v", stats, err)
	}
}

// By hand: users with 5, 4, 3 and 1 events, at least two items before a target. The last event of
// each tests, the one before validates; of the third user only the last one has enough before it,
// of the fourth none.
func leaveOneOut() *Dataset {
	d := &Dataset{Name: "n", SplitBy: LeaveOneOut, Users: []string{"a", "b", "c", "d"}}
	for i := range 5 {
		d.Items = append(d.Items, Item{fmt.Sprint(i), fmt.Sprint(i), fmt.Sprint(i)})
	}
	for user, times := range [][]int64{{10, 20, 30, 40, 50}, {60, 70, 80, 90}, {1, 2, 3}, {5}} {
		for i, at := range times {
			d.Events = append(d.Events, Event{User: int32(user), Item: int32(i), Time: at})
		}
	}
	return d
}

func TestLeaveOneOut(t *testing.T) {
	d := leaveOneOut()
	p := Protocol{MaxHistory: 3, MinHistory: 2}
	s, err := d.Split(p)
	want := Split{
		Train:      []Sequence{{User: 0, History: []int32{0, 1}, Next: 2, Time: 30, Row: 2}},
		Validation: []Sequence{{User: 0, History: []int32{0, 1, 2}, Next: 3, Time: 40, Row: 3}, {User: 1, History: []int32{0, 1}, Next: 2, Time: 80, Row: 7}},
		Test:       []Sequence{{User: 2, History: []int32{0, 1}, Next: 2, Time: 3, Row: 11}, {User: 0, History: []int32{1, 2, 3}, Next: 4, Time: 50, Row: 4}, {User: 1, History: []int32{0, 1, 2}, Next: 3, Time: 90, Row: 8}},
	}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, %v", s, err)
	}
	// The last training target is at 30: only the test target at 3 is earlier. It is before the
	// first training target, which repeats it, as the validation sequence of the second user does;
	// that of the third user's test repeats both.
	stats, err := Describe(t.Context(), d, p)
	leaks := Leakage{ValidationUsers: 2, TestUsers: 3, TestUsersAhead: 1, TrainAfterTest: 1, ValidationRepeats: 1, TestRepeats: 2}
	if err != nil || stats.Leakage != leaks || stats.SingleEvents != 1 || stats.Train != 1 || stats.Test != 3 {
		t.Errorf("stats %+v, %v", stats, err)
	}
	short := *d
	short.Events = short.Events[9:]
	if _, err := short.Split(p); err == nil ||
		!strings.Contains(err.Error(), "0 sequences to train, 0 to validate and 1 to test (leave-one-out") {
		t.Errorf("three events were split: %v", err)
	}
}

// Figures by hand: ten targets at one time, cut at 8 and 9 by user.
func TestChronologicalTies(t *testing.T) {
	d := &Dataset{Name: "n", Items: make([]Item, 2)}
	for user := range int32(10) {
		d.Users = append(d.Users, fmt.Sprint(user))
		d.Events = append(d.Events, Event{User: user, Item: 1, Time: 7}, Event{User: user, Time: int64(user - 9)})
	}
	s, err := d.Split(Protocol{MaxHistory: 1, MinHistory: 1})
	if err != nil || len(s.Train) != 8 || len(s.Validation) != 1 || s.Validation[0].User != 8 || s.Test[0].User != 9 {
		t.Errorf("got %+v, %v", s, err)
	}
	stats, err := Describe(t.Context(), d, Protocol{MaxHistory: 1, MinHistory: 1})
	if want := (Leakage{ValidationUsers: 1, TestUsers: 1, ValidationRepeats: 1, TestRepeats: 1}); err != nil || stats.Leakage != want {
		t.Errorf("leakage %+v, %v: what happens at one time is not the future", stats.Leakage, err)
	}
}

// The hash of a data set that is split by time is that of its two files, as before there were other
// splits; others differ.
func TestHashKnowsTheSplit(t *testing.T) {
	d := leaveOneOut()
	seen := map[string]SplitKind{}
	for _, kind := range []SplitKind{"", LeaveOneOut, Given} {
		d.SplitBy = kind
		if other, twice := seen[d.Hash()]; twice {
			t.Errorf("%q and %q have one hash", kind, other)
		}
		seen[d.Hash()] = kind
	}
	implied := *d
	implied.SplitBy = ""
	d.SplitBy = Chronological
	sum := sha256.New()
	if err := errors.Join(d.writeItems(sum, Attributes{}), d.writeEvents(sum)); err != nil {
		t.Fatal(err)
	}
	if want := hex.EncodeToString(sum.Sum(nil)); d.Hash() != want || implied.Hash() != want {
		t.Errorf("%s and %s, want %s", d.Hash(), implied.Hash(), want)
	}
	dir := t.TempDir()
	d.SplitBy = LeaveOneOut
	if err := d.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil || again.Hash() != d.Hash() {
		t.Fatalf("read back as %+v, %v", again, err)
	}
	if again.recorded = ""; !reflect.DeepEqual(again, d) {
		t.Errorf("read back as %+v", again)
	}
	path := filepath.Join(dir, headFile)
	head, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for want, other := range map[string]string{"its hash is not that of the files": "chronological", `no split is called "random"`: "random"} {
		if err := os.WriteFile(path, bytes.Replace(head, []byte("leave-one-out"), []byte(other), 1), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("another split in dataset.json: want %q, got %v", want, err)
		}
	}
}
