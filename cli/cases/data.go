package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// dataCases are about data files and recint data import.
var dataCases = map[string]check{
	"csv-cp1252":           imports(want{events: standard(""), items: []string{"10\tOcean’s Eleven – Part\tOcean’s Eleven – Part"}}),
	"csv-gz":               imports(want{events: standard("")}),
	"csv-semicolon":        imports(want{events: standard(""), command: "data import events.csv --items items.csv --to OUT"}),
	"csv-semicolon-latin1": imports(want{events: standard(""), items: []string{"10\tAlpha é\tAlpha é"}}),
	"csv-stray-quotes": imports(want{events: without(standard(""), "1\t13\t", "3\t14\t"), says: []string{"18 rows read, 16 imported, 2 skipped",
		"events.csv:5: ", "events.csv:16: "}}),
	"csv-utf16-excel":        imports(want{events: standard("")}),
	"hand-bom-json":          func(c *Case) { c.OK(c.Args()...) },
	"ids-float-csv":          imports(want{n: 18, items: []string{"10\tAlpha\tAlpha"}, says: []string{"19 rows read, 18 imported"}}),
	"ids-spaces-after-comma": imports(want{events: standard("")}),
	"json-array":             imports(want{events: standard("")}),
	"jsonl-first-lacks-rating": func(c *Case) {
		imports(want{n: 18, events: []string{"1\t10\t1714521600\t", "1\t11\t1714525200\t2", "1\t14\t1714536000\t5"}})(c)
		imports(want{n: 10, extra: []string{"--min-rating", "3"}})(c)
	},
	"jsonl-first-lacks-title": imports(want{events: standard(""), says: []string{"titles: 7 rows read, 6 items imported", "items.jsonl:1: "}}),
	"jsonl-line-too-long":     imports(want{events: without(standard(""), "\t13\t"), says: []string{"items.jsonl:4: ", "3 skipped whose item has no title"}}),
	"jsonl-title-list":        func(c *Case) { c.Refuses(c.Args(), "items.jsonl", "title is a list") },
	"movies-csv-of-mine":      unlicensed,
	"movietweetings": func(c *Case) {
		unlicensed(c)
		if items := c.File(filepath.Join(c.Out(), "items.tsv")); !strings.Contains(items, "0000016\tAmélie\tAmélie (2001)") {
			c.Errorf("items: %q", items)
		}
	},
	"nfd-title": func(c *Case) {
		imports(want{events: standard(""), items: []string{"10\tAmélie\tAmélie"}, command: "data import events.csv --items items.csv --to OUT"})(c)
	},
	"no-time-row-order": func(c *Case) {
		c.Refuses(c.Args(), "looks like the time")
		imports(want{n: 18, events: []string{"1\t10\t1\t1", "1\t11\t2\t1", "3\t11\t18\t1"}, extra: []string{"--time", "rows"}})(c)
	},
	"pandas-tocsv-tz":     imports(want{events: standard("")}),
	"pandas-tojson-lines": imports(want{events: standard("")}),
	"pq-bool-rating":      imports(want{n: 18, events: []string{"1\t10\t1714521600\t1", "1\t11\t1714525200\t0"}}),
	"pq-decimal-int-rating": func(c *Case) {
		imports(want{n: 18, events: []string{"1\t10\t1714521600\t2.5", "1\t11\t1714525200\t4.5"}})(c)
		imports(want{n: 9, extra: []string{"--min-rating", "4"}})(c)
	},
	"pq-float16":      imports(want{events: standard("4.5")}),
	"pq-int96":        imports(want{events: standard("")}),
	"pq-spark-folder": imports(want{events: standard("")}),
	"pq-uint32":       imports(want{n: 18, users: []string{"3000000001"}}),
	"pq-uuid":         imports(want{n: 18, users: []string{"00000000-0000-0000-0000-000000000001"}}),
	"rating-partly-empty": imports(want{n: 18, events: []string{"1\t10\t1714521600\t", "1\t11\t1714525200\t4"},
		says: []string{"18 rows read, 18 imported, 0 skipped"}}),
	"recbole-benchmark": func(c *Case) {
		c.OK(c.Args()...)
		for name, lines := range map[string]string{"validation.tsv": "12\t13\n12 13\t14\n", "test.tsv": "12 13 14\t15\n12 13 14 15\t10\n12 13 14 15 10\t11\n"} {
			if got := c.File(filepath.Join(c.Out(), name)); got != "history\tnext\n"+lines {
				c.Errorf("%s: %q", name, got)
			}
		}
		if n := strings.Count(c.File(filepath.Join(c.Out(), "train.tsv")), "\n"); n != 1+10 {
			c.Errorf("train.tsv has %d lines", n)
		}
	},
	"rows-order": func(c *Case) {
		var hashes []string
		for _, name := range []string{"events.csv", "reversed.csv"} {
			r := c.OK("data", "import", name, "--items", "items.csv", "--json", "--to", filepath.Join(c.Temp, name))
			var report struct{ Stats struct{ Hash string } }
			if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
				c.Fatalf("%v", err)
			}
			hashes = append(hashes, report.Stats.Hash)
		}
		if hashes[0] != hashes[1] || hashes[0] == "" {
			c.Errorf("hashes %q", hashes)
		}
	},
	"steam-python-literal":  imports(want{events: standard(""), items: []string{"11\tThe Beta\tBeta, The"}}),
	"time-T-offset-nocolon": imports(want{events: standard("")}),
	"time-iso-naive-T":      imports(want{events: standard("")}),
	"time-mixed-ms": func(c *Case) {
		c.Refuses(c.Args(), "more than one unit", "events.csv:3", "seconds", "milliseconds")
	},
	"time-ms": func(c *Case) {
		imports(want{n: 18, says: []string{"milliseconds"}, command: "data import events.csv --items items.csv --to OUT"})(c)
		c.Says(c.OK("data", "stats", "--data", c.Out()).Stdout, "2024-05-01 to 2024-05-02")
		imports(want{events: standard(""), extra: []string{"--time-unit", "ms"}, command: "data import events.csv --items items.csv --to OUT"})(c)
	},
	"titles-parenthesised": imports(want{events: standard(""), extra: []string{"--titles", "as-is"},
		items: []string{"10\tUSB Cable (3 Pack)\tUSB Cable (3 Pack)", "14\tBread, Die\tBread, Die"}}),
	"user-name-beside-user-id": imports(want{events: standard(""), says: []string{"user from user_id"}}),
	"yelp-dot-json":            imports(want{events: standard("4")}),
}

