package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/parquet-go/parquet-go"
)

// One small data set in every form: users 7 and 12, films 1 and 3, the rating 4.5 and the second user's time in 1970.
var (
	sameItems = []Item{{"1", "The Matrix", "Matrix, The (1999)"}, {"3", "Café \"A\", B", "Café \"A\", B (2001)"}}
	sameUsers = []string{"7", "12"}
	same      = []Event{{1, 1, 5, 4.5}, {0, 0, 86400, 1}, {0, 1, 86401, 2}}
)

const (
	csvItems  = "movieId,title,genres\r\n1,\"Matrix, The (1999)\",x\r\n3,\"Café \"\"A\"\", B (2001)\",\r\n"
	csvEvents = "userId,movieId,rating,timestamp\n12,3,4.5,5\n7,1,1,86400\n7,3,2,86401\n"
)

// rows writes a Parquet file.
func rows[T any](all ...T) string {
	var out bytes.Buffer
	if err := parquet.Write(&out, all); err != nil {
		panic(err)
	}
	return out.String()
}

type (
	parquetItem struct {
		Item  int64 `parquet:"item_id"`
		Title string
		Year  []int32 // a list: not a column that can be read
	}
	parquetEvent struct {
		Note   string // of no interest
		User   *float64
		Item   int64     `parquet:"item_id"`
		When   time.Time `parquet:"timestamp,timestamp(microsecond)"`
		Rating float32
	}
)

func parquetFiles() (items, events string) {
	user := func(id float64) *float64 { return &id }
	return rows(parquetItem{1, sameItems[0].RawTitle, []int32{1999}}, parquetItem{3, sameItems[1].RawTitle, nil}),
		rows(parquetEvent{"a", user(12), 3, time.Unix(5, 999_999_000), 4.5}, parquetEvent{"b", user(7), 1, time.Unix(86400, 0), 1},
			parquetEvent{"c", user(7), 3, time.Unix(86401, 0), 2})
}

func TestImportEveryForm(t *testing.T) {
	parquetItems, parquetEvents := parquetFiles()
	blank := strings.Repeat("|", 22)
	for name, c := range map[string]struct {
		from   string
		folder fstest.MapFS
		o      ImportOptions
	}{
		"MovieLens 100K": {".", files("u.item", "1|Matrix, The (1999)"+blank+"\n3|Caf\xe9 \"A\", B (2001)"+blank+"\n",
			"u.data", "12\t3\t4.5\t5\n7\t1\t1\t86400\n7\t3\t2\t86401\n"), ImportOptions{}},
		"MovieLens 1M": {"ml-1m", files("ml-1m/movies.dat", "1::Matrix, The (1999)::x|y\n3::Caf\xe9 \"A\", B (2001)::z\n",
			"ml-1m/ratings.dat", "12::3::4.5::5\n7::1::1::86400\n7::3::2::86401\n"), ImportOptions{}},
		"MovieLens 25M": {".", files("movies.csv", "\ufeff"+csvItems, "ratings.csv", csvEvents), ImportOptions{}},
		"RecBole": {".", files("x.item", "title:token_seq\titem_id:token\trelease_year:float\nMatrix, The\t1\t1999\nCafé \"A\", B\t3\t2001\n",
			"x.inter", "user_id:token\titem_id:token\ttimestamp:float\trating:float\n12\t3\t5.9\t4.5\n7\t1\t86400.0\t1\n7\t3\t86401\t2\n",
			"x.user", ""), ImportOptions{}},
		"CSV": {"e.csv", files("i.csv", csvItems, "e.csv", csvEvents), ImportOptions{Items: "i.csv"}},
		"CSV and TSV": {"e.csv", files("i.tsv", "\ufefftitle\titemId\nMatrix, The (1999)\t1\nCafé \"A\", B (2001)\t3\n", "e.csv", csvEvents),
			ImportOptions{Items: "i.tsv"}},
		"named columns, dates": {"e.csv", files("i.csv", "film,called,title\n1,\"Matrix, The (1999)\",x\n3,\"Café \"\"A\"\", B (2001)\",y\n",
			"e.csv", "who,film,at,liked\n12,3,1970-01-01T00:00:05Z,4.5\n7,1,1970-01-02,1\n7,3,1970-01-02 00:00:01,2\n"), ImportOptions{
			Items: "i.csv", Columns: Columns{User: "who", Item: "film", Time: "at", Rating: "liked", Title: "called"}}},
		"JSONL": {"e.jsonl", files("i.ndjson", `{"item_id": 1, "title": "Matrix, The (1999)"}`+"\n"+
			`{"title": "Caf\u00e9 \"A\", B (2001)", "item_id": 3, "x": {}}`,
			"e.jsonl", `{"user":"12","item_id":3,"time":5,"rating":4.5}`+"\n\n"+`{"user":7,"item_id":1,"time":86400,"rating":1,"text":"x"}`+"\n"+
				`{"user":7,"item_id":3,"time":86401,"rating":2}`+"\n"), ImportOptions{Items: "i.ndjson"}},
		"Parquet": {"e.parquet", files("i.parquet", parquetItems, "e.parquet", parquetEvents), ImportOptions{Items: "i.parquet",
			Columns: Columns{User: "User", Title: "Title", Rating: "Rating"}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Strict = true
			d, report, err := importFrom(t.Context(), c.folder, c.from, c.o)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(d.Items, sameItems) || !reflect.DeepEqual(d.Users, sameUsers) || !reflect.DeepEqual(d.Events, same) {
				t.Errorf("got %+v", d)
			}
			if want := (ImportReport{Layout: report.Layout, Rows: 3}); !reflect.DeepEqual(report, want) {
				t.Errorf("report %+v", report)
			}
		})
	}
}

