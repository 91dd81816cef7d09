package bench

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// meter counts the energy of the processors and GPUs, where drivers tell.
type meter struct {
	packages []string // files that count microjoules
	gpus     *exec.Cmd

	mu   sync.Mutex
	used float64 // joules of the GPUs so far
}

// meterEvery is how often GPUs are asked for their power.
const meterEvery = 100 * time.Millisecond

// openMeter finds what counts, and begins. Close it.
func openMeter() *meter {
	m := &meter{}
	// Packages as a whole; their parts, intel-rapl:0:1, are contained.
	found, _ := filepath.Glob("/sys/class/powercap/intel-rapl:?/energy_uj")
	for _, file := range found {
		if _, err := os.ReadFile(file); err == nil { // often for root alone
			m.packages = append(m.packages, file)
		}
	}
	command := exec.Command("nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits", "--loop-ms",
		strconv.FormatInt(meterEvery.Milliseconds(), 10))
	out, err := command.StdoutPipe()
	if err == nil && command.Start() == nil {
		m.gpus = command
		go func() {
			for lines := bufio.NewScanner(out); lines.Scan(); { // a line for each GPU
				if watts, err := strconv.ParseFloat(strings.TrimSpace(lines.Text()), 64); err == nil {
					m.mu.Lock()
					m.used += watts * meterEvery.Seconds()
					m.mu.Unlock()
				}
			}
		}()
	}
	return m
}

func (m *meter) close() {
	if m.gpus != nil {
		_ = m.gpus.Process.Kill()
		_ = m.gpus.Wait() // which says that it was killed
	}
}

// joules is what has been counted so far; differences mean something, 0 of them that nothing
// counts.
func (m *meter) joules() float64 {
	m.mu.Lock()
	sum := m.used
	m.mu.Unlock()
	for _, file := range m.packages {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		microjoules, _ := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		sum += microjoules / 1e6
	}
	return sum
}
