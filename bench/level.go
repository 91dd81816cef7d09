package bench

import (
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/cpu"

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

// kernelSet is the engine's, and "" if it has none: on GPUs and with the portable backend.
func kernelSet(info cgo.EngineInfo) string {
	switch {
	case info.Backend != "cpu":
		return ""
	case info.PackedKernel:
		return avx512bf16
	default:
		return bestSet()
	}
}

// bestSet is the best kernel set that the CPU supports.
func bestSet() string {
	switch x := cpu.X86; {
	case runtime.GOARCH == "arm64":
		return neon
	case x.HasAVX512F && x.HasAVX512BF16:
		return avx512bf16
	case x.HasAVX512F:
		return avx512
	case x.HasAVX2 && x.HasFMA:
		return avx2
	}
	return generic
}

// lowered has peers use no better instructions than each kernel set does. PyTorch computes with its own loops, with oneDNN, with MKL and
// with what it compiles.
var lowered = map[string][]string{
	avx512: {"ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI"},
	avx2: {"ATEN_CPU_CAPABILITY=avx2", "ONEDNN_MAX_CPU_ISA=AVX2", "MKL_ENABLE_INSTRUCTIONS=AVX2",
		"TORCHINDUCTOR_CPP_MARCH=x86-64-v3"},
	generic: {"ATEN_CPU_CAPABILITY=default", "ONEDNN_MAX_CPU_ISA=SSE41", "MKL_ENABLE_INSTRUCTIONS=SSE4_2", "MKL_CBWR=COMPATIBLE",
		"TORCHINDUCTOR_CPP_MARCH=x86-64"},
}

// level is the environment that gives peers no better instructions than a kernel set has, on a CPU whose best one is known, and what a
// result says about it.
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
