package importer

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Forms of a time with what they are in seconds since 1970.
func TestImportTimes(t *testing.T) {
	for text, want := range map[string]int64{
		"1714521600": 1714521600, "1714521600.438": 1714521600, "1.71452160E+09": 1714521600, "-1": -1, " 7 ": 7,
		"2024-05-01": 1714521600, "2024-05-01T00:00:00": 1714521600, "2024-05-01 00:00": 1714521600, "2024/05/01 00:00:00": 1714521600,
		"2024-05-01T00:00:00.123456": 1714521600, "2024-05-01T00:00:00+0000": 1714521600, "2024-05-01 00:00:00+00:00": 1714521600,
		"2024-05-01 02:00:00 +0200": 1714521600, "2024-05-01T02:00:00.5+02": 1714521600, "2024-04-30 22:00:00-02:00": 1714521600,
		"2024-05-01 00:00:00 UTC": 1714521600, "2024-05-01T00:00:00Z": 1714521600, "\"Wed, 01 May 2024 00:00:00 +0000\"": 1714521600,
		"\"Wed, 1 May 2024 02:00:00 +0200\"": 1714521600, "1 May 2024 00:00:00 GMT": 1714521600, "Wed May 01 00:00:00 +0000 2024": 1714521600,
		"2024-05-01T00:00:00z": 1714521600, "2024/5/1 0:00": 1714521600, "2024.05.01 00:00:00.5": 1714521600,
		"20240501T020000+0200": 1714521600, "2024-05-01T02:00:00+02:00[Europe/Paris]": 1714521600, "2024-05-01 02:00:00 +0200 CEST": 1714521600,
		"2024-05-01 12:00:00 AM": 1714521600, "2024-05-01 02:00:00 GMT+2": 1714521600, "01/May/2024:00:00:00 +0000": 1714521600,
		"\"Tue, 30 Apr 2024 17:00:00 -0700 (PDT)\"": 1714521600, "\"Tue, 30 Apr 2024 19:00:00 EST\"": 1714521600,
		"\"Wed, 1 May 24 00:00 UT\"": 1714521600, "\"Wednesday, 01-May-24 00:00:00 GMT\"": 1714521600, "01-May-2024": 1714521600,
		"Tue Apr 30 20:00:00 EDT 2024": 1714521600, "Wed May  1 02:00:00 2024 +0200": 1714521600, "\"May 1, 2024 12:00:00 AM\"": 1714521600,
		"Wed May 01 2024 02:00:00 GMT+0200 (Central European Summer Time)": 1714521600,
		"1714521600123": 1714521600123, "20240501": 1714521600, "20240501083000": 1714552200, "20241501": 20241501,
	} {
		inFolder(t, "i.csv", shortItems, "e.csv", "user,item,time\nu,1,"+text+"\n")
		d, report, err := bring(t.Context(), "e.csv", Options{Items: "i.csv"})
		if err != nil || d.Events[0].Time != want {
			t.Errorf("%s: %+v, %v, %v", text, d.Events, report.First, err)
		}
	}
	inFolder(t, "i.csv", shortItems, "e.csv", "user,item,when\nu,1,1714521600123456\nu,2,-1\n")
	d, _, err := bring(t.Context(), "e.csv", Options{Items: "i.csv", Columns: Columns{Time: "when"}, TimeUnit: "us"})
	if err != nil || d.Events[0].Time != -1 || d.Events[1].Time != 1714521600 {
		t.Errorf("microseconds: %+v, %v", d.Events, err)
	}
	d, report, err := bring(t.Context(), "e.csv", Options{Items: "i.csv", Columns: Columns{Time: "when"}})
	if err != nil || d.Events[1].Time != 1714521600123456 || len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "microseconds") {
		t.Errorf("microseconds as they are: %+v, %q, %v", d.Events, report.Notes, err)
	}
	inFolder(t, "i.csv", shortItems, "e.csv", "user,item,time\nu,1,1714521600\nu,2,1714521600000\n")
	if _, _, err = bring(t.Context(), "e.csv", Options{Items: "i.csv", TimeUnit: "ms"}); err == nil || !strings.Contains(err.Error(), "more than one unit") {
		t.Errorf("a mixture in a given unit: %v", err)
	}
	inFolder(t, "i.csv", shortItems, "e.csv", "user,item,time\nu,1,0.5\nu,2,0.25\n")
	if _, report, err = bring(t.Context(), "e.csv", Options{Items: "i.csv"}); err != nil || !strings.Contains(fmt.Sprint(report.Notes), "fractions of 2") {
		t.Errorf("fractions: %q, %v", report.Notes, err)
	}
	d, _, err = bring(t.Context(), "e.csv", Options{Items: "i.csv", Columns: Columns{Time: RowOrder}})
	if err != nil || d.Events[0].Time != 1 || d.Events[1].Time != 2 {
		t.Errorf("order of rows: %+v, %v", d.Events, err)
	}
}