// Every bad row is left out, counted and shown with file and line, or refused; what stands around it is read.
func TestImportBadRows(t *testing.T) {
	const events = "user,item,time,rating\n" // line 1
	good := "u,1,5,3\n"                      // line 2
	parquetItems, _ := parquetFiles()
	for name, c := range map[string]struct {
		items, events string // "" items: two films
		report        ImportReport
		says          string
	}{
		"missing field":     {"", good + "u,1,6\n", ImportReport{Rows: 1, Malformed: 1}, "e.csv:3: wrong number of fields"},
		"bare quote":        {"", good + "u,1\"x,6,1\n", ImportReport{Rows: 1, Malformed: 1}, `e.csv:3: bare "`},
		"time in words":     {"", good + "u,1,noon,3\n", ImportReport{Rows: 2, Malformed: 1}, `e.csv:3: time "noon" is not a whole number`},
		"time out of range": {"", good + "u,1,1e300,3\n", ImportReport{Rows: 2, Malformed: 1}, "e.csv:3: time"},
		"NaN rating": {"", good + "u,1,6,NaN\n", ImportReport{Rows: 2, Malformed: 1},
			"e.csv:3: rating \"NaN\" is not a finite number"},
		"no user":      {"", good + ",1,6,3\n", ImportReport{Rows: 2, Malformed: 1}, "e.csv:3: user is empty"},
		"tab in an id": {"", good + "\"u\tv\",1,6,3\n", ImportReport{Rows: 2, Malformed: 1}, `e.csv:3: user is "u\tv"`},
		"line after a break": {"item,title\n1,\"A\nB\"\n2,B\n,C\n", good, ImportReport{Rows: 1, Malformed: 1},
			"i.csv:5: item is empty"},
		"untitled": {"", good + "u,9,6,3\n", ImportReport{Rows: 2, Untitled: 1}, `e.csv:3: item "9" is not in i.csv; add the item`},
		"repeated": {"", good + "u,1,5,4\nu,1,6,4\nv,1,5,4\n", ImportReport{Rows: 4, Duplicates: 1},
			`user "u" has item "1" twice at time 5`},
		"huge field": {"", good + strings.Repeat("u", longestField+1) + ",1,6,3\n", ImportReport{Rows: 1, Malformed: 1},
			"e.csv:3: user is 65537 bytes long, expected at most 65536"},
		"user in Latin-1": {"", "Andr\xe9,1,5,3\n", ImportReport{Rows: 1, Latin1: 1}, "e.csv:2: user is not UTF-8"},
		"title in Latin-1": {"item,title\n1,Am\xe9lie\n2,B\n", good, ImportReport{Rows: 1, Latin1: 1},
			`i.csv:2: title is not UTF-8: "Am\xe9lie"`},
		"no title": {"item,title\n1,A\n2,  \n", good, ImportReport{Rows: 1, Malformed: 1}, `i.csv:3: item "2" has no title`},
		"two titles": {"item,title\n1,A\n2,B\n1,C\n1,A\n", good, ImportReport{Rows: 1, Malformed: 1},
			`i.csv:4: item "1" has another title above, "A"`},
		"no item id":       {"item,title\n1,A\n,B\n", good, ImportReport{Rows: 1, Malformed: 1}, "i.csv:3: item is empty"},
		"broken title row": {"item,title\n1,A\n2,B,C\n", good, ImportReport{Rows: 1, Malformed: 1}, "i.csv:3: wrong number of fields"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.items == "" {
				c.items = "item,title\n1,A\n2,B\n"
			}
			folder := files("i.csv", c.items, "e.csv", events+c.events, "i.parquet", parquetItems)
			d, report, err := importFrom(t.Context(), folder, "e.csv", ImportOptions{Items: "i.csv", Name: "n"})
			if err != nil {
				t.Fatal(err)
			}
			if report.Malformed+report.Untitled > 0 && !strings.Contains(report.First[0], c.says) {
				t.Errorf("%q is not in %q", c.says, report.First)
			}
			report.First, report.Layout = nil, ""
			if !reflect.DeepEqual(report, c.report) {
				t.Errorf("report %+v, want %+v", report, c.report)
			}
			if c.report.Latin1 > 0 && d.Users[0] != "André" && d.Items[0].Title != "Amélie" {
				t.Errorf("read as %q, %q", d.Users[0], d.Items[0].Title)
			}
			stores(t, d)
			_, _, err = importFrom(t.Context(), folder, "e.csv", ImportOptions{Items: "i.csv", Strict: true})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("strict: want %q, got %v", c.says, err)
			}
		})
	}
}

