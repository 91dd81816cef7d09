package app

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/urfave/cli/v2"
)

const root = "../.."

// pages returns the text of all Markdown pages by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/tutorials/*.md", "bench/*.md", "third_party/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d pages, %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			found[path] = string(text)
		}
	}
	return found
}

var (
	fenced  = regexp.MustCompile("(?ms)^ *```(\\w*)\n(.*?)^ *```")
	linked  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

// Links inside of the repository lead to files, and their anchors to headings.
func TestDocs_Links(t *testing.T) {
	n := 0
	for page, text := range pages(t) {
		for _, match := range linked.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if strings.Contains(match[1], ":") { // of another site
				continue
			}
			n++
			path, anchor, _ := strings.Cut(match[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			there, err := os.ReadFile(target)
			if info, missing := os.Stat(target); missing != nil || err != nil && !info.IsDir() {
				t.Errorf("%s: the link %s leads nowhere", page, match[1])
			} else if anchor != "" && !slices.Contains(anchors(string(there)), anchor) {
				t.Errorf("%s: %s has no heading for the link %s", page, target, match[1])
			}
		}
	}
	if n == 0 {
		t.Error("no links were found")
	}
}

// The page of commands is what the program writes.
func TestDocs_CommandsPage(t *testing.T) {
	page, _ := runs(t, "", "man", "--markdown")
	if page != read(t, filepath.Join(root, "docs/commands.md")) {
		t.Error("docs/commands.md is out of date: bin/recint man --markdown >docs/commands.md")
	}
}

// Every figure of the README's results stands in docs/results.md, which has its command and commit,
// and the figures of recommenders there are those of the committed result file.
func TestDocs_Figures(t *testing.T) {
	readme, index := read(t, filepath.Join(root, "README.md")), read(t, filepath.Join(root, "docs/results.md"))
	_, results, _ := strings.Cut(readme, "\n## Results\n")
	results, _, _ = strings.Cut(results, "\n## ")
	decimal := regexp.MustCompile(`[0-9]+\.[0-9]+`)
	figures := decimal.FindAllString(linked.ReplaceAllString(results, "]"), -1)
	if len(figures) < 20 {
		t.Errorf("the README's results have %d figures", len(figures))
	}
	known := map[float64]bool{}
	for _, text := range decimal.FindAllString(index, -1) {
		x, _ := strconv.ParseFloat(text, 64)
		for _, scale := range []float64{10, 100} { // the README may round
			known[math.Round(x*scale)/scale] = true
		}
		known[x] = true
	}
	for _, text := range figures {
		if x, _ := strconv.ParseFloat(text, 64); !known[x] {
			t.Errorf("README.md: %s is not in docs/results.md", text)
		}
	}
	var measured struct {
		Quality []map[string]any
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(root, "bench/results/recommenders.json"))), &measured); err != nil {
		t.Fatal(err)
	}
	for _, row := range measured.Quality {
		if row["data"] != "ml-100k" {
			continue
		}
		for _, part := range []string{"validation hr@10", "test hr@10"} {
			if figure := fmt.Sprintf("%.4f", row[part].(map[string]any)["mean"]); !strings.Contains(index, figure) {
				t.Errorf("docs/results.md lacks %s of %s by %s, %s", part, row["model"], row["side"], figure)
			}
		}
	}
}

// anchors returns the anchors of a page's headings, as GitHub makes them.
func anchors(text string) (all []string) {
	for _, match := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		all = append(all, strings.Map(func(c rune) rune {
			switch {
			case c == ' ':
				return '-'
			case unicode.IsLetter(c) || unicode.IsDigit(c) || c == '-' || c == '_':
				return unicode.ToLower(c)
			}
			return -1
		}, linked.ReplaceAllString(match[1], "]")))
	}
	return all
}

// Command blocks name commands, flags and targets of make that exist.
func TestDocs_Commands(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	recint, targets := 0, 0
	for page, text := range pages(t) {
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			if block[1] != "sh" {
				continue
			}
			for _, words := range commandsOf(block[2]) {
				switch {
				case words[0] == "recint" || strings.HasSuffix(words[0], "/recint"):
					recint++
					if problem := unknownIn(New(io.Discard, io.Discard), words[1:]); problem != "" {
						t.Errorf("%s: %q: %s", page, words, problem)
					}
				case words[0] == "make" && len(words) > 1 && !strings.HasPrefix(words[1], "-") && !strings.Contains(words[1], "="):
					targets++
					if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(words[1]) + `\b.*:`).Match(makefile) {
						t.Errorf("%s: make has no target %q", page, words[1])
					}
				}
			}
		}
	}
	if recint == 0 || targets == 0 {
		t.Errorf("%d commands of recint and %d of make were found", recint, targets)
	}
}

// commandsOf returns the words of the commands in a block.
func commandsOf(block string) (all [][]string) {
	quoted := regexp.MustCompile(`'[^']*'|"[^"]*"`)
	comment := regexp.MustCompile(`(^|\s)#.*`)
	for line := range strings.Lines(strings.ReplaceAll(block, "\\\n", " ")) {
		line = comment.ReplaceAllString(quoted.ReplaceAllString(line, "QUOTED"), "")
		for _, command := range regexp.MustCompile(`\||&&|;`).Split(line, -1) {
			if words := strings.Fields(command); len(words) > 0 {
				all = append(all, words)
			}
		}
	}
	return all
}

// unknownIn says which word of a command line is no command or flag, or nothing.
func unknownIn(a *cli.App, words []string) string {
	commands, flags := a.Commands, a.Flags
	for _, word := range words {
		if word == "--" { // the rest is another program's
			break
		}
		name, isFlag := strings.CutPrefix(word, "--")
		name, _, _ = strings.Cut(name, "=")
		known := func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }
		at := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(word) })
		switch {
		case isFlag && name != "help" && !slices.ContainsFunc(flags, known):
			return "no flag is called " + word
		case !isFlag && at >= 0:
			commands, flags = commands[at].Subcommands, slices.Concat(commands[at].Flags, a.Flags)
		case !isFlag && len(flags) == len(a.Flags):
			return "no command is called " + word
		}
	}
	return ""
}
