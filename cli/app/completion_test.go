package app

import (
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestCompletions(t *testing.T) {
	for line, want := range map[string]string{
		"al":                             "align",
		"evaluate ":                      "residual recovery controls edits ranks abstention merge",
		"--backend cpu recommender e":    "evaluate export",
		"--backend ":                     "auto cpu cuda metal",
		"align --adapter m":              "memory mlp mixture",
		"align --adapter r":              "retrieval",
		"align --adapter=m":              "--adapter=memory --adapter=mlp --adapter=mixture",
		"align --prompt rec":             "recovery recovery-varied",
		"align --prompt residual --sche": "--schedule",
		"align --json --backend c":       "cpu cuda", // a flag of recint itself after a command
		"align --backen":                 "--backend",
		"align --he":                     "--help",
		"align --out ":                   "",
		"align --no-such-flag ":          "",
		"adapter info --adapter ":        "", // there a file
		"judge --model ":                 "", // there a name of the endpoint
		"recommender train --model s":    "sasrec",
		"recommender states --part t":    "train test",
		"models fetch ":                  "smollm2-135m",
		"models info -- ":                "",
		"no-such-command ":               "",
		"completion ":                    "bash fish zsh",
		"prompt show --llm s":            "smollm2-135m",
	} {
		var got []string
		for _, c := range completions(New(io.Discard, io.Discard), strings.Split(line, " ")) {
			got = append(got, c.word)
		}
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("recint %s: %q, want %s", line, got, want)
		}
	}
}

// The completions of a flag or a command are those in its help.
func TestCompletionValues(t *testing.T) {
	stale, staleNames := maps.Clone(values), maps.Clone(names)
	check := func(flags []cli.Flag) {
		for _, f := range flags {
			called, help := placeholder(f)
			contains(t, help, values[f.Names()[0]+" "+called]...)
			delete(stale, f.Names()[0]+" "+called)
		}
	}
	a := New(io.Discard, io.Discard)
	check(a.Flags)
	for _, c := range named("", a.Commands) {
		check(c.Flags)
		path := strings.TrimSpace(c.Path)
		contains(t, c.ArgsUsage, names[path]...)
		delete(staleNames, path)
	}
	if len(stale)+len(staleNames) > 0 {
		t.Errorf("no flag or command for %v, %v", stale, staleNames)
	}
}

// The shells complete with the scripts. Where one is not installed its part is skipped.
func TestCompletionScripts(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := "#!/bin/sh\n" + asRecint + "=1 exec '" + program + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "recint"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for shell, run := range map[string]string{
		"bash": `source <(recint completion bash) && COMP_WORDS=($1 "$2") COMP_CWORD=${#COMP_WORDS[@]} && (( COMP_CWORD-- ))
			_recint && printf '%s\n' "${COMPREPLY[@]}"`,
		"zsh": `compdef() { :; }; _describe() { printf '%s\n' "${(@P)2}" }; _files() { echo files }
			source <(recint completion zsh) && words=(${=1} "$2") && CURRENT=$#words && _recint`,
		"fish": `recint completion fish | source; complete -C "$argv[1] $argv[2]"`,
	} {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil {
				t.Skip(shell + " is not installed")
			}
			complete := func(words, last string) string {
				args := []string{"-c", run, words, last}
				if shell != "fish" { // the first is its name there
					args = slices.Insert(args, 2, shell)
				}
				command := exec.Command(shell, args...)
				command.Dir = dir
				said, err := command.CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, said)
				}
				return string(said)
			}
			says := map[string]string{"bash": "residual\n", "zsh": "residual:\n", "fish": "residual\n"}[shell]
			if got := complete("recint align --prompt", "res"); !strings.HasPrefix(got, says) {
				t.Errorf("values are %q", got)
			}
			if got := complete("recint evaluate", "me"); !strings.HasPrefix(got, "merge") ||
				strings.Contains(got, "merge the answer files") != (shell != "bash") {
				t.Errorf("commands are %q", got)
			}
			if got := complete("recint align", "--sched"); !strings.HasPrefix(got, "--schedule") {
				t.Errorf("flags are %q", got)
			}
			files := map[string]string{"bash": "\n", "zsh": "files\n", "fish": "recint\n"}[shell] // bash itself lists files then
			if got := complete("recint align --out", ""); got != files {
				t.Errorf("in place of files came %q", got)
			}
			if shell == "bash" {
				if got := complete("recint align --schedule =", "c"); got != "cosine\nconstant\n" {
					t.Errorf("behind = came %q", got)
				}
				if got := complete("recint align --schedule", "="); got != "linear\ncosine\nconstant\n" {
					t.Errorf("behind = came %q", got)
				}
			}
		})
	}
}
