package cgo

// #include "recint.h"
import "C"

import "runtime"

// TrainingSizes are what the memory of training through an LLM depends on.
type TrainingSizes struct {
	Precision       Precision
	Adapter         AdapterParams // the zero value: none; only the LLM is looked at then
	Prefix          int           // tokens that every sample starts with
	Samples         int           // of the largest batch
	Positions       int           // of each sample after the prefix
	States, Targets int           // of each sample
}

// TrainingNeeds is what training through an LLM takes, in bytes of the engine's device.
type TrainingNeeds struct {
	// Numbers in the LLM's matrices: those that every position is multiplied by, and those for
	// positions with a target alone.
	Everywhere, AtTargets          int64
	Weights, Prefix, Adapter, Pass int64
}

// ForwardFLOP is what the products with the LLM's matrices take for so many positions, of which
// some have a target.
func (n TrainingNeeds) ForwardFLOP(positions, targets float64) float64 {
	return 2 * (float64(n.Everywhere)*positions + float64(n.AtTargets)*targets)
}

// EstimateTraining tells what training takes, without reading the LLM's weights. ErrUnsupported or
// ErrFile: the LLM cannot be trained through.
func EstimateTraining(engine *Engine, gguf *GGUF, sizes TrainingSizes) (TrainingNeeds, error) {
	const op = "estimate training"
	if engine == nil || gguf == nil {
		return TrainingNeeds{}, closed(op)
	}
	if err := checkInt32(op, sizes.Prefix, sizes.Samples, sizes.Positions, sizes.States, sizes.Targets); err != nil {
		return TrainingNeeds{}, err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	params := C.ri_llm_estimate_params_default()
	params.precision = C.ri_precision(sizes.Precision)
	if sizes.Adapter != (AdapterParams{}) {
		adapter, err := sizes.Adapter.native(op, &pin)
		if err != nil {
			return TrainingNeeds{}, err
		}
		pin.Pin(&adapter)
		params.adapter = &adapter
		params.n_prefix, params.n_samples = C.int32_t(sizes.Prefix), C.int32_t(sizes.Samples)
		params.n_positions, params.n_states = C.int32_t(sizes.Positions), C.int32_t(sizes.States)
		params.n_targets = C.int32_t(sizes.Targets)
	}
	var n C.ri_llm_needs
	err := engine.use(op, func(e *C.ri_engine) error {
		return gguf.use(op, func(g *C.ri_gguf) error {
			return try(op, func(err *C.ri_error) C.ri_status { return C.ri_llm_estimate(e, g, &params, &n, err) })
		})
	})
	if err != nil {
		return TrainingNeeds{}, err
	}
	return TrainingNeeds{Everywhere: int64(n.n_everywhere), AtTargets: int64(n.n_at_targets), Weights: int64(n.weights_bytes),
		Prefix: int64(n.prefix_bytes), Adapter: int64(n.adapter_bytes), Pass: int64(n.pass_bytes)}, nil
}
