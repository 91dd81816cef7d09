package importer

import (
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// imports checks that the result of an import of any two files can be stored, read back and
// described, and that every row is accounted for; strict or not, the same rows are taken.
func imports(t *testing.T, from string, o Options, files ...string) {
	inFolder(t, files...)
	d, r, err := bring(t.Context(), from, o)
	if err != nil {
		return
	}
	if n := r.Imported + r.Malformed + r.Untitled + r.Duplicates + r.BelowRating + r.OutsideCore; n != r.Rows ||
		r.Items.Imported+r.Items.Repeated+r.Items.Malformed != r.Items.Rows {
		t.Fatalf("report %+v", r)
	}
	if _, err := dataset.Describe(t.Context(), d, dataset.DefaultProtocol()); err != nil {
		t.Fatal(err)
	}
	hash := d.Hash()
	stores(t, d)
	o.Strict = true
	if d, _, err := bring(t.Context(), from, o); err == nil && d.Hash() != hash {
		t.Fatal("strict takes other rows")
	}
}

func FuzzImportMovieLens1M(f *testing.F) {
	f.Add("1::A, The (1990)::x\n2::\xe9::y\n", "1::1::3::4\n1::2::3.5::4\n:::::\n")
	f.Fuzz(func(t *testing.T, items, events string) {
		imports(t, ".", Options{KCore: 1}, "movies.dat", items, "ratings.dat", events)
	})
}

func FuzzImportCSV(f *testing.F) {
	f.Add(csvItems, csvEvents)
	f.Add("\ufeffitem,title\n1,\"a\nb\"\"\"\n", "user,item,time\n\"\n\",1,2\nu,1,2020-01-01\n\xff,1,3\nu,1\n\"")
	f.Add("item,title,caf\xe9\n1,A,b\n", csvEvents)
	f.Add("item;title;x\n1;\"a\\\"b\n\"2\";;\n", "sep=|\nuser|item|time\n\"u\n1\"|1|2\n\"\nu|1|3\n")
	f.Fuzz(func(t *testing.T, items, events string) {
		imports(t, "e.csv", Options{Items: "i.csv", KCore: 2}, "i.csv", items, "e.csv", events)
	})
}

func FuzzImportRecBole(f *testing.F) {
	f.Add("item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n1\tA, The\t1990\tb c\n",
		"user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1\t3\t4\n")
	f.Fuzz(func(t *testing.T, items, events string) {
		lowest := float32(2)
		imports(t, ".", Options{MinRating: &lowest}, "x.item", items, "x.inter", events)
	})
}

func FuzzImportJSON(f *testing.F) {
	f.Add(`{"item":1,"title":"A"}`, `{"user":"u","item":1,"time":5,"rating":2}`+"\n"+`{"user":null,"item":1e0}`+"\n{\n")
	f.Add(`{"item":"\xff","title":"\u00e9"}`, `[{"user":["u"],"item":"\xff","time":"2020-01-01"},{"time":{"$date":5}}]`)
	f.Add(`{u'item': u'1', 'title': "A", 'x': (None, True)}`, "{\n\"user\":1,\"item\":1,\"time\":5}")
	f.Fuzz(func(t *testing.T, items, events string) {
		imports(t, "e.jsonl", Options{Items: "i.jsonl", SplitBy: dataset.LeaveOneOut}, "i.jsonl", items, "e.jsonl", events)
	})
}

func FuzzImportGiven(f *testing.F) {
	f.Add("item_id\ttitle\nx\tA\ny z\tB\n", "history\tnext\nx x\tx\nx\ty\n\tx\n")
	f.Fuzz(func(t *testing.T, items, sequences string) {
		imports(t, ".", Options{}, "items.tsv", items, "train.tsv", sequences, "validation.tsv", sequences, "test.tsv", sequences)
	})
}
