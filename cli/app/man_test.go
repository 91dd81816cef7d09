package app

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// The manual page names every command and flag, and is sound for the formatter that is installed.
func TestMan(t *testing.T) {
	page, _ := runs(t, "", "man")
	text := strings.NewReplacer(`\-`, "-", `\fB`, "", `\fI`, "", `\fP`, "").Replace(page)
	contains(t, text, ".TH RECINT 1", "recint "+Version, "recint evaluate merge SHARD.jsonl…", "--backend DEVICE", "RECINT_API_KEYS",
		"byte for byte")
	for _, c := range named("recint", New(io.Discard, io.Discard).Commands) {
		contains(t, text, ".SS "+c.Path)
		for _, f := range c.Flags {
			contains(t, text, "\n--"+f.Names()[0])
		}
	}
	if strings.Contains(text, "completion words") {
		t.Error("a hidden command stands in the page")
	}
	for _, check := range [][]string{{"mandoc", "-Tlint", "-Werror"}, {"groff", "-man", "-Tutf8", "-ww", "-z", "-k"}} {
		if _, err := exec.LookPath(check[0]); err != nil {
			t.Log(check[0] + " is not installed")
			continue
		}
		command := exec.Command(check[0], check[1:]...)
		command.Stdin = strings.NewReader(page)
		var said bytes.Buffer
		command.Stdout, command.Stderr = &said, &said
		if err := command.Run(); err != nil || check[0] == "groff" && said.Len() > 0 {
			t.Errorf("%s: %v\n%s", check[0], err, said.String())
		}
	}
}
