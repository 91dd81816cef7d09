package importer

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/reference"
)

// givenFiles is data in three parts.
func givenFiles() []string {
	return []string{"items.tsv", "item_id\ttitle\nx\tEmperor (NOR)\ny\tB\nz\tC\n", "train.tsv", "history\tnext\nx\ty\nx y z\tx\n",
		"validation.tsv", "history\tnext\ny\tz\n", "test.tsv", "history\tnext\nx\ty\ny\tz\nz z\tz\n"}
}

// The parts stay as they are, titles too; the last items of a history count, and short ones are
// kept.
func TestImportGiven(t *testing.T) {
	inFolder(t, givenFiles()...)
	d, report, err := bring(t.Context(), ".", Options{Strict: true})
	if err != nil || report.Rows != 6 || report.Imported != 6 || d.Items[0].Title != "Emperor (NOR)" {
		t.Fatalf("%+v, %+v, %v", d, report, err)
	}
	stores(t, d)
	s, err := d.Split(dataset.Protocol{MaxHistory: 2, MinHistory: 2})
	want := dataset.Split{Train: []dataset.Sequence{{History: []int32{0}, Next: 1}, {History: []int32{1, 2}, Next: 0}},
		Validation: []dataset.Sequence{{History: []int32{1}, Next: 2}},
		Test:       []dataset.Sequence{{History: []int32{0}, Next: 1}, {History: []int32{1}, Next: 2}, {History: []int32{2, 2}, Next: 2}}}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, %v", s, err)
	}
	files := givenFiles()
	files[1], files[5] = "item_id\ttitle\nx\tA\ny\tB\nAme\u0301lie\tC\n", "history\tnext\nx 1.0 Am\u00e9lie\tAme\u0301lie\n"
	files[1], files[3] = files[1]+"1\tD\n", "history\tnext\nx\ty\n"
	files[7] = files[3]
	inFolder(t, files...)
	if _, _, err := bring(t.Context(), ".", Options{Strict: true}); err != nil {
		t.Errorf("ids in other forms: %v", err)
	}
	for want, change := range map[string][2]string{
		"train.tsv:2: history is empty":               {"train.tsv", "history\tnext\n \ty\nx\ty\n"},
		`test.tsv:2: history "q" is not in items.tsv`: {"test.tsv", "history\tnext\nx q\ty\nx\ty\n"},
		`test.tsv:2: next "" is not in items.tsv`:     {"test.tsv", "history\tnext\nx\t\nx\ty\n"},
		"test.tsv:2: 1 fields":                        {"test.tsv", "history\tnext\nx\nx\ty\n"},
	} {
		files := givenFiles()
		files[slices.Index(files, change[0])+1] = change[1]
		inFolder(t, files...)
		d, report, err := bring(t.Context(), ".", Options{})
		if err != nil || report.Malformed+report.Untitled != 1 || report.Rows != report.Imported+1 || !strings.Contains(report.First[0], want) {
			t.Errorf("want %q, got %+v, %v", want, report, err)
		} else {
			stores(t, d)
		}
		if _, _, err := bring(t.Context(), ".", Options{Strict: true}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("strict: want %q, got %v", want, err)
		}
	}
	files = givenFiles()
	files[len(files)-1] = "history\tnext\n"
	inFolder(t, files...)
	if _, _, err := bring(t.Context(), ".", Options{KCore: 2}); err == nil || !strings.Contains(err.Error(), "cannot be filtered") {
		t.Errorf("a filter on sequences: %v", err)
	}
	if _, _, err := bring(t.Context(), ".", Options{}); err == nil || !strings.Contains(err.Error(), "test.tsv: it has no sequences") {
		t.Errorf("an empty part: %v", err)
	}
}

// RecBole's files of events that are already split: by hand, a history continues through the parts,
// and a user's first event is only history. Files that hold histories are sequences as they are.
func TestImportRecBoleSplits(t *testing.T) {
	const inter = "user_id:token\titem_id:token\ttimestamp:float\n"
	items := "item_id:token\ttitle:token_seq\n1\tA\n2\tB\n3\tC\n"
	inFolder(t, "x.item", items, "x.train.inter", inter+"b\t1\t5\na\t2\t9\na\t1\t8\n", "x.valid.inter", inter+"a\t3\t1\nb\t9\t1\n",
		"x.test.inter", inter+"b\t2\t7\nb\t3\t6\n")
	d, report, err := bring(t.Context(), ".", Options{})
	want := dataset.Split{Train: []dataset.Sequence{{History: []int32{0}, Next: 1}}, Validation: []dataset.Sequence{{History: []int32{0, 1}, Next: 2}},
		Test: []dataset.Sequence{{History: []int32{0}, Next: 2}, {History: []int32{0, 2}, Next: 1}}}
	if err != nil || !reflect.DeepEqual(d.Parts, want) || report.Rows != 7 || report.Imported != 6 || report.Untitled != 1 {
		t.Errorf("%+v, %+v, %v", d.Parts, report, err)
	}
	stores(t, d)
	const sequences = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
	inFolder(t, "x.item", items, "x.train.inter", sequences+"b\t1 2\t3\n", "x.valid.inter", sequences+"a\t3\t1\n", "x.test.inter", sequences+"b\t2\t2\n")
	d, _, err = bring(t.Context(), ".", Options{Strict: true})
	want = dataset.Split{Train: []dataset.Sequence{{History: []int32{0, 1}, Next: 2}}, Validation: []dataset.Sequence{{History: []int32{2}, Next: 0}},
		Test: []dataset.Sequence{{History: []int32{1}, Next: 1}}}
	if err != nil || !reflect.DeepEqual(d.Parts, want) {
		t.Errorf("%+v, %v", d.Parts, err)
	}
}

// Counts by wc.
func TestImportLastFM(t *testing.T) {
	source := reference.Folder(t, "data/lastfm")
	to := filepath.Join(t.TempDir(), "lastfm")
	_, report, err := Import(t.Context(), source, to, Options{Name: "lastfm", Strict: true})
	if err != nil || report.Rows != 49824+122+122 {
		t.Fatalf("%+v, %v", report, err)
	}
	d, err := dataset.Load(to)
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Split(dataset.DefaultProtocol())
	if err != nil || len(s.Train) != 49824 || len(s.Validation) != 122 || len(s.Test) != 122 || len(d.Items) != 4606 {
		t.Errorf("%d items, %d, %d and %d sequences, %v", len(d.Items), len(s.Train), len(s.Validation), len(s.Test), err)
	}
	for _, name := range []string{"train.tsv", "validation.tsv", "test.tsv"} {
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
