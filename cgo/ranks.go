package cgo

// #include "recint.h"
// #cgo nocallback ri_ranks_send
// #cgo noescape ri_ranks_send
// #cgo nocallback ri_ranks_poll
// #cgo noescape ri_ranks_poll
// #cgo nocallback ri_ranks_receive
// #cgo noescape ri_ranks_receive
import "C"

import "unsafe"

// Ranks carries messages between the processes that an MPI launcher has started. It serves one
// goroutine at a time.
type Ranks struct {
	handle[*C.ri_ranks]
	rank, size int
}

// JoinRanks waits until all processes have joined. A process joins once. ErrUnsupported: there is
// no MPI.
func JoinRanks() (*Ranks, error) {
	const op = "join ranks"
	if err := checkABI(op); err != nil {
		return nil, err
	}
	var native *C.ri_ranks
	var rank, size C.int32_t
	if err := try(op, func(e *C.ri_error) C.ri_status { return C.ri_ranks_join(&native, &rank, &size, e) }); err != nil {
		return nil, err
	}
	r := &Ranks{rank: int(rank), size: int(size)}
	r.own(native, func(p *C.ri_ranks) { C.ri_ranks_free(p) })
	return r, nil
}

// Rank is the number of this process, from 0 on.
func (r *Ranks) Rank() int { return r.rank }

// Size is the number of processes.
func (r *Ranks) Size() int { return r.size }

// Send sends a copy of a message without waiting for the receiver.
func (r *Ranks) Send(to, tag int, message []byte) error {
	const op = "send to rank"
	return r.use(op, func(p *C.ri_ranks) error {
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_ranks_send(p, C.int32_t(to), C.int32_t(tag), unsafe.Pointer(unsafe.SliceData(message)), C.size_t(len(message)), e)
		})
	})
}

// Receive gives the next message that has arrived; from is -1 where there is none. Those of one
// sender and tag come in order.
func (r *Ranks) Receive() (from, tag int, message []byte, err error) {
	const op = "receive from rank"
	err = r.use(op, func(p *C.ri_ranks) error {
		var sender, number C.int32_t
		var n C.size_t
		err := try(op, func(e *C.ri_error) C.ri_status { return C.ri_ranks_poll(p, &sender, &number, &n, e) })
		if from, tag = int(sender), int(number); err != nil || from < 0 {
			return err
		}
		message = make([]byte, n)
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_ranks_receive(p, unsafe.Pointer(unsafe.SliceData(message)), n, e)
		})
	})
	return from, tag, message, err
}

// Leave waits until all processes leave. No message is sent afterwards.
func (r *Ranks) Leave() error {
	const op = "leave ranks"
	return r.use(op, func(p *C.ri_ranks) error {
		return try(op, func(e *C.ri_error) C.ri_status { return C.ri_ranks_leave(p, e) })
	})
}
