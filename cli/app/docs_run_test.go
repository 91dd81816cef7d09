package app

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/fetch"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/states/statestest"
)

// shBlock is a command block. A comment before it says why tests leave it alone.
var shBlock = regexp.MustCompile("(?m)(?:^<!-- not run: (.+) -->\n)?^```sh\n((?s:.*?))^```")

// tinyWords replace slow settings for real data by quick ones for tiny data.
var tinyWords = strings.NewReplacer("--like llama-7b", "--like FILE.gguf", "recommender train ", "recommender train --epochs 2 ")

// docsBefore prepares single pages.
var docsBefore = map[string]string{
	"README.md": "rm -r mine states.parquet\nrecint data import events.csv --items items.csv --to mine\n" +
		"recint recommender train --data mine --epochs 1 --width 16 --out its.safetensors\n" +
		"recint recommender states --data mine --recommender its.safetensors --out states.parquet\nrm -r mine\n",
	"docs/data.md": "mv FOLDER SOURCE\n",
	"docs/recommenders.md": "recint recommender export --recommender demo/sasrec.safetensors --out theirs.safetensors\n" +
		"tail -n +2 mine/items.tsv | cut -f 1 >ids.txt\n",
}

var minutes = regexp.MustCompile(`--minutes [0-9.]+`)

// The commands of each page run one after the other, in a folder where small stand-ins have the
// names that the pages use: a data set under the name ml-100k, a random LLM under the name
// smollm2-135m, and the files of the demo. Trainings are cut to a few samples.
func TestDocs_Run(t *testing.T) {
	for page, text := range pages(t) {
		name := strings.TrimPrefix(page, root+"/")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var script strings.Builder
			for _, block := range shBlock.FindAllStringSubmatch(text, -1) {
				if block[1] != "" {
					t.Logf("not run, %s: %s", block[1], strings.TrimSpace(block[2]))
					continue
				}
				script.WriteString(block[2])
			}
			if script.Len() > 0 {
				runPage(t, docsFolder(t), docsBefore[name]+script.String())
			}
		})
	}
}

// runPage runs the lines of a page in a folder. A service that a line starts runs until the end.
func runPage(t *testing.T, dir, script string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a free port
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(minutes.ReplaceAllString(tinyWords.Replace(script), "--samples 8")) {
		if command, _, _ := strings.Cut(line, "#"); strings.Contains(command, "recint serve ") {
			line = fmt.Sprintf("%s --listen %s &\ntrap 'kill $!; wait' EXIT\n", strings.TrimSpace(command), address) +
				fmt.Sprintf("for try in $(seq 100); do curl -sf %s/readyz >/dev/null && break; sleep 0.1; done\n", address)
		}
		lines = append(lines, strings.ReplaceAll(line, "localhost:8080", address))
	}
	if err := inDocsFolder(dir, strings.Join(lines, "")); err != nil {
		t.Error(err)
	}
}

// docsWorld makes the folder that each page gets a copy of.
var docsWorld = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(shared, "docs")
	binary, err := os.Executable()
	if err != nil {
		return "", err
	}
	files := docsSources()
	files["bin/recint"] = fmt.Sprintf("#!/bin/sh\n%s=1 exec %s --backend cpu --threads 1 \"$@\"\n", asRecint, binary)
	files["home/models/"+fetch.SmolLM2File] = string(gguftest.LLM(1))
	files["FILE.gguf"] = files["home/models/"+fetch.SmolLM2File]
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(content), 0o777); err != nil {
			return "", err
		}
	}
	if err := docsParquet(dir); err != nil {
		return "", err
	}
	return dir, inDocsFolder(dir, docsPreparation)
})

// docsPreparation makes from the sources what pages take for granted.
const docsPreparation = `
gzip -k log.csv
gzip -c log.jsonl > log.json.gz
cp log.csv events-1.csv
cp log.csv events.csv
cp items.csv films.csv
cp -r ml-25m FOLDER
recint data import ml-25m --to home/data/ml-100k
recint data import ml-25m --to mine
recint recommender train --epochs 2 --width 16 --heads 2 --out demo/sasrec.safetensors
recint recommender train --model dreamrec --epochs 2 --width 16 --out demo/dreamrec.safetensors
recint align --recommender demo/sasrec.safetensors --samples 8 --out demo/residual
recint align --prompt recovery --recommender demo/sasrec.safetensors --samples 8 --out demo/recovery
recint align --recommender demo/dreamrec.safetensors --samples 8 --out demo/dreamrec
recint recommender states --data mine --recommender demo/sasrec.safetensors --out states.parquet
`

// docsFolder makes the folder for a page.
func docsFolder(t *testing.T) string {
	t.Helper()
	world, err := docsWorld()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(world)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// inDocsFolder runs a script where recint is the binary under test.
func inDocsFolder(dir, script string) error {
	c := exec.Command("bash", "-euo", "pipefail", "-x", "-c", script)
	c.Dir = dir
	c.Env = append(os.Environ(), "RECINT_HOME="+filepath.Join(dir, "home"), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out[max(0, len(out)-4000):])
	}
	return nil
}

