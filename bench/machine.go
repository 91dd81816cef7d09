package bench

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// Machine says what was measured on, and what was measured.
type Machine struct {
	CPU         string   `json:"cpu"`
	Cores       int      `json:"cores"` // that the process may use
	Threads     int      `json:"threads"`
	CPUFeatures []string `json:"cpu_features"`
	Kernels     string   `json:"kernels,omitempty"` // the kernel set that the engine selected; none on GPUs, and in older results
	Backend     string   `json:"backend"`
	Device      string   `json:"device"`
	Driver      string   `json:"driver,omitempty"` // NVIDIA's
	System      string   `json:"system"`
	Compiler    string   `json:"compiler"`
	BuildFlags  string   `json:"build_flags"`
	Go          string   `json:"go"`
	Commit      string   `json:"commit"` // of RecInt; "+" behind it: with changes
	LlamaCommit string   `json:"llama_cpp_commit"`
	Date        string   `json:"date"`
}

// commit is set when the program is linked (Makefile).
var commit = "of an unknown commit"

// describe finds out about the machine and the build.
func describe(engine *cgo.Engine) (m Machine, err error) {
	text, err := cgo.SystemDescribe()
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil { // compiler, flags, features, llama.cpp's commit
		return m, err
	}
	info, err := engine.Describe()
	if err != nil {
		return m, err
	}
	m.CPU, m.Cores, m.Threads, m.Backend, m.Device = cpuName(), runtime.NumCPU(), info.Threads, info.Backend, info.Device
	m.Kernels = info.Kernels
	m.Go, m.Date, m.System, m.Driver = runtime.Version(), time.Now().Format(time.DateOnly), system(), driver()
	m.Commit = commit
	return m, nil
}

// cpuName is the processor's, with family and model, which tell apart what has the same name.
func cpuName() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer file.Close()
	fields := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan() && lines.Text() != ""; {
		key, value, _ := strings.Cut(lines.Text(), ":")
		fields[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	name := fields["model name"]
	if name == "" {
		return runtime.GOARCH
	}
	return name + ", family " + fields["cpu family"] + ", model " + fields["model"]
}

func system() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS + "/" + runtime.GOARCH
	}
	return runtime.GOOS + "/" + runtime.GOARCH + " " + strings.TrimSpace(string(release))
}

// Probes say what the machine can do, measured before and between the benches.
type Probes struct {
	BF16     float64 `json:"bf16_flop_per_s"` // our products with a matrix of an LLM's size, as training makes them
	F32      float64 `json:"f32_flop_per_s"`
	PeakBF16 float64 `json:"bf16_peak_flop_per_s,omitempty"`      // in registers, on all threads, as the kernel set multiplies bfloat16; on a GPU of large products; 0: older results of GPUs
	PeakF32  float64 `json:"f32_peak_flop_per_s,omitempty"`       // the same of float32, which on an NVIDIA GPU is TF32
	Memory   float64 `json:"memory_bytes_per_s"`                  // read and written, by a copy of all threads; of the computer's own memory
	Device   float64 `json:"device_memory_bytes_per_s,omitempty"` // the same of a GPU's memory; 0: the CPU, and older results
}

// dataSheet is what a maker states of a GPU: FLOP/s of dense products, and the bytes a second of
// its memory.
type dataSheet struct {
	name               string // how the driver's name of the device begins
	bf16, tf32, memory float64
}

var dataSheets = []dataSheet{
	{"NVIDIA H200", 989.4e12, 494.7e12, 4.8e12},
	{"NVIDIA H100 80GB HBM3", 989.4e12, 494.7e12, 3.35e12},
	{"NVIDIA H100 PCIe", 756e12, 378e12, 2e12},
	{"NVIDIA A100-SXM4-80GB", 312e12, 156e12, 2.039e12},
	{"NVIDIA L40S", 362e12, 183e12, 0.864e12},
}

// sheet is what the maker states of the device that computed; zero where that is not known.
func (m Machine) sheet() dataSheet {
	for _, s := range dataSheets {
		if m.Backend == "cuda" && strings.HasPrefix(m.Device, s.name) {
			return s
		}
	}
	return dataSheet{}
}

// measure tries some times; the best that was ever seen counts, since whatever disturbs a try makes
// it slower.
func (p *Probes) measure(engine *cgo.Engine, threads int) error {
	for range 3 {
		for _, probe := range []struct {
			measure   func(cgo.Precision) (float64, error)
			precision cgo.Precision
			best      *float64
		}{
			{engine.ProductSpeed, cgo.BF16, &p.BF16}, {engine.ProductSpeed, cgo.F32, &p.F32},
			{engine.Peak, cgo.BF16, &p.PeakBF16}, {engine.Peak, cgo.F32, &p.PeakF32},
		} {
			speed, err := probe.measure(probe.precision)
			if err != nil {
				return err
			}
			*probe.best = max(*probe.best, speed)
		}
	}
	p.Memory = max(p.Memory, copySpeed(threads))
	device, err := engine.MemorySpeed()
	p.Device = max(p.Device, device)
	return err
}

// copySpeed is the bytes a second that threads read and write when they copy memory, of blocks that
// no cache holds.
func copySpeed(threads int) float64 {
	const block = 128 << 20
	from, to := make([]byte, block), make([]byte, block)
	for i := range from { // pages that were never written are all one page
		from[i] = byte(i)
	}
	pass := func() time.Duration {
		var all sync.WaitGroup
		start := time.Now()
		for i := range threads {
			all.Go(func() { copy(to[i*block/threads:(i+1)*block/threads], from[i*block/threads:]) })
		}
		all.Wait()
		return time.Since(start)
	}
	best := pass()
	for range 5 {
		best = min(best, pass())
	}
	return 2 * block / best.Seconds()
}

// resetPeak lets ownPeak begin anew, where the system can, without what is garbage by now.
func resetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// ownPeak is the most memory that this process has had since resetPeak, in bytes.
func ownPeak() int64 { return peakOf("self") }

// peakOf is the most memory that a process has had, in bytes; 0 where the system does not say.
func peakOf(process string) int64 {
	text, err := os.ReadFile("/proc/" + process + "/status")
	if err != nil {
		if process != "self" {
			return 0
		}
		var usage syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
		return int64(usage.Maxrss)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kib int64
			for _, digit := range rest {
				if digit >= '0' && digit <= '9' {
					kib = 10*kib + int64(digit-'0')
				}
			}
			return 1024 * kib
		}
	}
	return 0
}

// driver is the version of NVIDIA's driver, or "".
func driver() string {
	out, err := exec.Command("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").Output()
	if err != nil {
		return ""
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return version
}