// Ids are text, of which only a fraction of zero, surrounding spaces and the normal form are not
// kept.
func TestImportIDs(t *testing.T) {
	inFolder(t, "i.csv", "item_id,item,title\n007,x,A\n7.0,x,B\n9223372036854775808,x,C\nAme\u0301lie,x,Ame\u0301lie\n",
		"e.csv", "user,user_id,item_id,time\nAnn, 1 ,007,1\nAnn,1.00,7,2\nAnn,1e+00,007,9\nAnn,01,9223372036854775808.0,3\nBob,v1.0,Amélie,4\n")
	d, report, err := bring(t.Context(), "e.csv", Options{Items: "i.csv", Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"01", "1", "v1.0"}; !reflect.DeepEqual(d.Users, want) {
		t.Errorf("users %q, want %q", d.Users, want)
	}
	var items []string
	for _, item := range d.Items {
		items = append(items, item.ID+"="+item.Title)
	}
	if want := []string{"007=A", "7=B", "9223372036854775808=C", "Amélie=Amélie"}; !reflect.DeepEqual(items, want) {
		t.Errorf("items %q, want %q", items, want)
	}
	if report.Columns["user"] != "user_id" || report.Columns["item"] != "item_id" {
		t.Errorf("columns %v", report.Columns)
	}
	if item, ok := d.Catalogue().Lookup("AME\u0301LIE"); !ok || d.Items[item].ID != "Amélie" {
		t.Error("a title in another normal form is not found")
	}
}

// Words for missing values are no ids, in any spelling.
func TestImportAbsentIDs(t *testing.T) {
	absent := []string{"NULL", "nan", "None", `\N`, "<NA>", "#N/A"}
	inFolder(t, "i.csv", shortItems, "e.csv", "user,item,time\nu,1,1\n"+strings.Join(absent, ",1,2\n")+",1,2\n")
	d, report, err := bring(t.Context(), "e.csv", Options{Items: "i.csv"})
	if err != nil || !reflect.DeepEqual(d.Users, []string{"u"}) || report.Malformed != len(absent) || !strings.Contains(report.First[0], "user is NULL") {
		t.Errorf("%+v, %+v, %v", d, report, err)
	}
}

// A no-break space occurs around ids, and is one byte in Windows-1252.
func TestImportSpaces(t *testing.T) {
	inFolder(t, "i.csv", shortItems, "e.csv", "user,item,time\n\xa0u ,1,1\n", "f.csv", "user,item,time\n\u00a0u\u3000,1,1\n")
	for _, from := range []string{"e.csv", "f.csv"} {
		if d, _, err := bring(t.Context(), from, Options{Items: "i.csv"}); err != nil || d.Users[0] != "u" {
			t.Errorf("%s: %+v, %v", from, d, err)
		}
	}
}

// A rating may be missing, in any notation, also in the first object of a JSON file.
func TestImportRatings(t *testing.T) {
	inFolder(t, "i.csv", shortItems, "e.csv", header+"u,1,1,\nu,1,2,NaN\nu,1,3,null\nu,1,4,True\nu,1,5,false\nu,1,6,\"4,5\"\n",
		"e.json", `{"user":"u","item":1,"time":1}`+"\n"+`{"user":"u","item":1,"time":2,"rating":null}`+"\n"+`{"user":"u","item":1,"time":3,"rating":2.5}`)
	for from, want := range map[string][]float64{"e.csv": {math.NaN(), math.NaN(), math.NaN(), 1, 0, 4.5}, "e.json": {math.NaN(), math.NaN(), 2.5}} {
		d, report, err := bring(t.Context(), from, Options{Items: "i.csv", Strict: true})
		if err != nil || len(d.Events) != len(want) || report.Imported != len(want) {
			t.Fatalf("%+v, %+v, %v", d, report, err)
		}
		for i, e := range d.Events {
			if fmt.Sprint(float64(e.Rating)) != fmt.Sprint(want[i]) {
				t.Errorf("%s: event %d has the rating %v, want %v", from, i, e.Rating, want[i])
			}
		}
		stores(t, d)
		lowest := float32(2)
		d, report, err = bring(t.Context(), from, Options{Items: "i.csv", MinRating: &lowest})
		if err != nil || len(d.Events) != 1 || report.BelowRating != len(want)-1 {
			t.Errorf("at least 2: %+v, %+v, %v", d, report, err)
		}
	}
}

// If ratings appear late, earlier events have none, in any order of the parts.
func TestImportLateRatings(t *testing.T) {
	first := `{"user":"u","item":1,"time":1}` + "\n"
	inFolder(t, "i.csv", shortItems, "e.json", strings.Repeat(first, sampled)+`{"user":"u","item":1,"time":2,"rating":2.5}`,
		"p/a.csv", "user,item,time\nu,1,1\n", "p/b.csv", "user,item,time,rating\nu,1,2,2.5\n")
	for _, from := range []string{"e.json", "p"} {
		d, report, err := bring(t.Context(), from, Options{Items: "i.csv"})
		if err != nil || len(d.Events) != 2 || !math.IsNaN(float64(d.Events[0].Rating)) || d.Events[1].Rating != 2.5 {
			t.Errorf("%s: %+v, %+v, %v", from, d.Events, report, err)
		}
		lowest := float32(2)
		d, report, err = bring(t.Context(), from, Options{Items: "i.csv", MinRating: &lowest})
		if err != nil || len(d.Events) != 1 || report.BelowRating != report.Rows-1 {
			t.Errorf("%s, at least 2: %+v, %+v, %v", from, d.Events, report, err)
		}
	}
}

// Keys that turn up after the columns were chosen, and long values.
func TestImportAttributes(t *testing.T) {
	var items strings.Builder
	for i := range sampled + 2 {
		fmt.Fprintf(&items, `{"item":%d,"title":"T%d","tags":["a","b  c"],"of":{"x":1},"text":"%s"}`+"\n", i, i, strings.Repeat("x", longestAttribute+1))
	}
	items.WriteString(`{"item":5000,"title":"Last","late":true,"tags":[]}` + "\n")
	inFolder(t, "i.json", items.String(), "e.csv", "user,item,time\nu,5000,1\nv,1,2\n",
		"people.csv", "id,user_id,age,Unnamed: 0\nx,v, 30 ,1\ny,nobody,40,2\n")
	d, report, err := bring(t.Context(), "e.csv", Options{Items: "i.json", Users: "people.csv", KCore: 1})
	if err != nil {
		t.Fatal(err)
	}
	wantItems := dataset.Attributes{Names: []string{"tags", "late"}, Values: [][]string{{"a|b c", ""}, {"", "true"}}}
	wantUsers := dataset.Attributes{Names: []string{"id", "age"}, Values: [][]string{{"", ""}, {"x", "30"}}}
	if !reflect.DeepEqual(d.ItemAttributes, wantItems) || !reflect.DeepEqual(d.UserAttributes, wantUsers) {
		t.Errorf("%+v, %+v", d.ItemAttributes, d.UserAttributes)
	}
	if len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "1002 attributes of items were skipped") {
		t.Errorf("notes %q", report.Notes)
	}
	stores(t, d)
	plain := *d
	plain.ItemAttributes, plain.UserAttributes = dataset.Attributes{}, dataset.Attributes{}
	if plain.Hash() != d.Hash() {
		t.Error("the hash depends on attributes")
	}
}

