package dataset

import (
	"strings"
	"testing"
)

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

// imports checks that whatever an import makes of two files can be stored, read back and described, and that no row is lost
// without being counted; strict or not, the same rows are taken.
func imports(t *testing.T, from, itemsName, items, eventsName, events string, o ImportOptions) {
	folder := files(itemsName, items, eventsName, events)
	d, report, err := importFrom(t.Context(), folder, from, o)
	if err != nil {
		return
	}
	left := report.Rows - report.Untitled - report.Duplicates - report.BelowRating - report.OutsideCore
	if n := len(d.Events) + len(d.Parts.Train) + len(d.Parts.Validation) + len(d.Parts.Test); n > left || n < left-report.Malformed {
		t.Fatalf("%d rows are left, report %+v", n, report)
	}
	if _, err := Describe(t.Context(), d, DefaultProtocol()); err != nil {
		t.Fatal(err)
	}
	hash := d.Hash()
	stores(t, d)
	o.Strict = true
	if d, _, err := importFrom(t.Context(), folder, from, o); err == nil && d.Hash() != hash {
		t.Fatal("strict takes other rows")
	}
}

func FuzzImportMovieLens100K(f *testing.F) {
	f.Add("1|A, The (1990)"+strings.Repeat("|", 22)+"\n", "1\t1\t3\t4\n")
	f.Add("1|\xe9"+strings.Repeat("|", 22)+"\n", "1\t1\t3\t4\n1\t1\t3\t4\n1\t2\t3")
	f.Fuzz(func(t *testing.T, items, events string) {
		d, err := ImportMovieLens100K(files("u.item", items, "u.data", events))
		if err == nil && (len(d.Items) == 0 || len(d.Events) == 0) {
			t.Fatal("an empty data set was imported")
		}
		imports(t, ".", "u.item", items, "u.data", events, ImportOptions{})
	})
}

func FuzzImportMovieLens1M(f *testing.F) {
	f.Add("1::A, The (1990)::x\n2::\xe9::y\n", "1::1::3::4\n1::2::3.5::4\n:::::\n")
	f.Fuzz(func(t *testing.T, items, events string) {
		imports(t, ".", "movies.dat", items, "ratings.dat", events, ImportOptions{KCore: 1})
	})
}

func FuzzImportCSV(f *testing.F) {
	f.Add(csvItems, csvEvents)
	f.Add("\ufeffitem,title\n1,\"a\nb\"\"\"\n", "user,item,time\n\"\n\",1,2\nu,1,2020-01-01\n\xff,1,3\nu,1\n\"")
	f.Fuzz(func(t *testing.T, items, events string) {
		imports(t, "e.csv", "i.csv", items, "e.csv", events, ImportOptions{Items: "i.csv", KCore: 2})
	})
}

func FuzzImportRecBole(f *testing.F) {
	f.Add("item_id:token\tmovie_title:token_seq\trelease_year:token\n1\tA, The\t1990\n",
		"user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1\t3\t4\n")
	f.Fuzz(func(t *testing.T, items, events string) {
		lowest := float32(2)
		imports(t, ".", "x.item", items, "x.inter", events, ImportOptions{MinRating: &lowest})
	})
}

func FuzzImportJSONL(f *testing.F) {
	f.Add(`{"item":1,"title":"A"}`, `{"user":"u","item":1,"time":5,"rating":2}`+"\n"+`{"user":null,"item":1e0}`+"\n{\n")
	f.Add(`{"item":"\xff","title":"\u00e9"}`, `{"user":["u"],"item":"\xff","time":"2020-01-01"}`)
	f.Fuzz(func(t *testing.T, items, events string) {
		imports(t, "e.jsonl", "i.jsonl", items, "e.jsonl", events, ImportOptions{Items: "i.jsonl", SplitBy: LeaveOneOut})
	})
}

func FuzzImportParquet(f *testing.F) {
	items, events := parquetFiles()
	f.Add(items, events)
	f.Add(items, events[:len(events)-9])
	f.Fuzz(func(t *testing.T, items, events string) {
		imports(t, "e.parquet", "i.parquet", items, "e.parquet", events, ImportOptions{Items: "i.parquet",
			Columns: Columns{User: "User", Title: "Title", Rating: "Rating"}})
	})
}

func FuzzImportGiven(f *testing.F) {
	f.Add("item_id\ttitle\nx\tA\ny z\tB\n", "history\tnext\nx x\tx\nx\ty\n\tx\n")
	f.Fuzz(func(t *testing.T, items, sequences string) {
		folder := files("items.tsv", items, "train.tsv", sequences, "validation.tsv", sequences, "test.tsv", sequences)
		d, report, err := importFrom(t.Context(), folder, ".", ImportOptions{Name: "n"})
		if err != nil {
			return
		}
		if n := 3 * len(d.Parts.Train); n > report.Rows-report.Untitled || n < report.Rows-report.Untitled-report.Malformed {
			t.Fatalf("%d sequences, report %+v", len(d.Parts.Train), report)
		}
		stores(t, d)
	})
}
