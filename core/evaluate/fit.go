package evaluate

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

const (
	// pilot is the number of samples whose answers are timed.
	pilot = 64
	// least is the smallest evaluation, even if the time is too short: fewer samples show next to
	// nothing.
	least = 100
)

// fit measures how fast samples are answered and gives the number of them, out of total, that can
// be answered within a budget, including the measurement. ask answers a number of samples. A first
// small call is not timed, because it also does work that all later ones share. now is the clock.
func fit(budget time.Duration, total int, ask func(samples int) error, now func() time.Time) (n int, err error) {
	began := now()
	if err := ask(min(total, pilot/8)); err != nil {
		return 0, err
	}
	ready := now()
	if err := ask(min(total, pilot)); err != nil {
		return 0, err
	}
	each := now().Sub(ready) / time.Duration(min(total, pilot))
	left := budget - now().Sub(began)
	n = total
	if each > 0 && left < each*time.Duration(total) {
		n = int(left/each) / 10 * 10 // a round number
	}
	return min(total, max(n, least)), nil
}

// Within gives the number of test sequences for an evaluation of at most so long, whose answers a
// file keeps: the number that the file was begun with or, as fit says, what the time allows.
func Within(budget time.Duration, path string, total int, ask func(samples int) error) (n int, err error) {
	if n, err := begun(path); err != nil || n > 0 {
		return n, err
	}
	return fit(budget, total, ask, time.Now)
}

// begun gives the number of test sequences that were drawn for a file of answers, finished or not;
// 0 if there is no file.
func begun(path string) (sequences int, err error) {
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("evaluate: %w", err)
	}
	defer file.Close()
	var h Header
	if json.NewDecoder(file).Decode(&h) != nil || h.N < 1 {
		return 0, fmt.Errorf("evaluate: %s is no file of answers; remove it to start again", path)
	}
	return max(h.N, h.Drawn), nil
}