// want is the expected result of an import.
type want struct {
	command string   // instead of the README's
	extra   []string // arguments after those of the command
	events  []string // lines of events.tsv, among others where n is given
	n       int      // lines of events.tsv, where events are not all
	items   []string // beginnings of lines of items.tsv, among others
	users   []string // that have events
	says    []string // on standard error
}

// imports runs the command and checks the data set.
func imports(w want) check {
	return func(c *Case) {
		args := strings.Fields(w.command)
		if len(args) == 0 {
			args = c.Args()
		}
		out := c.Out()
		if c.imports++; c.imports > 1 {
			out += fmt.Sprint(c.imports)
		}
		args = append(slices.Clone(args), w.extra...)
		args[slices.Index(args, "OUT")] = out
		r := c.OK(args...)
		c.Says(r.Stderr, w.says...)
		events, items := table(c, filepath.Join(out, "events.tsv")), table(c, filepath.Join(out, "items.tsv"))
		if n := max(w.n, len(w.events)); len(events) != n {
			c.Errorf("%d events, want %d", len(events), n)
		}
		for _, line := range w.events {
			if !slices.Contains(events, line) {
				c.Errorf("no event %q", line)
			}
		}
		for _, user := range w.users {
			if !slices.ContainsFunc(events, func(line string) bool { return strings.HasPrefix(line, user+"\t") }) {
				c.Errorf("user %s has no events", user)
			}
		}
		for _, start := range w.items {
			if !slices.ContainsFunc(items, func(line string) bool { return strings.HasPrefix(line+"\t", start+"\t") }) {
				c.Errorf("no item %q among %q", start, items)
			}
		}
	}
}

// table returns the lines of a file after the first.
func table(c *Case, path string) []string {
	return strings.Split(strings.TrimSuffix(c.File(path), "\n"), "\n")[1:]
}

// standard are the events that most cases have: three users, each of whom begins with another of
// six items, an hour apart. rating is that of all; "" for a source without ratings.
func standard(rating string) (lines []string) {
	if rating == "" {
		rating = "1"
	}
	for user := range 3 {
		for k := range 6 {
			lines = append(lines, fmt.Sprintf("%d\t%d\t%d\t%s", user+1, 10+(user+k)%6, 1714521600+36000*user+3600*k, rating))
		}
	}
	return lines
}

// without removes the lines that contain one of the texts.
func without(lines []string, texts ...string) []string {
	return slices.DeleteFunc(lines, func(line string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains("\t"+line, "\t"+strings.TrimPrefix(text, "\t")) })
	})
}

// unlicensed requires data in the layout of MovieLens that are not GroupLens's.
func unlicensed(c *Case) {
	c.OK(c.Args()...)
	head := c.File(filepath.Join(c.Out(), "dataset.json"))
	for _, word := range []string{"GroupLens", "official", "licence"} {
		if strings.Contains(head, word) {
			c.Errorf("dataset.json claims %q: %s", word, head)
		}
	}
}
