// Command cases runs recint on inputs as they exist in the wild, one folder each, and prints one
// line for each of them:
//
//	go run ./cli/cases -recint bin/recint FOLDER
//
// A folder's README names the source, the command, and the expected result. Here, the folder's name
// has a check: a function that runs recint and reports what is wrong. Each area has a file of
// checks. The exit code is 1 if one fails, or if a folder with a README has no check.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// check runs recint on one case. It reports what is wrong with Errorf or Fatalf.
type check func(c *Case)

// areas hold the checks by the name of the case's folder.
var areas = []map[string]check{dataCases, modelCases, serviceCases}

func main() {
	binary := flag.String("recint", "bin/recint", "the `FILE` to run")
	only := flag.String("run", "", "run only the cases whose name begins with `PREFIX`")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: cases [-recint FILE] [-run PREFIX] FOLDER\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	failed, err := run(os.Stdout, *binary, flag.Arg(0), *only)
	if err != nil {
		fmt.Fprintf(os.Stderr, "cases: %v\n", err)
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// run checks all cases of a folder and returns how many failed.
func run(out io.Writer, binary, folder, only string) (failed int, err error) {
	if binary, err = filepath.Abs(binary); err != nil {
		return 0, err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return 0, err
	}
	passed := 0
	for _, e := range entries {
		c := &Case{Name: e.Name(), Dir: filepath.Join(folder, e.Name()), binary: binary}
		readme, err := os.ReadFile(filepath.Join(c.Dir, "README"))
		checks := find(c.Name)
		if !e.IsDir() || !strings.HasPrefix(c.Name, only) || err != nil && checks == nil {
			continue // a folder without README is an ingredient of another case
		}
		c.readme = string(readme)
		if checks == nil {
			c.failures = []string{"no check"}
		} else if err := c.run(checks); err != nil {
			return failed, err
		}
		if len(c.failures) > 0 {
			failed++
			fmt.Fprintf(out, "FAIL  %-26s %s\n", c.Name, strings.Join(c.failures, "; "))
		} else {
			passed++
			fmt.Fprintf(out, "pass  %-26s %s\n", c.Name, c.field("expected"))
		}
	}
	fmt.Fprintf(out, "%d of %d cases pass\n", passed, passed+failed)
	return failed, nil
}

// find returns the check of a case, nil where there is none.
func find(name string) check {
	for _, area := range areas {
		if area[name] != nil {
			return area[name]
		}
	}
	return nil
}

// field returns a line of the README by its label.
func (c *Case) field(label string) string {
	lines := strings.Split(c.readme, "\n")
	i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, label+": ") })
	if i < 0 {
		return ""
	}
	return strings.TrimPrefix(lines[i], label+": ")
}
