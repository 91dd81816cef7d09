package cgo

import (
	"runtime"
	"sync"
)

// handle owns one native object; P is a C pointer. The zero handle is closed.
type handle[P comparable] struct {
	mu   sync.RWMutex // held for reading during a call, for writing by Close
	p    P
	free func(P)
	net  runtime.Cleanup
}

// own takes over a native object. free may be called on any goroutine.
func (h *handle[P]) own(p P, free func(P)) {
	h.p, h.free = p, free
	h.net = runtime.AddCleanup(h, free, p)
}

// use lends the native object to body and keeps it open and reachable until body has returned.
func (h *handle[P]) use(op string, body func(P) error) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var none P
	if h.p == none {
		return closed(op)
	}
	return body(h.p)
}

// Close frees the native object once no call uses it any more. A second Close does nothing. The
// error is always nil.
func (h *handle[P]) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var none P
	if h.p != none {
		h.net.Stop()
		h.free(h.p)
		h.p = none
	}
	return nil
}
