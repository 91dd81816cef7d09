package cgo

// #include "recint.h"
import "C"

import (
	"runtime"
	"unsafe"
)

// LLMSizes are the architecture and the sizes of an LLM.
type LLMSizes struct {
	Architecture                                     string // a name of native/src/llm/arch
	Layers, Embd, Heads, HeadsKV, HeadDim, FF, Vocab int
	Tied                                             bool // the output matrix is the embedding table
}

// LLMLayout gives the tensors of an LLM, in their order, and how they are drawn before training.
// ErrUnsupported: there is no description of the architecture.
func LLMLayout(sizes LLMSizes) ([]TensorInfo, error) {
	const op = "lay out LLM"
	name, err := cString(op, "Architecture", sizes.Architecture)
	if err != nil {
		return nil, err
	}
	if err := checkInt32(op, sizes.Layers, sizes.Embd, sizes.Heads, sizes.HeadsKV, sizes.HeadDim, sizes.FF,
		sizes.Vocab); err != nil {
		return nil, err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(name)
	s := C.ri_llm_sizes{
		architecture: (*C.char)(unsafe.Pointer(name)), n_layer: C.int32_t(sizes.Layers), n_embd: C.int32_t(sizes.Embd),
		n_head: C.int32_t(sizes.Heads), n_head_kv: C.int32_t(sizes.HeadsKV), head_dim: C.int32_t(sizes.HeadDim),
		n_ff: C.int32_t(sizes.FF), n_vocab: C.int32_t(sizes.Vocab), tied_head: flag(sizes.Tied),
	}
	var infos []C.ri_tensor_info
	for n := C.size_t(0); ; infos = make([]C.ri_tensor_info, n) {
		err := try(op, func(err *C.ri_error) C.ri_status {
			return C.ri_llm_layout(&s, unsafe.SliceData(infos), C.size_t(len(infos)), &n, err)
		})
		if err != nil {
			return nil, err
		}
		if int(n) <= len(infos) {
			break
		}
	}
	layout := make([]TensorInfo, len(infos))
	for i := range infos {
		layout[i] = tensorInfo(&infos[i])
	}
	return layout, nil
}