// A Parquet file with one broken byte, wherever it is, is read or refused: the library's panics, of which some of these
// give one, go no further.
func TestImportBrokenParquet(t *testing.T) {
	items, events := parquetFiles()
	refused := 0
	for at := range events {
		for _, bit := range []byte{1, 128} {
			broken := []byte(events)
			broken[at] ^= bit
			folder := files("i.parquet", items, "e.parquet", string(broken))
			if _, _, err := importFrom(t.Context(), folder, "e.parquet", ImportOptions{Items: "i.parquet",
				Columns: Columns{User: "User", Title: "Title", Rating: "Rating"}}); err != nil {
				refused++
			}
		}
	}
	if refused < len(events)/2 {
		t.Errorf("%d of %d broken files were refused", refused, 2*len(events))
	}
}

// What no row can be blamed for is an error, strict or not.
func TestImportRefuses(t *testing.T) {
	const items, events = "item,title\n1,A\n", "user,item,time\nu,1,5\n"
	_, parquetEvents := parquetFiles()
	stars := float32(3)
	for want, c := range map[string]struct {
		from, events, items string
		o                   ImportOptions
	}{
		"e.csv:1: the file is empty":                               {"e.csv", "", items, ImportOptions{}},
		"e.csv:1: no column that looks like the time":              {"e.csv", "user,item\nu,1\n", items, ImportOptions{}},
		`e.csv:1: no column "when"`:                                {"e.csv", events, items, ImportOptions{Columns: Columns{Time: "when"}}},
		"e.csv: of 1 events none is left; loosen the filters":      {"e.csv", events, items, ImportOptions{KCore: 2}},
		`the first that was left out: e.csv:2: item "2" is not in`: {"e.csv", "user,item,time\nu,2,5\n", items, ImportOptions{}},
		"e.csv:3: the record is longer than 1048576 bytes; is a qu": {"e.csv", events + "\"" + strings.Repeat("x\n", 1<<20), items,
			ImportOptions{}},
		"e.tsv:2: the line is longer than 1048576 bytes": {"e.tsv", "user\titem\ttime\n" + strings.Repeat("x", 2<<20), items, ImportOptions{}},
		"e.jsonl:1: ":                            {"e.jsonl", "[]\n", items, ImportOptions{}},
		"e.parquet: it is not an intact Parquet": {"e.parquet", parquetEvents[:len(parquetEvents)/2], items, ImportOptions{}},
		"e.csv has no column of ratings":         {"e.csv", events, items, ImportOptions{MinRating: &stars}},
		"the k of a k-core is -1":                {"e.csv", events, items, ImportOptions{KCore: -1}},
		`no split is called "random"`:            {"e.csv", events, items, ImportOptions{SplitBy: "random"}},
		"e.csv is not split; choose":             {"e.csv", events, items, ImportOptions{SplitBy: Given}},
		"i.csv: it has no items":                 {"e.csv", events, "item,title\n", ImportOptions{}},
		`the ending ".txt" says nothing`:         {"e.txt", events, items, ImportOptions{}},
		"none.csv":                               {"none.csv", events, items, ImportOptions{}},
	} {
		folder := files("i.csv", c.items)
		if c.from != "none.csv" {
			folder[c.from] = &fstest.MapFile{Data: []byte(c.events)}
		}
		c.o.Items = "i.csv"
		if _, _, err := importFrom(t.Context(), folder, c.from, c.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	folder := files("e.csv", events, "i.csv", items)
	for want, o := range map[string]ImportOptions{
		"name the file with the titles": {}, "no layout that is known": {Columns: Columns{User: "folder"}},
		"brings its own titles": {Items: "i.csv", Columns: Columns{User: "folder"}},
	} {
		from := "e.csv"
		if o.Columns.User == "folder" {
			from = "."
		}
		if _, _, err := importFrom(t.Context(), folder, from, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// Expected by hand. Ratings below 3 leave out one event of user a and item 3. Then item 3 has one event and goes with it,
// which leaves user c one event and removes it; a and b keep items 1 and 2. Times out of order and equal titles change
// nothing.
func TestImportFilters(t *testing.T) {
	folder := files("i.csv", "item,title\n0,Unseen\n1,A (1999)\n2,A (2000)\n3,C\n", "e.csv", "user,item,time,rating\n"+
		"c,1,1,3\nc,3,2,5\na,2,9,3\na,1,8,5\na,3,7,2.5\nb,1,1,4\nb,2,2,4\n")
	lowest := float32(3)
	d, report, err := importFrom(t.Context(), folder, "e.csv", ImportOptions{Items: "i.csv", MinRating: &lowest, KCore: 2,
		SplitBy: LeaveOneOut})
	if err != nil {
		t.Fatal(err)
	}
	if want := []Item{{"1", "A", "A (1999)"}, {"2", "A", "A (2000)"}}; !reflect.DeepEqual(d.Items, want) {
		t.Errorf("items %v", d.Items)
	}
	if want := []string{"a", "b"}; !reflect.DeepEqual(d.Users, want) {
		t.Errorf("users %v", d.Users)
	}
	if want := []Event{{0, 1, 9, 3}, {0, 0, 8, 5}, {1, 0, 1, 4}, {1, 1, 2, 4}}; !reflect.DeepEqual(d.Events, want) {
		t.Errorf("events %v", d.Events)
	}
	if report.BelowRating != 1 || report.OutsideCore != 2 || report.Rows != 7 {
		t.Errorf("report %+v", report)
	}
	if want := "files with named columns; ratings of at least 3; 2-core"; d.Source != want || d.SplitBy != LeaveOneOut {
		t.Errorf("source %q, split %q", d.Source, d.SplitBy)
	}
	stores(t, d)
	if got := d.History(0, 9); !reflect.DeepEqual(got, []int32{0, 1}) {
		t.Errorf("history %v: not by time", got)
	}
}

// givenFiles is data in three parts.
func givenFiles() fstest.MapFS {
	return files("items.tsv", "item_id\ttitle\nx\tEmperor (NOR)\ny\tB\nz\tC\n", "train.tsv", "history\tnext\nx\ty\nx y z\tx\n",
		"validation.tsv", "history\tnext\ny\tz\n", "test.tsv", "history\tnext\nx\ty\ny\tz\nz z\tz\n")
}

// The parts stay as they are, titles too; the last items of a history count, and short ones are kept.
func TestImportGiven(t *testing.T) {
	d, report, err := importFrom(t.Context(), givenFiles(), ".", ImportOptions{Name: "n", Strict: true})
	if err != nil || report.Rows != 6 || d.Items[0].Title != "Emperor (NOR)" {
		t.Fatalf("%+v, %+v, %v", d, report, err)
	}
	stores(t, d)
	s, err := d.Split(Protocol{MaxHistory: 2, MinHistory: 2})
	want := Split{Train: []Sequence{{History: []int32{0}, Next: 1}, {History: []int32{1, 2}, Next: 0}},
		Validation: []Sequence{{History: []int32{1}, Next: 2}},
		Test:       []Sequence{{History: []int32{0}, Next: 1}, {History: []int32{1}, Next: 2}, {History: []int32{2, 2}, Next: 2}}}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, %v", s, err)
	}
	stats, err := Describe(t.Context(), d, DefaultProtocol())
	if err != nil || stats.Leakage != (Leakage{TestRepeats: 2}) || stats.Train != 2 || stats.TopItems[0] != (ItemCount{"C", 3}) {
		t.Errorf("stats %+v, %v", stats, err)
	}
	for want, change := range map[string][2]string{
		"train.tsv:2: history is empty":               {"train.tsv", "history\tnext\n \ty\nx\ty\n"},
		`test.tsv:2: history "q" is not in items.tsv`: {"test.tsv", "history\tnext\nx q\ty\nx\ty\n"},
		`test.tsv:2: next "" is not in items.tsv`:     {"test.tsv", "history\tnext\nx\t\nx\ty\n"},
		"test.tsv:2: 1 fields":                        {"test.tsv", "history\tnext\nx\nx\ty\n"},
	} {
		folder := givenFiles()
		folder[change[0]].Data = []byte(change[1])
		d, report, err := importFrom(t.Context(), folder, ".", ImportOptions{Name: "n"})
		if err != nil || report.Malformed+report.Untitled != 1 || !strings.Contains(report.First[0], want) {
			t.Errorf("want %q, got %+v, %v", want, report, err)
		} else {
			stores(t, d)
		}
		if _, _, err := importFrom(t.Context(), folder, ".", ImportOptions{Strict: true}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("strict: want %q, got %v", want, err)
		}
	}
	if _, _, err := importFrom(t.Context(), givenFiles(), ".", ImportOptions{KCore: 2}); err == nil ||
		!strings.Contains(err.Error(), "cannot be filtered") {
		t.Errorf("a filter on sequences: %v", err)
	}
	folder := givenFiles()
	folder["test.tsv"].Data = []byte("history\tnext\n")
	if _, _, err := importFrom(t.Context(), folder, ".", ImportOptions{}); err == nil ||
		!strings.Contains(err.Error(), "test.tsv: it has no sequences") {
		t.Errorf("an empty part: %v", err)
	}
}

// stores checks that the folder of a data set is read back as it was, by hash and as a whole.
func stores(t *testing.T, d *Dataset) {
	t.Helper()
	d.Name = "n"
	if err := d.validate(); err != nil {
		t.Fatalf("what was imported cannot be saved: %v", err)
	}
	head, err := json.Marshal(head{Name: "n", Licence: d.Licence, Source: d.Source, Split: d.SplitBy, Hash: d.Hash()})
	if err != nil {
		t.Fatal(err)
	}
	folder := files(headFile, string(head))
	for _, f := range d.files() {
		var out bytes.Buffer
		if err := f.write(&out); err != nil {
			t.Fatal(err)
		}
		folder[f.name] = &fstest.MapFile{Data: out.Bytes()}
	}
	again, err := load(folder, ".")
	if err != nil || !reflect.DeepEqual(again, d) {
		t.Fatalf("read back as %+v, %v; want %+v", again, err, d)
	}
}

// The import into a folder: what exists is not touched, and what is stopped leaves nothing.
func TestImportIntoFolder(t *testing.T) {
	dir := t.TempDir()
	source, to := filepath.Join(dir, "ml"), filepath.Join(dir, "new", "data")
	if err := os.CopyFS(source, files("movies.csv", csvItems, "ratings.csv", csvEvents)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stop := ImportOptions{Name: "n", Progress: func(p ImportProgress) {
		if p.Doing == "sorting and filtering" {
			cancel()
		}
	}}
	if _, _, err := Import(ctx, source, to, stop); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "has left nothing") {
		t.Errorf("stopped: %v", err)
	}
	d, _, err := importFrom(t.Context(), paths{}, source, ImportOptions{Name: "n"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.saveNew(ctx, to); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped while writing: %v", err)
	}
	empty(t, filepath.Dir(to))
	if _, _, err := Import(t.Context(), source, filepath.Join(source, "movies.csv", "x"), ImportOptions{Name: "n"}); err == nil ||
		!strings.Contains(err.Error(), "not a directory") || !strings.Contains(err.Error(), "that you may write to") {
		t.Errorf("a folder that cannot be: %v", err)
	}
	if _, _, err := Import(t.Context(), source, to, ImportOptions{Name: "n"}); err != nil {
		t.Fatal(err)
	}
	if again, err := Load(to); err != nil || again.Hash() != d.Hash() {
		t.Errorf("%v, %v", again, err)
	}
	if _, _, err := Import(t.Context(), source, to, ImportOptions{Name: "n"}); err == nil ||
		!strings.Contains(err.Error(), "data exists; choose another folder") {
		t.Errorf("a folder that exists: %v", err)
	}
}

// empty wants a folder without files, hidden ones among them.
func empty(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != dir {
			err = fmt.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// The context is looked at while a file is read, and the room for events comes in one piece. The file is longer than one
// record may be.
func TestImportStopsWhileReading(t *testing.T) {
	var events strings.Builder
	events.WriteString("user,item,time\n")
	const n = 6 * tickEvery
	for i := range n {
		fmt.Fprintf(&events, "%d,1,%d\n", i%7, 1_000_000+i)
	}
	folder := files("i.csv", "item,title\n1,A\n", "e.csv", events.String())
	ctx, cancel := context.WithCancel(t.Context())
	last := ImportProgress{}
	_, _, err := importFrom(ctx, folder, "e.csv", ImportOptions{Items: "i.csv", Progress: func(p ImportProgress) {
		last = p
		if p.Rows > n/2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || last.Rows > n/2+tickEvery || last.Share < 0.5 || last.Share > 0.9 {
		t.Errorf("stopped at %+v of %d rows: %v", last, n, err)
	}
	d, _, err := importFrom(t.Context(), folder, "e.csv", ImportOptions{Items: "i.csv"})
	if err != nil || len(d.Events) != n || cap(d.Events) > n*113/100 {
		t.Errorf("%d events in room for %d, %v", len(d.Events), cap(d.Events), err)
	}
}

// The folder beside the repository is not part of it. Counts by wc.
func TestImportLastFM(t *testing.T) {
	source := filepath.Join("..", "..", "..", "shared", "data", "lastfm")
	if _, err := os.Stat(source); err != nil {
		t.Skipf("the LastFM sequences are not beside this repository: %v", err)
	}
	to := filepath.Join(t.TempDir(), "lastfm")
	_, report, err := Import(t.Context(), source, to, ImportOptions{Name: "lastfm", Strict: true})
	if err != nil || report.Rows != 49824+122+122 {
		t.Fatalf("%+v, %v", report, err)
	}
	d, err := Load(to)
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Split(DefaultProtocol())
	if err != nil || len(s.Train) != 49824 || len(s.Validation) != 122 || len(s.Test) != 122 || len(d.Items) != 4606 {
		t.Errorf("%d items, %d, %d and %d sequences, %v", len(d.Items), len(s.Train), len(s.Validation), len(s.Test), err)
	}
	for _, name := range partFiles {
		want, err := os.ReadFile(filepath.Join(source, name))
		got, err2 := os.ReadFile(filepath.Join(to, name))
		if err != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not stored as it came: %v, %v", name, err, err2)
		}
	}
	if got := d.Items[2].Title; got != "Café Del Mar" {
		t.Errorf("title %q", got)
	}
}
