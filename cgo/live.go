package cgo

// #include "recint.h"
import "C"

import (
	"runtime"
	"time"
)

// LiveCounts is the number of native objects alive, by kind.
type LiveCounts struct {
	Engines, GGUFs, Models, LLMs, Prefixes, Generators int64
}

// Live counts the native objects alive; for leak tests. Objects that were lost without Close count
// until the garbage collector has run their cleanup.
func Live() LiveCounts {
	count := func(kind C.ri_live_kind) int64 { return int64(C.ri_debug_live(kind)) }
	return LiveCounts{
		Engines:    count(C.RI_LIVE_ENGINE),
		GGUFs:      count(C.RI_LIVE_GGUF),
		Models:     count(C.RI_LIVE_MODEL),
		LLMs:       count(C.RI_LIVE_LLM),
		Prefixes:   count(C.RI_LIVE_PREFIX),
		Generators: count(C.RI_LIVE_GENERATOR),
	}
}

// Settle gives the collector up to a second to free what nobody holds any more, and tells what is
// left alive: for leak tests.
func Settle() LiveCounts {
	for range 100 {
		if runtime.GC(); Live() == (LiveCounts{}) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return Live()
}