// docsSources are files as pages name them, by path: 60 users, each of whom next chooses the item 7
// places further.
func docsSources() map[string]string {
	titles := map[int]string{1: "Toy Story (1995)", 50: "Star Wars (1977)", 100: "Fargo (1996)", 181: "Return of the Jedi (1983)"}
	for i := 2; len(titles) < 40; i++ {
		titles[i] = fmt.Sprintf("Letter %d, The (19%d)", i, 50+i)
	}
	ids := slices.Sorted(maps.Keys(titles))
	genres := []string{"Drama", "Comedy", "Drama|War", "Action|Horror"}
	files := map[string]string{
		"ml-25m/movies.csv": "movieId,title,genres\n", "ml-25m/ratings.csv": "userId,movieId,rating,timestamp\n",
		"recbole/steam.item": "item_id:token\ttitle:token_seq\n", "recbole/steam.inter": "user_id:token\titem_id:token\ttimestamp:float\n",
		"split/NAME.item": "item_id:token\ttitle:token_seq\n", "lastfm/items.tsv": "item_id\ttitle\n",
		"items.csv": "item_id,title,category\n", "users.csv": "user_id,age_group\n", "log.csv": "user_id,item_id,timestamp\n",
	}
	for _, part := range []string{"train", "valid", "test"} {
		files["split/NAME."+part+".inter"] = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
	}
	for _, part := range []string{"train", "validation", "test"} {
		files["lastfm/"+part+".tsv"] = "history\tnext\n"
	}
	add := func(file, format string, values ...any) { files[file] += fmt.Sprintf(format+"\n", values...) }
	for n, id := range ids {
		add("ml-25m/movies.csv", "%d,%q,%s", id, titles[id], genres[n%len(genres)])
		add("ml-1m/movies.dat", "%d::%s::%s", id, titles[id], genres[n%len(genres)])
		add("ml-100k/u.item", "%d|%s|01-Jan-1995||||0|1%s", id, titles[id], strings.Repeat("|0", 16))
		for _, file := range []string{"recbole/steam.item", "split/NAME.item", "lastfm/items.tsv"} {
			add(file, "%d\t%s", id, titles[id])
		}
		add("items.csv", "%d,%q,%s", id, titles[id], genres[n%len(genres)])
		add("books.jsonl", `{"book": %d, "name": %q}`, id, titles[id])
	}
	for user := 1; user <= 60; user++ {
		add("users.csv", "%d,%d", user, user%6*10)
		for k := range 20 {
			at := func(k int) int { return ids[(5*user+7*k)%len(ids)] }
			item, time := at(k), 1_000_000_000+86_400*k+user
			add("ml-25m/ratings.csv", "%d,%d,4.0,%d", user, item, time)
			add("ml-1m/ratings.dat", "%d::%d::4::%d", user, item, time)
			add("ml-100k/u.data", "%d\t%d\t4\t%d", user, item, time)
			add("recbole/steam.inter", "%d\t%d\t%d", user, item, time)
			add("log.csv", "%d,%d,%d", user, item, time)
			add("log.jsonl", `{"reader": %d, "book": %d, "read_at": %d}`, user, item, time)
			ratings, given := "train", "train"
			switch {
			case k < 3:
				continue
			case k == 18:
				ratings, given = "valid", "validation"
			case k == 19:
				ratings, given = "test", "test"
			}
			add("split/NAME."+ratings+".inter", "%d\t%d %d %d\t%d", user, at(k-3), at(k-2), at(k-1), item)
			add("lastfm/"+given+".tsv", "%d %d %d\t%d", at(k-3), at(k-2), at(k-1), item)
		}
	}
	return files
}

// docsParquet writes Parquet files from those sources.
func docsParquet(dir string) error {
	for name, query := range map[string]string{
		"ratings.parquet":               "FROM 'log.csv'",
		"events.parquet/part-1.parquet": "FROM 'log.csv' WHERE user_id < 30",
		"events.parquet/part-2.parquet": "FROM 'log.csv' WHERE user_id >= 30",
		"items.parquet":                 "FROM 'items.csv'",
		"log/1.parquet":                 "SELECT user_id AS user, item_id AS item, timestamp AS time, 4 AS rating, title, 'NZ' AS country FROM 'log.csv' JOIN 'items.csv' USING (item_id)",
		"rows.parquet":                  "SELECT '42' AS user",
	} {
		query = regexp.MustCompile(`'(\w+\.csv)'`).ReplaceAllString(query, "'"+dir+"/$1'")
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := statestest.WriteParquet(path, query); err != nil {
			return err
		}
	}
	return nil
}