// Titles are cleaned unless they are to stay.
func TestImportTitlesAsTheyAre(t *testing.T) {
	inFolder(t, "i.csv", "item,title\n1,USB  Cable (3 Pack)\n2,\"Bread, Die\"\n", "e.csv", header+good)
	for _, raw := range []bool{false, true} {
		d, _, err := bring(t.Context(), "e.csv", Options{Items: "i.csv", Raw: raw})
		if want := map[bool]string{false: "USB Cable, Die Bread", true: "USB Cable (3 Pack), Bread, Die"}[raw]; err != nil ||
			d.Items[0].Title+", "+d.Items[1].Title != want {
			t.Errorf("raw %v: %v, %v", raw, d.Items, err)
		}
	}
}

// Rows in another order, of events and of items, give the same data set.
func TestImportOrderOfRows(t *testing.T) {
	reverse := func(text string) string {
		lines := slices.Collect(strings.Lines(text))
		slices.Reverse(lines[1:])
		return strings.Join(lines, "")
	}
	events, items := header+"u,1,5,3\nv,2,5,1\nu,2,5,3\nu,1,4,3\nw,1,9,2\n", shortItems+"1,Another title\n2,A title that comes first\n"
	inFolder(t, "a.csv", events, "b.csv", reverse(events), "i.csv", items, "j.csv", reverse(items))
	a, _, err := bring(t.Context(), "a.csv", Options{Items: "i.csv"})
	b, _, err2 := bring(t.Context(), "b.csv", Options{Items: "j.csv"})
	if err != nil || err2 != nil || !reflect.DeepEqual(a, b) || a.Hash() != b.Hash() {
		t.Errorf("%+v and %+v, %v, %v", a, b, err, err2)
	}
}
