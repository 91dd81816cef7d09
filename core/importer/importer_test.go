package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
)

// inFolder writes files to a new folder, by pairs of name and text, and works there.
func inFolder(t testing.TB, pairs ...string) {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(dir, pairs[i])
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(pairs[i+1]), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// bring imports a source in memory.
func bring(ctx context.Context, from string, o Options) (*dataset.Dataset, Report, error) {
	im := newImporter(ctx, o)
	defer im.close()
	s, err := im.locate(from)
	if err == nil {
		err = im.run(s)
	}
	return im.d, im.report, err
}

// parquet runs SQL that writes files.
func parquet(t testing.TB, statements ...string) {
	t.Helper()
	db, err := duckdb.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if err := db.Run(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// stores checks that a data set is read back from its folder as it was.
func stores(t *testing.T, d *dataset.Dataset) {
	t.Helper()
	d.Name = "n"
	dir := filepath.Join(t.TempDir(), "stored")
	if err := d.Save(dir); err != nil {
		t.Fatalf("what was imported cannot be saved: %v", err)
	}
	again, err := dataset.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(again.Items, again.Users, again.Events, again.Parts, again.ItemAttributes, again.UserAttributes) !=
		fmt.Sprint(d.Items, d.Users, d.Events, d.Parts, d.ItemAttributes, d.UserAttributes) || again.Hash() != d.Hash() {
		t.Fatalf("read back as %+v; want %+v", again, d)
	}
}

// One small data set in every form: users 7 and 12, films 1 and 3, the rating 4.5 and the second
// user's time in 1970.
var (
	sameItems = []dataset.Item{{ID: "1", Title: "The Matrix", RawTitle: "Matrix, The (1999)"},
		{ID: "3", Title: "Café \"A\", B", RawTitle: "Café \"A\", B (2001)"}}
	sameUsers = []string{"7", "12"}
	same      = []dataset.Event{{User: 0, Item: 0, Time: 86400, Rating: 1}, {User: 0, Item: 1, Time: 86401, Rating: 2},
		{User: 1, Item: 1, Time: 5, Rating: 4.5}}
)

const (
	csvItems  = "movieId,title,genres\r\n1,\"Matrix, The (1999)\",x\r\n3,\"Café \"\"A\"\", B (2001)\",\r\n"
	csvEvents = "userId,movieId,rating,timestamp\n12,3,4.5,5\n7,1,1,86400\n7,3,2,86401\n"
	// SQL of the same
	sqlItems  = "SELECT * FROM (VALUES (1, 'Matrix, The (1999)', ['a', 'b']), (3, 'Café \"A\", B (2001)', [])) t(item_id, title, tags)"
	sqlEvents = "SELECT * FROM (VALUES (12, 3, 4.5, 5), (7, 1, 1, 86400), (7, 3, 2, 86401)) t(user_id, item_id, rating, timestamp)"
)

func TestImportEveryForm(t *testing.T) {
	blank := strings.Repeat("|", 22)
	semicolons := strings.NewReplacer(",", ";").Replace(csvEvents)
	for name, c := range map[string]struct {
		from  string
		files []string
		o     Options
		sql   []string
	}{
		"MovieLens 100K": {".", []string{"u.item", "1|Matrix, The (1999)" + blank + "\n3|Caf\xe9 \"A\", B (2001)" + blank + "\n",
			"u.data", "12\t3\t4.5\t5\n7\t1\t1\t86400\n7\t3\t2\t86401\n"}, Options{}, nil},
		"MovieLens 1M": {"ml-1m", []string{"ml-1m/movies.dat", "1::Matrix, The (1999)::x|y\n3::Caf\xe9 \"A\", B (2001)::z\n",
			"ml-1m/ratings.dat", "12::3::4.5::5\n7::1::1::86400\n7::3::2::86401\n"}, Options{}, nil},
		"MovieLens 25M": {".", []string{"movies.csv", "\ufeff" + csvItems, "ratings.csv", csvEvents}, Options{}, nil},
		"RecBole": {".", []string{"x.item", "title:token_seq\titem_id:token\trelease_year:float\nMatrix, The\t1\t1999\nCafé \"A\", B\t3\t2001\n",
			"x.inter", "user_id:token\titem_id:token\ttimestamp:float\trating:float\n12\t3\t5.9\t4.5\n7\t1\t86400.0\t1\n7\t3\t86401\t2\n"},
			Options{}, nil},
		"CSV":                             {"e.csv", []string{"i.csv", csvItems, "e.csv", csvEvents}, Options{Items: "i.csv"}, nil},
		"semicolons, another ending":      {"e.txt", []string{"i.csv", csvItems, "e.txt", semicolons}, Options{Items: "i.csv"}, nil},
		"a line that names the separator": {"e.csv", []string{"i.csv", csvItems, "e.csv", "sep=;\n" + semicolons}, Options{Items: "i.csv"}, nil},
		"bars":                            {"e.csv", []string{"i.csv", csvItems, "e.csv", strings.ReplaceAll(csvEvents, ",", "|")}, Options{Items: "i.csv"}, nil},
		"two colons":                      {"e.csv", []string{"i.csv", csvItems, "e.csv", strings.ReplaceAll(csvEvents, ",", "::")}, Options{Items: "i.csv"}, nil},
		"two colons and quotation marks": {"e.csv", []string{"i.csv", "movieId::title\n1::\"Matrix, The (1999)\"\n3::\"Café \"\"A\"\", B (2001)\"\n", "e.csv", csvEvents},
			Options{Items: "i.csv"}, nil},
		"Hive's separator": {"e.csv", []string{"i.csv", csvItems, "e.csv", strings.ReplaceAll(csvEvents, ",", "\x01")}, Options{Items: "i.csv"}, nil},
		"single marks": {"e.csv", []string{"i.csv", "'movieId','title'\n'1','Matrix, The (1999)'\n3,'Café \"A\", B (2001)'\n", "e.csv", csvEvents},
			Options{Items: "i.csv"}, nil},
		"Zstandard with a frame to skip": {"e.csv", []string{"i.csv", csvItems, "e.csv", "\x50\x2a\x4d\x18\x01\x00\x00\x00x" + zstandard(csvEvents)}, Options{Items: "i.csv"}, nil},
		"tabs, all in quotation marks": {"e.tsv", []string{"i.csv", csvItems,
			"e.tsv", `"` + strings.NewReplacer(",", "\"\t\"", "\n", "\"\n\"").Replace(strings.TrimSpace(csvEvents)) + "\"\n"}, Options{Items: "i.csv"}, nil},
		"tabs, some in quotation marks": {"e.csv", []string{"i.tsv", "item_id\ttitle\n1\tMatrix, The (1999)\n3\t\"Café \"\"A\"\", B (2001)\"\n", "e.csv", csvEvents},
			Options{Items: "i.tsv"}, nil},
		"tabs and quotation marks": {"e.csv", []string{"i.csv", csvItems,
			"e.csv", `"` + strings.NewReplacer(",", "\"\t\"", "\n", "\"\n\"").Replace(strings.TrimSpace(csvEvents)) + "\"\n"}, Options{Items: "i.csv"}, nil},
		"CR": {"e.csv", []string{"i.csv", strings.ReplaceAll(csvItems, "\r\n", "\r"), "e.csv", strings.ReplaceAll(csvEvents, "\n", "\r")},
			Options{Items: "i.csv"}, nil},
		"spaces after commas": {"e.csv", []string{"i.csv", "movieId, title\n1, \"Matrix, The (1999)\" \n3, \"Café \"\"A\"\", B (2001)\"\n",
			"e.csv", strings.ReplaceAll(csvEvents, ",", ", ")}, Options{Items: "i.csv"}, nil},
		"separators at the end, blank lines": {"e.csv", []string{"i.csv", csvItems, "e.csv", "  \n" + strings.Replace(strings.ReplaceAll(csvEvents, "\n",
			",\n   \n"), "timestamp,", "timestamp", 1)}, Options{Items: "i.csv"}, nil},
		"two marks": {"e.csv", []string{"i.csv", csvItems, "e.csv", "\ufeff\ufeff" + csvEvents}, Options{Items: "i.csv"}, nil},
		"marks where files were joined": {"e.csv", []string{"i.csv", csvItems, "e.csv", strings.ReplaceAll(csvEvents, "\n7", "\n\ufeff7")},
			Options{Items: "i.csv"}, nil},
		"an id is called id, marks between tabs": {"e.csv", []string{"i.dat", "id\ttitle\n1\tMatrix, The (1999)\n3\tCafé \"A\", B (2001)\n", "e.csv", csvEvents},
			Options{Items: "i.dat"}, nil},
		"backslashes": {"e.csv", []string{"i.csv", "movieId,title\n1,\"Matrix, The (1999)\"\n3,\"Café \\\"A\\\", B (2001)\"\n", "e.csv", csvEvents},
			Options{Items: "i.csv"}, nil},
		"UTF-16": {"e.csv", []string{"i.csv", utf16(csvItems, false), "e.csv", utf16(csvEvents, true)}, Options{Items: "i.csv"}, nil},
		"UTF-16 without a mark": {"e.csv", []string{"i.csv", utf16(csvItems, false)[2:], "e.csv", utf16(csvEvents, true)[2:]},
			Options{Items: "i.csv"}, nil},
		"CSV and TSV": {"e.csv", []string{"i.tsv", "\ufefftitle\titemId\nMatrix, The (1999)\t1\nCafé \"A\", B (2001)\t3\n", "e.csv", csvEvents},
			Options{Items: "i.tsv"}, nil},
		"named columns, dates": {"e.csv", []string{"i.csv", "film,called,title\n1,\"Matrix, The (1999)\",x\n3,\"Café \"\"A\"\", B (2001)\",y\n",
			"e.csv", "who,film,at,liked\n12,3,1970-01-01T00:00:05Z,4.5\n7,1,1970-01-02,1\n7,3,1970-01-02 00:00:01,2\n"}, Options{
			Items: "i.csv", Columns: Columns{User: "who", Item: "film", Time: "at", Rating: "liked", Title: "called"}}, nil},
		"titles beside the events": {"e.csv", []string{"e.csv", "user,item,time,rating,title\n12,3,5,4.5,\"Café \"\"A\"\", B (2001)\"\n" +
			"7,1,86400,1,\"Matrix, The (1999)\"\n7,3,86401,2,\"Café \"\"A\"\", B (2001)\"\n"}, Options{}, nil},
		"JSON lines": {"e.jsonl", []string{"i.data", `{"item_id": 1, "title": "Matrix, The (1999)"}` + "\n" +
			`{"title": "Caf\u00e9 \"A\", B (2001)", "item_id": 3, "x": {}}`,
			"e.jsonl", `{"user":"12","item_id":3,"time":5,"rating":4.5}` + "\n\n" + `{"user":7,"item_id":1,"time":86400,"rating":1,"text":"x"}` +
				"\n" + `{"user":7,"item_id":3,"time":86401,"rating":2}` + "\n"}, Options{Items: "i.data"}, nil},
		"JSON arrays, objects over lines": {"e.json", []string{"i.json", "{\n \"item_id\": 1, \"title\": \"Matrix, The (1999)\"\n}\n{\n\"title\":" +
			" \"Caf\u00e9 \\\"A\\\", B (2001)\", \"item_id\": 3\n}", "e.json", "\ufeff[ {\"user\":12,\"item_id\":3.0,\"time\":5,\"rating\":4.5}," +
			"\n{\"user\":7,\"item_id\":1,\"time\":86400,\"rating\":1}, {\"user\":7,\"item_id\":3,\"time\":86401,\"rating\":2} ]"}, Options{Items: "i.json"}, nil},
		"JSON objects one after the other": {"e.json", []string{"i.csv", csvItems, "e.json", `{"user":12,"item_id":3,"time":5,"rating":4.5}` +
			`{"user":7,"item_id":1,"time":86400,"rating":1} {"user":7,"item_id":3,"time":86401,"rating":2}`}, Options{Items: "i.csv"}, nil},
		"JSON lines with commas, a sparse one over two lines": {"e.json", []string{"i.csv", csvItems, "e.json", `{"user":12,"item_id":3,"time":5,` +
			"\n" + `"rating":4.5},` + "\n" + `{"user":7,"item_id":1,"time":86400,"rating":1,"x":NaN},` + "\n" +
			`{"user":7,"item_id":3,"time":86401,"rating":2,"x":-Infinity}`}, Options{Items: "i.csv"}, nil},
		"Python literals": {"e.csv", []string{"e.csv", csvEvents, "i.json",
			"{u'movieId': 1L, u'title': u'Matrix, The (1999)', 'new': True}\n{'movieId': 3, 'title': 'Caf\\xe9 \"A\", B (2001)', 'of': (1, None)}\n"},
			Options{Items: "i.json"}, nil},
		"Mongo": {"e.json", []string{"i.csv", csvItems, "e.json", `{"user":{"$numberLong":"12"},"item_id":{"$oid":"3"},"time":{"$date":5000},"rating":4.5}` +
			"\n" + `{"user":7,"item_id":1,"time":{"$date":{"$numberLong":"86400000"}},"rating":1}` + "\n" +
			`{"user":7,"item_id":3,"time":{"$date":"1970-01-02T00:00:01.000Z"},"rating":2}`}, Options{Items: "i.csv"}, nil},
		"parts": {"e", []string{"i.csv", csvItems, "e/_SUCCESS", "", "e/.part-0.crc", "x", "e/a/part-2.csv", "", "e/a/part-0.csv", csvEvents[:strings.Index(csvEvents, "7,1")],
			"e/b/part-1.csv", "userId,movieId,timestamp,rating\n7,1,86400,1\n7,3,86401,2\n"}, Options{Items: "i.csv"}, nil},
		"a pattern": {"e-*.csv", []string{"i.csv", csvItems, "e-1.csv", csvEvents[:strings.Index(csvEvents, "7,1")],
			"e-2.csv", "timestamp,userId,movieId,rating\n86400,7,1,1\n86401,7,3,2\n"}, Options{Items: "i.csv"}, nil},
		"Parquet": {"e.parquet", nil, Options{Items: "i"}, []string{"COPY (" + sqlItems + ") TO 'i' (FORMAT parquet)", "COPY (" + sqlEvents + ") TO 'e.parquet'"}},
		"SQL": {"", nil, Options{Items: "i.parquet", Query: "SELECT user_id AS user, item_id AS item, timestamp AS time, rating FROM 'e.parquet';"},
			[]string{"COPY (" + sqlItems + ") TO 'i.parquet'", "COPY (" + sqlEvents + ") TO 'e.parquet'"}},
		"SQL with titles": {"", nil, Options{Query: "SELECT user_id, item_id, timestamp, rating, title FROM 'e.parquet' JOIN 'i.parquet' USING (item_id)"},
			[]string{"COPY (" + sqlItems + ") TO 'i.parquet'", "COPY (" + sqlEvents + ") TO 'e.parquet'"}},
	} {
		t.Run(name, func(t *testing.T) {
			inFolder(t, c.files...)
			parquet(t, c.sql...)
			c.o.Strict = true
			d, report, err := bring(t.Context(), c.from, c.o)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(d.Items, sameItems) || !reflect.DeepEqual(d.Users, sameUsers) || !reflect.DeepEqual(d.Events, same) {
				t.Errorf("got %+v", d)
			}
			if report.Rows != 3 || report.Imported != 3 || report.Latin1 != 0 || len(report.First) > 0 {
				t.Errorf("report %+v", report)
			}
			stores(t, d)
		})
	}
}

func zstandard(text string) string {
	writer, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return string(writer.EncodeAll([]byte(text), nil))
}

// utf16 encodes text that has no characters above U+FFFF.
func utf16(text string, bigEndian bool) string {
	var out bytes.Buffer
	for _, r := range "\ufeff" + text {
		low, high := byte(r), byte(r>>8)
		if bigEndian {
			low, high = high, low
		}
		out.Write([]byte{low, high})
	}
	return out.String()
}

const (
	shortItems = "item,title\n1,A\n2,B\n"
	header     = "user,item,time,rating\n" // line 1
	good       = "u,1,5,3\n"               // line 2
)

// Every bad row is skipped, counted and shown with file and line, or refused; the rows around it is
// read.
func TestImportBadRows(t *testing.T) {
	items := ItemReport{Rows: 2, Imported: 2}
	bad := func(rows int) Report { return Report{Rows: rows, Imported: 1, Malformed: rows - 1, Items: items} }
	long := strings.Repeat("x", dataset.LongestRecord)
	for name, c := range map[string]struct {
		items, events string // "" items: two films
		report        Report
		says          string
	}{
		"missing field":          {"", good + "u,1,6\n", bad(2), `e.csv:3: 3 fields separated by ",", expected 4`},
		"time in words":          {"", good + "u,1,noon,3\n", bad(2), `e.csv:3: time "noon" is not a whole number`},
		"day or month":           {"", good + "u,1,01/05/2024 10:00,3\n", bad(2), `e.csv:3: time "01/05/2024 10:00" does not tell which number is the day and which the month; write dates as 2024-05-01`},
		"zone with two meanings": {"", good + "u,1,2024-05-01 00:00:00 IST,3\n", bad(2), "e.csv:3: time"},
		"no such month":          {"", good + "u,1,1 Foo 2024,3\n", bad(2), "e.csv:3: time"},
		"no such day":            {"", good + "u,1,2024/2/30,3\n", bad(2), "e.csv:3: time"},
		"time out of range":      {"", good + "u,1,1e300,3\n", bad(2), "e.csv:3: time"},
		"no time":                {"", good + "u,1,,3\n", bad(2), "e.csv:3: time is empty"},
		"infinite rating":        {"", good + "u,1,6,Inf\n", bad(2), "e.csv:3: rating \"Inf\" is not a finite number"},
		"no user":                {"", good + ",1,6,3\n", bad(2), "e.csv:3: user is empty"},
		"the header again":       {"item,title\n1,A\nitem,title\n2,B\n", good, Report{Rows: 1, Imported: 1, Items: ItemReport{3, 2, 0, 1}}, "i.csv:3: the line repeats the names"},
		"zero in an id":          {"", good + "u\x00,1,6,3\n", bad(2), `e.csv:3: user is "u\x00"`},
		"rounded id":             {"", good + "1.23457E+11,1,6,3\n", bad(2), `e.csv:3: user "1.23457E+11" may have lost digits`},
		"inexact id":             {"", good + "1.2345678901234568e+18,1,6,3\n", bad(2), `e.csv:3: user "1.2345678901234568e+18" may have lost digits`},
		"thousands":              {"", good + "u,1,6,\"1,234\"\n", bad(2), `e.csv:3: in the rating "1,234" the comma may separate thousands or a fraction`},
		"tab in an id":           {"", good + "\"u\tv\",1,6,3\n", bad(2), `e.csv:3: user is "u\tv"`},
		"untitled":               {"", good + "u,9,6,3\n", Report{Rows: 2, Imported: 1, Untitled: 1, Items: items}, `e.csv:3: item "9" is not in i.csv; add the item`},
		"huge field":             {"", good + strings.Repeat("u", dataset.LongestField+1) + ",1,6,3\n", bad(2), "e.csv:3: user is 65537 bytes long, expected at most 65536"},
		"huge line":              {"", good + "u,1,6," + long + "\n", bad(2), "e.csv:3: the line is longer than 1048576 bytes"},
		"a stray mark":           {"", "u,1,4,\"3\n" + good, bad(2), "e.csv:2: a quotation mark is not closed"},
		"two stray marks":        {"", "u,\"1,4,3\n" + good + "u,1\",4,3\n", Report{Rows: 3, Imported: 1, Malformed: 1, Untitled: 1, Items: items}, "e.csv:2: a quotation mark"},
		"two stray marks, ids of letters and digits": {"item,title\nB1X,A\nB2X,\"B\nB3X,C\nB4X,D\"\n1,E\n", good,
			Report{Rows: 1, Imported: 1, Items: ItemReport{Rows: 5, Imported: 4, Malformed: 1}}, "i.csv:3: a quotation mark"},
		"a break in a title, ids of letters and digits": {"item,title\nB1X,\"A,\nlong, title\"\nB2X,\n1,E\n", good,
			Report{Rows: 1, Imported: 1, Items: ItemReport{Rows: 3, Imported: 2, Malformed: 1}}, `i.csv:4: item "B2X" has no title`},
		"a mark in a mark":    {"", good + "u,\"1\"x,4,3\n", bad(2), "e.csv:3: a quotation mark is not closed, or something follows"},
		"a mark to the end":   {"", good + "u,\"1,\n\n\n", Report{Rows: 2, Imported: 1, Malformed: 1, Items: items}, "e.csv:3: a quotation mark"},
		"repeated":            {"", good + "u,1,5,4\nu,1,6,4\nv,1,5,4\n", Report{Rows: 4, Imported: 3, Duplicates: 1, Items: items}, `user "u" has item "1" twice at time 5`},
		"user in Latin-1":     {"", "Andr\xe9,1,5,3\n", Report{Rows: 1, Imported: 1, Latin1: 1, Items: items}, "e.csv:2: user is not UTF-8"},
		"title in Latin-1":    {"item,title\n1,Am\xe9lie\n2,B\n", good, Report{Rows: 1, Imported: 1, Latin1: 1, Items: items}, `i.csv:2: title is not UTF-8: "Am\xe9lie"`},
		"title after a break": {"item,title\n1,\"A\nB\"\n2,B\n,C\n", good, Report{Rows: 1, Imported: 1, Items: ItemReport{3, 2, 0, 1}}, "i.csv:5: item is empty"},
		"no title":            {"item,title\n1,A\n2,  \n", good, Report{Rows: 1, Imported: 1, Items: ItemReport{2, 1, 0, 1}}, `i.csv:3: item "2" has no title`},
		"two titles":          {"item,title\n1,A\n2,B\n1,C\n1,A\n", good, Report{Rows: 1, Imported: 1, Items: ItemReport{4, 2, 1, 1}}, `i.csv:4: item "1" has another title above, "A"`},
		"swallowed items":     {"item,title\n1,A\n3,\"C\n2,B\n4,D\"\n", good, Report{Rows: 1, Imported: 1, Items: ItemReport{4, 3, 0, 1}}, "i.csv:3: a quotation mark"},
		"list of titles":      {`{"item":1,"title":"A"}` + "\n" + `{"item":2,"title":["B"]}`, good, Report{Rows: 1, Imported: 1, Items: ItemReport{2, 1, 0, 1}}, "i.csv:2: title is a list or an object"},
		"object for a title":  {`{"item":1,"title":"A"}` + "\n" + `{"item":2,"title":{"en":"B"}}`, good, Report{Rows: 1, Imported: 1, Items: ItemReport{2, 1, 0, 1}}, "i.csv:2: title is a list or an object"},
		"two JSON arrays":     {`[{"item":1,"title":"A"}]` + "\n" + `[{"item":2,"title":"B"}, 7]`, good, Report{Rows: 1, Imported: 1, Items: ItemReport{3, 2, 0, 1}}, "i.csv:2: it is not an object but number: 7"},
		"broken in an array":  {"[{\"item\":1,\"title\":\"A\"},\n{\"item\":2,\"title\"},\n{\"item\":2,\"title\":\"B\"}]", good, Report{Rows: 1, Imported: 1, Items: ItemReport{3, 2, 0, 1}}, "i.csv:2: invalid character '}'"},
		"broken JSON":         {`{"item":1,"title":"A"}` + "\n{\"item\n", good, Report{Rows: 1, Imported: 1, Items: ItemReport{2, 1, 0, 1}}, "i.csv:2: unexpected end of JSON"},
		"huge JSON":           {`{"item":1,"title":"A"}` + "\n" + `{"item":2,"title":"` + long + `"}`, good, Report{Rows: 1, Imported: 1, Items: ItemReport{2, 1, 0, 1}}, "i.csv:2: the line is longer"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.items == "" {
				c.items = shortItems
			}
			inFolder(t, "i.csv", c.items, "e.csv", header+c.events)
			d, report, err := bring(t.Context(), "e.csv", Options{Items: "i.csv"})
			if err != nil {
				t.Fatal(err)
			}
			if report.Malformed+report.Untitled+report.Items.Malformed > 0 && !strings.Contains(report.First[0], c.says) {
				t.Errorf("%q is not in %q", c.says, report.First)
			}
			report.First, report.Layout, report.Columns, report.Attributes = nil, "", nil, nil
			if !reflect.DeepEqual(report, c.report) {
				t.Errorf("report %+v, want %+v", report, c.report)
			}
			if c.report.Latin1 > 0 && d.Users[0] != "André" && d.Items[0].Title != "Amélie" {
				t.Errorf("read as %q, %q", d.Users[0], d.Items[0].Title)
			}
			stores(t, d)
			_, _, err = bring(t.Context(), "e.csv", Options{Items: "i.csv", Strict: true})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("strict: want %q, got %v", c.says, err)
			}
		})
	}
}

// What no row can be blamed for is an error, strict or not.
func TestImportRefuses(t *testing.T) {
	const items, events = "item,title\n1,A\n", "user,item,time\nu,1,5\n"
	stars := float32(3)
	for want, c := range map[string]struct {
		events, items string
		o             Options
	}{
		"e.csv:1: the file is empty":                              {"", items, Options{}},
		"e.csv:1: no column that looks like the time":             {"user,item\nu,1\n", items, Options{}},
		`e.csv:1: no column "when"`:                               {events, items, Options{Columns: Columns{Time: "when"}}},
		"e.csv: none of 1 events is left; loosen the filters":     {events, items, Options{KCore: 2}},
		`the first that was skipped: e.csv:2: item "2" is not in`: {"user,item,time\nu,2,5\n", items, Options{}},
		"e.csv:1: it has no JSON objects":                         {"[]\n", items, Options{}},
		"e.csv:2: it is not valid JSON":                           {"[{\"user\":1},\n{\"us", items, Options{}},
		"e.csv: it cannot be read as Parquet":                     {"PAR1, but not really", items, Options{}},
		"e.csv: it cannot be unpacked":                            {"\x1f\x8b, but not really", items, Options{}},
		"e.csv: it is a ZIP archive or a spreadsheet; unpack it":  {"PK\x03\x04", items, Options{}},
		"e.csv: it is packed with xz":                             {"\xfd7zXZ\x00", items, Options{}},
		"e.csv: it is a Python pickle":                            {"\x80\x04\x95", items, Options{}},
		"e.csv: it is a pointer of Git LFS":                       {"version https://git-lfs.github.com/spec/v1\n", items, Options{}},
		"e.csv: it is not a text":                                 {"e.csv\x00\x00000644", items, Options{}},
		"name all columns in the first line, with commas":         {"user item time\nu 1 5\n", items, Options{}},
		"or use the order of the rows":                            {"user,item\nu,1\n", items, Options{}},
		`e.csv:1: two columns are called "item"`:                  {"user,item,item,time\nu,1,1,5\n", items, Options{}},
		`"item" is given for both users and items`:                {events, items, Options{Columns: Columns{User: "item"}}},
		"e.csv: it has no events; add a row":                      {"user,item,time\n", items, Options{}},
		"e.csv:1: invalid character ':'":                          {`{"user"::1}`, items, Options{}},
		"e.csv:2: it is not valid JSON: an object or array does":  {"[{\"user\":1},\n", items, Options{}},
		"** is not known":                                         {"", items, Options{Users: "x/**/*.csv"}},
		"e.csv has no column of ratings":                          {events, items, Options{MinRating: &stars}},
		"the k of a k-core is -1":                                 {events, items, Options{KCore: -1}},
		`no split is called "random"`:                             {events, items, Options{SplitBy: "random"}},
		`no unit of time is called "h"`:                           {events, items, Options{TimeUnit: "h"}},
		`no format is called "xml"`:                               {events, items, Options{Format: "xml"}},
		"e.csv is not split; choose":                              {events, items, Options{SplitBy: dataset.Given}},
		"i.csv: it has no items":                                  {events, "item,title\n", Options{}},
		"the query fails: Parser Error":                           {events, items, Options{Query: "SELEC 1"}},
		"the query:1: no column that looks like the user":         {events, items, Options{Query: "SELECT 1 AS x"}},
		"more than one unit: in seconds in 1 rows (the first in e.csv:2), in milliseconds in 2 rows (the first in e.csv:3)": {
			"user,item,time\nu,1,1714521600\nu,1,1714521601000\nu,1,1714521602000\n", items, Options{}},
	} {
		t.Run(want, func(t *testing.T) {
			inFolder(t, "e.csv", c.events, "i.csv", c.items)
			from := "e.csv"
			if c.o.Query != "" {
				from = ""
			}
			c.o.Items = "i.csv"
			if _, _, err := bring(t.Context(), from, c.o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("want %q, got %v", want, err)
			}
		})
	}
	inFolder(t, "e.csv", events, "i.csv", items, "x/u.item", "", "empty/_SUCCESS", "")
	for want, c := range map[string]struct {
		from string
		o    Options
	}{"no known layout": {"x", Options{}}, "no files to read": {"empty", Options{Items: "i.csv"}}, "none.csv": {"none.csv", Options{Items: "i.csv"}},
		"no column that looks like the title": {"e.csv", Options{}}, "both a source, e.csv, and a query are given": {"e.csv", Options{Query: "SELECT 1"}}} {
		if _, _, err := bring(t.Context(), c.from, c.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// What a column of Parquet holds, in every type that it may have.
func TestImportParquetTypes(t *testing.T) {
	for name, c := range map[string]struct{ user, time, rating, want string }{
		"unsigned":         {"3000000001::UINTEGER", "5::UBIGINT", "3::UTINYINT", "3000000001 5 3"},
		"largest":          {"18446744073709551615::UBIGINT", "5::SMALLINT", "3::HUGEINT", "18446744073709551615 5 3"},
		"decimal":          {"10.00::DECIMAL(7,2)", "5.75::DECIMAL(18,2)", "4.50::DECIMAL(3,2)", "10 5 4.5"},
		"floating point":   {"9007199254740992.0::DOUBLE", "1714521600.9::DOUBLE", "4.5::FLOAT", "9007199254740992 1714521600 4.5"},
		"whole in 32 bits": {"16777216::FLOAT", "5", "1", "16777216 5 1"},
		"UUID":             {"'00000000-0000-0000-0000-000000000001'::UUID", "5", "NULL::FLOAT", "00000000-0000-0000-0000-000000000001 5 NaN"},
		"Boolean":          {"'u'", "5", "true", "u 5 1"},
		"text":             {"' 007 '", "'1970-01-01T00:00:07+0000'", "'4,5'", "007 7 4.5"},
		"large number":     {"1e15::DOUBLE", "1714521600e9::DOUBLE", "1", "1000000000000000 1714521600000000000 1"},
		"date":             {"'u'", "'1970-01-02'::DATE", "'NaN'::DOUBLE", "u 86400 NaN"},
		"timestamp":        {"'u'", "'1969-12-31 23:59:59.5'::TIMESTAMP", "1", "u -1 1"},
		"timestamp in ns":  {"'u'", "'1970-01-01 00:00:09.999999999'::TIMESTAMP_NS", "1", "u 9 1"},
		"timestamp in ms":  {"'u'", "'1970-01-01 00:00:09.999'::TIMESTAMP_MS", "1", "u 9 1"},
		"with a zone":      {"'u'", "'1970-01-01 02:00:00+01'::TIMESTAMPTZ", "1", "u 3600 1"},
	} {
		t.Run(name, func(t *testing.T) {
			inFolder(t, "i.csv", shortItems)
			parquet(t, fmt.Sprintf("COPY (SELECT %s AS user_id, 1 AS item_id, %s AS time, %s AS rating) TO 'e.parquet'", c.user, c.time, c.rating))
			d, report, err := bring(t.Context(), "e.parquet", Options{Items: "i.csv"})
			if err != nil || len(d.Events) != 1 {
				t.Fatalf("%+v, %v", report, err)
			}
			if got := fmt.Sprintf("%s %d %v", d.Users[0], d.Events[0].Time, d.Events[0].Rating); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	inFolder(t, "i.csv", shortItems)
	parquet(t, "COPY (SELECT 'u' AS user, 1 AS item, '12:00:00'::TIME AS time) TO 'e.parquet'")
	if _, _, err := bring(t.Context(), "e.parquet", Options{Items: "i.csv"}); err == nil || !strings.Contains(err.Error(), `"time" is of the type TIME`) {
		t.Errorf("a time of day: %v", err)
	}
	parquet(t, "COPY (SELECT 'u' AS user, 1 AS item, 1714521700::FLOAT AS time) TO 'e.parquet'")
	d, report, err := bring(t.Context(), "e.parquet", Options{Items: "i.csv"})
	if err != nil || d.Events[0].Time != 1714521728 || !strings.Contains(fmt.Sprint(report.Notes), `"time" holds times in 32-bit`) {
		t.Errorf("times in 32-bit floating point: %+v, %q, %v", d, report.Notes, err)
	}
	for column, query := range map[string]string{"user": "16777218::FLOAT AS user, 1 AS item", "item": "'u' AS user, 16777218::FLOAT AS item"} {
		parquet(t, "COPY (SELECT "+query+", 5 AS time) TO 'e.parquet'")
		_, _, err := bring(t.Context(), "e.parquet", Options{Items: "i.csv"})
		if err == nil || !strings.Contains(err.Error(), `column "`+column+`" holds ids in 32-bit floating point`) ||
			!strings.Contains(err.Error(), "as text") {
			t.Errorf("rounded ids: %v", err)
		}
	}
}

// A header that was added to files with known columns is no item, user or event.
func TestImportHeaderOfKnownLayout(t *testing.T) {
	inFolder(t, "movies.dat", "MovieID::Title::Genres\n1::A::x\n2::B::y\n", "ratings.dat", "UserID::MovieID::Rating::Timestamp\n7::1::3::5\n7::2::4::6\n")
	d, report, err := bring(t.Context(), ".", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Items) != 2 || d.Items[0].ID != "1" || len(d.Users) != 1 || report.Items.Malformed != 1 || report.Malformed != 1 {
		t.Errorf("%d items, %d users, %+v", len(d.Items), len(d.Users), report)
	}
}

// What DuckDB would take for something else.
func TestImportParquetAsItIs(t *testing.T) {
	inFolder(t, "i.csv", shortItems, "a1/e.parquet", "PAR1, not the one that is meant", "a[1]/x", "", "day=007/x", "")
	parquet(t, "COPY (SELECT 'u' AS user, 1 AS item, TIMESTAMP '2024-05-01 00:00:00' AS time) TO 'a[1]/e.parquet'",
		"COPY (SELECT 1 AS item, 5 AS time) TO 'day=007/e.parquet'")
	d, _, err := bring(t.Context(), "a[1]/e.parquet", Options{Items: "i.csv", TimeUnit: "ms"})
	if err != nil || d.Events[0].Time != 1714521600 {
		t.Errorf("a date is in no unit, and a path no pattern: %+v, %v", d.Events, err)
	}
	d, _, err = bring(t.Context(), "day=007/e.parquet", Options{Items: "i.csv", Columns: Columns{User: "day"}})
	if err != nil || d.Users[0] != "007" {
		t.Errorf("an id in the name of a folder: %q, %v", d.Users, err)
	}
}

// A Parquet file with one broken byte, wherever it is, is read or refused.
func TestImportBrokenParquet(t *testing.T) {
	inFolder(t, "i.csv", csvItems)
	parquet(t, "COPY ("+sqlEvents+") TO 'e.parquet'")
	events, err := os.ReadFile("e.parquet")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for at := range events {
		broken := slices.Clone(events)
		broken[at] ^= 1
		if err := os.WriteFile("e.parquet", broken, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, _, err := bring(t.Context(), "e.parquet", Options{Items: "i.csv"}); err != nil {
			refused++
		}
	}
	if refused < len(events)/4 {
		t.Errorf("%d of %d broken files were refused", refused, len(events))
	}
}

// Only GroupLens's own archives have its name and licence.
func TestImportProvenance(t *testing.T) {
	layout := []string{"m/movies.csv", csvItems, "m/ratings.csv", csvEvents}
	for readme, official := range map[string]bool{"": false, "My ratings in the layout of GroupLens's MovieLens.": false,
		"My ratings. Their layout: F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets (GroupLens).":                            false,
		"MovieLens, http://grouplens.org.\nUsage License\nNeither the University of\nMinnesota ... Cite F. Maxwell Harper and Joseph A. Konstan.": true} {
		inFolder(t, append(slices.Clone(layout), "m/README.txt", readme)...)
		d, _, err := bring(t.Context(), "m", Options{})
		if err != nil || (d.Licence == movieLensLicence) != official || strings.Contains(d.Source, "official") != official {
			t.Errorf("%q: %q, %q, %v", readme, d.Licence, d.Source, err)
		}
	}
}

// Both forms of MovieLens-100K give the same, attributes too. The official u.item has 24 fields
// separated by |, in Latin-1; é is byte 0xe9 there.
func TestMovieLens100KBothFormsAgree(t *testing.T) {
	rest := "|01-Jan-1995||http://x" + strings.Repeat("|0", 5) + "|1" + strings.Repeat("|0", 12) + "|1\n"
	none := "|||" + strings.Repeat("|0", 19) + "\n"
	official := []string{"u.item", "1|Matrix, The (1999)" + rest + "2|Mis\xe9rables, Les (1995)" + rest + "3|unknown" + none,
		"u.data", "10\t2\t3\t881250949\n9\t1\t5\t7\n", "u.user", "9|24|M|technician|85711\n10|53|F|other|94043\n"}
	recBole := []string{"ml-100k.item", "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n" +
		"1\tMatrix, The\t1999\tComedy Western\n2\tMisérables, Les\t1995\tComedy Western\n3\tunkonwn\tunkonwn\t\n",
		"ml-100k.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n10\t2\t3\t881250949\n9\t1\t5\t7\n",
		"ml-100k.user", "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n9\t24\tM\ttechnician\t85711\n10\t53\tF\tother\t94043\n"}
	read := func(files []string) (*dataset.Dataset, error) {
		inFolder(t, files...)
		return MovieLens100K(t.Context(), os.DirFS("."))
	}
	a, err := read(official)
	b, err2 := read(recBole)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	want := []dataset.Item{{ID: "1", Title: "The Matrix", RawTitle: "Matrix, The (1999)"},
		{ID: "2", Title: "Les Misérables", RawTitle: "Misérables, Les (1995)"}, {ID: "3", Title: "unknown", RawTitle: "unknown"}}
	if !reflect.DeepEqual(a.Items, want) {
		t.Errorf("got %v", a.Items)
	}
	if want := (dataset.Attributes{Names: []string{"year", "genres"},
		Values: [][]string{{"1999", "Comedy|Western"}, {"1995", "Comedy|Western"}, {"", ""}}}); !reflect.DeepEqual(a.ItemAttributes, want) {
		t.Errorf("attributes %v", a.ItemAttributes)
	}
	if a.Hash() != b.Hash() || !reflect.DeepEqual(a.ItemAttributes, b.ItemAttributes) || !reflect.DeepEqual(a.UserAttributes, b.UserAttributes) {
		t.Errorf("the two forms differ: %v, %v", a, b)
	}
	for want, change := range map[string]string{`u.data:3: item "x" is not in u.item`: "1\tx\t3\t4\n", "u.data:3: 3 fields": "1\t2\t3\n"} {
		bad := slices.Clone(official)
		bad[3] += change
		if _, err := read(bad); !errors.As(err, new(*dataset.FormatError)) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := read([]string{"u.item", "1|A" + none + "3|B" + none, "u.data", "1\t3\t3\t4\n"}); err == nil ||
		!strings.Contains(err.Error(), `item 2 has the id "3"`) {
		t.Errorf("a gap among the ids: %v", err)
	}
}

// Expected by hand. Ratings below 3 skip one event of user a and item 3. Then item 3 has one event
// and goes with it, which leaves user c one event and removes it; a and b keep items 1 and 2. Times
// out of order and equal titles change nothing.
func TestImportFilters(t *testing.T) {
	inFolder(t, "i.csv", "item,title\n0,Unseen\n1,A (1999)\n2,A (2000)\n3,C\n", "e.csv", header+
		"c,1,1,3\nc,3,2,5\na,2,9,3\na,1,8,5\na,3,7,2.5\nb,1,1,4\nb,2,2,4\n")
	lowest := float32(3)
	d, report, err := bring(t.Context(), "e.csv", Options{Items: "i.csv", MinRating: &lowest, KCore: 2, SplitBy: dataset.LeaveOneOut})
	if err != nil {
		t.Fatal(err)
	}
	if want := []dataset.Item{{ID: "1", Title: "A", RawTitle: "A (1999)"}, {ID: "2", Title: "A", RawTitle: "A (2000)"}}; !reflect.DeepEqual(d.Items, want) {
		t.Errorf("items %v", d.Items)
	}
	if want := []string{"a", "b"}; !reflect.DeepEqual(d.Users, want) {
		t.Errorf("users %v", d.Users)
	}
	if want := []dataset.Event{{User: 0, Item: 0, Time: 8, Rating: 5}, {User: 0, Item: 1, Time: 9, Rating: 3},
		{User: 1, Item: 0, Time: 1, Rating: 4}, {User: 1, Item: 1, Time: 2, Rating: 4}}; !reflect.DeepEqual(d.Events, want) {
		t.Errorf("events %v", d.Events)
	}
	if report.BelowRating != 1 || report.OutsideCore != 2 || report.Rows != 7 || report.Imported != 4 {
		t.Errorf("report %+v", report)
	}
	if want := "files with named columns; ratings of at least 3; 2-core"; d.Source != want || d.SplitBy != dataset.LeaveOneOut {
		t.Errorf("source %q, split %q", d.Source, d.SplitBy)
	}
	stores(t, d)
}

// A pipe is read only once.
func TestImportPipe(t *testing.T) {
	inFolder(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	go func() {
		defer write.Close()
		write.WriteString("user,item,time,title\nu,1,1,A\n")
	}()
	d, _, err := bring(t.Context(), fmt.Sprintf("/dev/fd/%d", read.Fd()), Options{Format: CSV})
	if err != nil || len(d.Events) != 1 || d.Items[0].Title != "A" {
		t.Errorf("%+v, %v", d, err)
	}
}

// The import into a folder does not touch an existing one, and a stopped import leaves nothing.
func TestImportIntoFolder(t *testing.T) {
	inFolder(t, "ml/movies.csv", csvItems, "ml/ratings.csv", csvEvents)
	to := filepath.Join("new", "data")
	for _, when := range []string{"sorting and filtering", "writing"} {
		ctx, cancel := context.WithCancel(t.Context())
		stop := Options{Name: "n", Progress: func(p Progress) {
			if p.Doing == when {
				cancel()
			}
		}}
		if _, _, err := Import(ctx, "ml", to, stop); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "wrote nothing") {
			t.Errorf("stopped while %s: %v", when, err)
		}
	}
	err := filepath.WalkDir("new", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != "new" {
			err = fmt.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, _, err := Import(t.Context(), "ml", filepath.Join("ml", "movies.csv", "x"), Options{Name: "n"}); err == nil ||
		!strings.Contains(err.Error(), "not a directory") || !strings.Contains(err.Error(), "that you may write to") {
		t.Errorf("a folder that cannot be: %v", err)
	}
	d, _, err := Import(t.Context(), "ml", to, Options{Name: "n"})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := dataset.Load(to); err != nil || again.Hash() != d.Hash() {
		t.Errorf("%v, %v", again, err)
	}
	if _, _, err := Import(t.Context(), "ml", to, Options{Name: "n"}); err == nil || !strings.Contains(err.Error(), "data exists; choose another folder") {
		t.Errorf("a folder that exists: %v", err)
	}
}

// The context is looked at while a file is read, and the room for events comes in one piece.
func TestImportStopsWhileReading(t *testing.T) {
	var events strings.Builder
	events.WriteString("user,item,time\n")
	const n = 6 * tickEvery
	for i := range n {
		fmt.Fprintf(&events, "%d,1,%d\n", i%7, 1_000_000+i)
	}
	inFolder(t, "i.csv", "item,title\n1,A\n", "e.csv", events.String())
	ctx, cancel := context.WithCancel(t.Context())
	last := Progress{}
	_, _, err := bring(ctx, "e.csv", Options{Items: "i.csv", Progress: func(p Progress) {
		last = p
		if p.Rows > n/2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || last.Rows > n/2+tickEvery || last.Share < 0.5 || last.Share > 0.9 {
		t.Errorf("stopped at %+v of %d rows: %v", last, n, err)
	}
	d, _, err := bring(t.Context(), "e.csv", Options{Items: "i.csv"})
	if err != nil || len(d.Events) != n || cap(d.Events) > n*12/10 {
		t.Errorf("%d events in room for %d, %v", len(d.Events), cap(d.Events), err)
	}
}
