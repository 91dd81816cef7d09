package importer

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// A limit on the size of files simulates a full disk: the write fails in the middle of events.tsv.
func TestImportOnFullDisk(t *testing.T) {
	events := csvEvents
	for at := range 100 {
		events += fmt.Sprintf("7,1,5,%d\n", at)
	}
	inFolder(t, "ml/movies.csv", csvItems, "ml/ratings.csv", events)
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 512, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	_, _, err := Import(t.Context(), "ml", "new/data", Options{Name: "n"})
	if restored := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); restored != nil {
		t.Fatal(restored)
	}
	if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), "events.tsv") {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir("new"); err != nil || len(left) > 0 {
		t.Errorf("%v was left behind, %v", left, err)
	}
}
