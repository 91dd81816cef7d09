package bench

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// Kernel sets, as the engine calls them.
const (
	generic    = "generic"
	avx2       = "avx2"
	avx512     = "avx512"
	avx512bf16 = "avx512bf16"
	neon       = "neon"
)

// bestSet is the fastest kernel set that this CPU supports.
func bestSet() (string, error) {
	text, err := cgo.SystemDescribe()
	if err != nil {
		return "", err
	}
	var system struct {
		Sets []struct{ Name, Missing string } `json:"kernel_sets"`
	}
	if err := json.Unmarshal([]byte(text), &system); err != nil {
		return "", err
	}
	for _, s := range system.Sets {
		if s.Missing == "" {
			return s.Name, nil
		}
	}
	return generic, nil
}

// lowered has peers use no better instructions than each kernel set does. PyTorch computes with its
// own loops, with oneDNN, with MKL and with what it compiles.
var lowered = map[string][]string{
	avx512: {"ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI"},
	avx2: {"ATEN_CPU_CAPABILITY=avx2", "ONEDNN_MAX_CPU_ISA=AVX2", "MKL_ENABLE_INSTRUCTIONS=AVX2",
		"TORCHINDUCTOR_CPP_MARCH=x86-64-v3"},
	generic: {"ATEN_CPU_CAPABILITY=default", "ONEDNN_MAX_CPU_ISA=SSE41", "MKL_ENABLE_INSTRUCTIONS=SSE4_2", "MKL_CBWR=COMPATIBLE",
		"TORCHINDUCTOR_CPP_MARCH=x86-64"},
}

// level is the environment that gives peers no better instructions than a kernel set has, on a CPU
// whose best one is known, and what a result says about it.
func level(set, best string, peers []string) (environment, notes []string) {
	environment = lowered[set]
	if set == best || len(environment) == 0 {
		return nil, nil
	}
	for _, name := range peers {
		switch name {
		case PyTorch:
			notes = append(notes, fmt.Sprintf("PyTorch was kept to the instructions of %s, with %s", set, strings.Join(environment, ", ")))
		case ONNXRuntime:
			notes = append(notes, "ONNX Runtime used all of the CPU's instructions: it has no setting against it")
		case LlamaCpp:
			notes = append(notes, "llama.cpp used the instructions that it was built for")
		}
	}
	return environment, notes
}
