package dataset

import "testing"

func FuzzLoad(f *testing.F) {
	f.Add(goodHead, goodItems, goodEvents)
	f.Add(`{"name":"n","users":2}`, "raw_title\titem_id\ttitle\r\nx\ty\tz\r\n", "user_id\titem_id\ttime\trating\nu\ty\t-1\t1e3\n")
	f.Fuzz(func(t *testing.T, head, items, events string) {
		d, err := load(files(headFile, head, itemsFile, items, eventsFile, events), ".")
		if err != nil {
			return
		}
		if _, err := Describe(t.Context(), d, DefaultProtocol()); err != nil {
			t.Fatal(err)
		}
	})
}
