package artifact

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// claimVariable makes TestClaim_child claim a path and wait to be killed.
const claimVariable = "RECINT_TEST_CLAIM"

func TestClaim_child(t *testing.T) {
	path := os.Getenv(claimVariable)
	if path == "" {
		t.Skip("only as a child of TestClaim")
	}
	if _, err := Claim(path); err != nil {
		t.Fatal(err)
	}
	fmt.Println("claimed")
	select {}
}

// A second writer's error names the first one, and a killed one leaves no lock.
func TestClaim(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.jsonl")
	child := exec.Command(os.Args[0], "-test.run=TestClaim_child$")
	child.Env = append(os.Environ(), claimVariable+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "claimed" {
	}
	_, err = Claim(path)
	for _, says := range []string{path, fmt.Sprintf("process %d ", child.Process.Pid), "-test.run=TestClaim_child"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // says that it was killed
	for range 2 {
		lock, err := Claim(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Claim(path); err == nil {
			t.Error("claimed twice")
		}
		if err := lock.Release(); err != nil {
			t.Error(err)
		}
	}
}
