package cgo

// #include "recint.h"
// #cgo nocallback ri_engine_describe
// #cgo noescape ri_engine_describe
// #cgo nocallback ri_engine_peak
// #cgo noescape ri_engine_peak
// #cgo nocallback ri_engine_memory_speed
// #cgo noescape ri_engine_memory_speed
// #cgo nocallback ri_engine_pass_rows
// #cgo noescape ri_engine_pass_rows
// #cgo nocallback ri_engine_product_speed
// #cgo noescape ri_engine_product_speed
import "C"

import (
	"runtime"
	"unsafe"
)

// Engine owns a compute backend and its threads. Two engines work side by side.
type Engine struct{ handle[*C.ri_engine] }

// EngineParams says where an engine computes.
type EngineParams struct {
	Backend string // "cpu", "cuda", "metal"; "" or "auto": a GPU if one is found, else the CPU
	Threads int    // CPU threads; 0: one for each core
	Strict  bool   // "auto" without a GPU is ErrBackend, an answer that llama.cpp would not wholly compute there ErrUnsupported
}

// EngineInfo describes an engine.
type EngineInfo struct {
	Backend     string `json:"backend"` // "cpu", "cuda", "metal"
	Device      string `json:"device"`  // as the driver names it
	MemoryTotal int64  `json:"memory_total"`
	MemoryFree  int64  `json:"memory_free"` // bytes, as the total
	Threads     int    `json:"threads"`
	Kernels     string `json:"kernels"` // the kernel set that graphs run on, e.g. "avx2"; "" on a GPU and on "portable"
}

// OnGPU says whether the engine computes on a device with memory of its own.
func (i EngineInfo) OnGPU() bool { return i.Backend != "cpu" && i.Backend != "portable" }

// CoarseProducts says whether products in float32 keep only 10 bits of each factor's fraction, as
// on NVIDIA GPUs (docs/gpu.md).
func (i EngineInfo) CoarseProducts() bool { return i.Backend == "cuda" }

// GPUMemory is how much of a GPU's memory is taken at present, by whatever program, in bytes; 0 on
// the CPU.
func (i EngineInfo) GPUMemory() int64 {
	if !i.OnGPU() {
		return 0
	}
	return i.MemoryTotal - i.MemoryFree
}

// NewEngine starts an engine. ErrBackend: the backend is not there.
func NewEngine(params EngineParams) (*Engine, error) {
	const op = "start engine"
	if err := checkABI(op); err != nil {
		return nil, err
	}
	if err := checkInt32(op, params.Threads); err != nil {
		return nil, err
	}
	p := C.ri_engine_params_default()
	p.n_threads = C.int32_t(params.Threads)
	p.strict = flag(params.Strict)
	var pin runtime.Pinner
	defer pin.Unpin()
	if params.Backend != "" {
		name, err := cString(op, "Backend", params.Backend)
		if err != nil {
			return nil, err
		}
		pin.Pin(name)
		p.backend = (*C.char)(unsafe.Pointer(name))
	}
	var native *C.ri_engine
	if err := try(op, func(e *C.ri_error) C.ri_status { return C.ri_engine_create(&p, &native, e) }); err != nil {
		return nil, err
	}
	engine := &Engine{}
	engine.own(native, func(p *C.ri_engine) { C.ri_engine_free(p) })
	return engine, nil
}

// Describe tells what the engine runs on.
func (e *Engine) Describe() (EngineInfo, error) {
	const op = "describe engine"
	var info C.ri_engine_info
	err := e.use(op, func(p *C.ri_engine) error {
		return try(op, func(err *C.ri_error) C.ri_status { return C.ri_engine_describe(p, &info, err) })
	})
	if err != nil {
		return EngineInfo{}, err
	}
	return EngineInfo{
		Backend:     C.GoString(&info.backend[0]),
		Device:      C.GoString(&info.device[0]),
		MemoryTotal: int64(info.memory_total),
		MemoryFree:  int64(info.memory_free),
		Threads:     int(info.n_threads),
		Kernels:     C.GoString(&info.kernels[0]),
	}, nil
}

// ProductSpeed measures, in a fraction of a second, how fast the engine multiplies by a frozen
// matrix of an LLM's size: FLOP/s.
func (e *Engine) ProductSpeed(precision Precision) (flops float64, err error) {
	const op = "measure products"
	err = e.use(op, func(p *C.ri_engine) error {
		return try(op, func(err *C.ri_error) C.ri_status {
			return C.ri_engine_product_speed(p, C.ri_precision(precision), (*C.double)(&flops), err)
		})
	})
	return flops, err
}

// Peak measures, in a fraction of a second, the most that the engine's threads can multiply and add
// in registers, in the way in which the kernel set multiplies at this precision: FLOP/s. On a GPU
// it is the speed of large products.
func (e *Engine) Peak(precision Precision) (flops float64, err error) {
	const op = "measure the peak"
	err = e.use(op, func(p *C.ri_engine) error {
		return try(op, func(err *C.ri_error) C.ri_status {
			return C.ri_engine_peak(p, C.ri_precision(precision), (*C.double)(&flops), err)
		})
	})
	return flops, err
}

// MemorySpeed measures, in a fraction of a second, how fast a GPU copies in its own memory: bytes
// read and written in a second. 0 on the CPU.
func (e *Engine) MemorySpeed() (bytes float64, err error) {
	const op = "measure memory"
	err = e.use(op, func(p *C.ri_engine) error {
		return try(op, func(err *C.ri_error) C.ri_status {
			return C.ri_engine_memory_speed(p, (*C.double)(&bytes), err)
		})
	})
	return bytes, err
}

// PassRows is how many rows go through an LLM in one pass of so many samples of up to so many
// positions, of which they use so many in all, where their number is rounded up; 0 where it is not,
// as on the CPU.
func (e *Engine) PassRows(samples, positions, used int) (rows int, err error) {
	err = e.use("count rows", func(p *C.ri_engine) error {
		rows = int(C.ri_engine_pass_rows(p, C.size_t(samples), C.size_t(positions), C.size_t(used)))
		return nil
	})
	return rows, err
}

// SystemDescribe gives facts about the build and this machine as a JSON object: compiler, flags,
// llama.cpp commit, ggml version, CPU features, backends and devices found.
func SystemDescribe() (string, error) {
	const op = "describe system"
	if err := checkABI(op); err != nil {
		return "", err
	}
	return text(op, 4096, func(dst *C.char, capacity C.size_t, length *C.size_t, err *C.ri_error) C.ri_status {
		return C.ri_system_describe(dst, capacity, length, err)
	})
}
