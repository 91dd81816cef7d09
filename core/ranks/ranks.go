package ranks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// Transport carries messages between ranks. A Group calls it from one goroutine at a time. It is
// *cgo.Ranks, and in tests a few channels.
type Transport interface {
	Rank() int
	Size() int
	Send(to, tag int, message []byte) error              // does not wait, and copies
	Receive() (from, tag int, message []byte, err error) // does not wait; from is -1 where nothing has arrived
	Leave() error                                        // waits until all leave
}

// Tags of messages.
const (
	tagData   = iota // what ranks compute
	tagAlive         // sent every Beat
	tagLeaves        // the sender has stopped, for the reason that the message gives
)

// A rank that was not heard of for Silence is taken for dead. Tests change both.
var (
	Beat    = 500 * time.Millisecond
	Silence = 5 * time.Second
)

// Group is the ranks as one of them sees them. The nil Group is a process alone.
type Group struct {
	transport Transport
	members   []member

	mu     sync.Mutex // guards the transport and what follows
	inbox  [][][]byte // from each rank, in order, what it has sent and nobody has taken
	heard  []time.Time
	left   []*string // the reason of each rank that has left, "" of one that has died; nil: it is there
	failed error     // of the transport
	stop   chan struct{}
	pumped sync.WaitGroup
}

// member describes a rank.
type member struct {
	Host string `json:"host"`
	PID  int    `json:"pid"`
	CPUs []int  `json:"cpus"` // that it may use; nil where the system does not say
}

// Left is the error of a rank that is no longer there.
type Left struct {
	Rank     string // number, host and process
	Reason   string // in its own words; "": it has died
	Canceled bool   // it was told to stop
}

// ErrLeft is found in the errors of the other ranks when one has died or stopped.
var ErrLeft = errors.New("a rank has left")

func (l *Left) Error() string {
	if l.Reason == "" {
		return fmt.Sprintf("%s has died: nothing was heard of it for %v", l.Rank, Silence)
	}
	return fmt.Sprintf("%s has stopped: %s", l.Rank, l.Reason)
}

// Is makes errors.Is find ErrLeft, and context.Canceled where the rank was told to stop.
func (l *Left) Is(target error) bool {
	return target == ErrLeft || l.Canceled && target == context.Canceled
}

// key is that of a Group in a context.
type key struct{}

// With gives a context in which training is shared with a group.
func With(ctx context.Context, g *Group) context.Context { return context.WithValue(ctx, key{}, g) }

// Of is the group of a context, nil where there is none.
func Of(ctx context.Context) *Group {
	g, _ := ctx.Value(key{}).(*Group)
	return g
}

// New makes a group of the ranks that a transport connects.
func New(ctx context.Context, transport Transport) (*Group, error) {
	n := transport.Size()
	g := &Group{transport: transport, members: make([]member, n), inbox: make([][][]byte, n), heard: make([]time.Time, n),
		left: make([]*string, n), stop: make(chan struct{})}
	for i := range g.heard {
		g.heard[i] = time.Now()
	}
	g.pumped.Go(g.pump)
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	hello, err := json.Marshal(member{host, os.Getpid(), allowedCPUs()})
	if err != nil {
		return nil, err
	}
	all, err := g.exchange(ctx, hello)
	if err != nil {
		return nil, errors.Join(err, g.Leave(err))
	}
	for i, text := range all {
		if err := json.Unmarshal(text, &g.members[i]); err != nil {
			return nil, fmt.Errorf("ranks: rank %d introduces itself as %q; is it another version?", i, text)
		}
	}
	return g, nil
}

// Rank is the number of this process; alone it is 0.
func (g *Group) Rank() int {
	if g == nil {
		return 0
	}
	return g.transport.Rank()
}

// Size is the number of ranks; alone it is 1.
func (g *Group) Size() int {
	if g == nil {
		return 1
	}
	return g.transport.Size()
}

// Writes says whether this rank writes files: rank 0 does.
func (g *Group) Writes() bool { return g.Rank() == 0 }

// Name is this rank's number, host and process.
func (g *Group) Name() string { return g.name(g.Rank()) }

// name is a rank's number, host and process.
func (g *Group) name(rank int) string {
	if m := g.members[rank]; m.PID != 0 {
		return fmt.Sprintf("rank %d (process %d on %s)", rank, m.PID, m.Host)
	}
	return fmt.Sprintf("rank %d", rank)
}

// Threads is this rank's share of the CPUs that it may use, at least 1: ranks of one host that may
// use the same CPU share it.
func (g *Group) Threads() int {
	own := g.members[g.Rank()]
	share := 0.0
	for _, cpu := range own.CPUs {
		users := 0
		for _, m := range g.members {
			if m.Host == own.Host && slices.Contains(m.CPUs, cpu) {
				users++
			}
		}
		share += 1 / float64(users)
	}
	return max(1, int(share+1e-9))
}

// First gives rank 0's value to all.
func (g *Group) First(ctx context.Context, value float64) (float64, error) {
	if g.Size() == 1 {
		return value, nil
	}
	if g.Rank() > 0 {
		message, err := g.next(ctx, 0)
		if err != nil {
			return 0, err
		}
		values, err := decode[float64](message, 1)
		if err != nil {
			return 0, err
		}
		return values[0], nil
	}
	for to := 1; to < g.Size(); to++ {
		if err := g.send(to, encode([]float64{value})); err != nil {
			return 0, err
		}
	}
	return value, nil
}

// Agree waits for all ranks, and reports those whose value of something is not that of rank 0.
func (g *Group) Agree(ctx context.Context, what, value string) error {
	if g.Size() == 1 {
		return nil
	}
	all, err := g.exchange(ctx, []byte(value))
	if err != nil {
		return err
	}
	for rank, other := range all {
		if string(other) != string(all[0]) {
			return fmt.Errorf("ranks: %s of %s is %s, that of %s is %s; give all ranks the same command, program and files",
				what, g.name(0), all[0], g.name(rank), other)
		}
	}
	return nil
}

// exchange gives every rank's message to all, in their order.
func (g *Group) exchange(ctx context.Context, own []byte) ([][]byte, error) {
	all := make([][]byte, g.Size())
	for to := range all {
		if to != g.Rank() {
			if err := g.send(to, own); err != nil {
				return nil, err
			}
		}
	}
	for from := range all {
		if all[from] = own; from != g.Rank() {
			var err error
			if all[from], err = g.next(ctx, from); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// send sends what a rank waits for by next.
func (g *Group) send(to int, message []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.transport.Send(to, tagData, message)
}

// next waits for a rank's next message.
func (g *Group) next(ctx context.Context, from int) ([]byte, error) {
	for {
		message, there, err := g.take(from)
		if there || err != nil {
			return message, err
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("while waiting for %s: %w", g.name(from), err)
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// take gives the next message of a rank, if one is there.
func (g *Group) take(from int) (message []byte, there bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drain()
	if all := g.inbox[from]; len(all) > 0 {
		g.inbox[from] = all[1:]
		return all[0], true, nil
	}
	if g.failed != nil {
		return nil, false, g.failed
	}
	for rank, reason := range g.left {
		if reason != nil && (rank == from || *reason != done) {
			text, canceled := strings.CutPrefix(*reason, canceledMark)
			return nil, false, &Left{g.name(rank), text, canceled}
		}
	}
	return nil, false, nil
}

// done is the reason of a rank that has come to its end.
const done = "its work is done"

// drain takes in what has arrived, and notes which ranks are dead. The caller holds the lock.
func (g *Group) drain() {
	for g.failed == nil {
		from, tag, message, err := g.transport.Receive()
		if err != nil {
			g.failed = fmt.Errorf("ranks: %w", err)
		}
		if from < 0 || err != nil {
			break
		}
		g.heard[from] = time.Now()
		switch tag {
		case tagData:
			g.inbox[from] = append(g.inbox[from], message)
		case tagLeaves:
			reason := string(message)
			g.left[from] = &reason
		}
	}
	for rank, heard := range g.heard {
		if rank != g.Rank() && g.left[rank] == nil && time.Since(heard) > Silence {
			g.left[rank] = new(string)
		}
	}
}

// canceledMark stands before the reason of a rank that was told to stop.
const canceledMark = "canceled: "

// pump tells the others that this rank lives, and takes in what they send while it computes.
func (g *Group) pump() {
	for last := (time.Time{}); ; {
		g.mu.Lock()
		if time.Since(last) >= Beat {
			last = time.Now()
			for to := range g.Size() {
				if g.reaches(to) {
					_ = g.transport.Send(to, tagAlive, nil) // to one that has died it may fail; drain notes that
				}
			}
		}
		g.drain()
		g.mu.Unlock()
		select {
		case <-g.stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// reaches says whether to send a rank anything: not where it is dead. The caller holds the lock.
func (g *Group) reaches(rank int) bool {
	return rank != g.Rank() && g.failed == nil && (g.left[rank] == nil || *g.left[rank] != "")
}

// Leave ends this rank's part: err is why, nil at the end of its work. It waits until the others
// leave, too, unless one has died. A nil Group has nobody to wait for.
func (g *Group) Leave(err error) error {
	if g == nil {
		return nil
	}
	reason := done
	if err != nil {
		reason = err.Error()
	}
	if errors.Is(err, context.Canceled) {
		reason = canceledMark + reason
	}
	g.mu.Lock()
	for to := range g.Size() {
		if g.reaches(to) {
			_ = g.transport.Send(to, tagLeaves, []byte(reason))
		}
	}
	g.mu.Unlock()
	alive := true
	for waiting := true; waiting; time.Sleep(time.Millisecond) {
		g.mu.Lock()
		waiting, alive = false, g.failed == nil
		for rank, left := range g.left {
			waiting = waiting || rank != g.Rank() && left == nil
			alive = alive && (left == nil || *left != "")
		}
		waiting = waiting && alive
		g.mu.Unlock()
	}
	close(g.stop)
	g.pumped.Wait()
	if !alive { // MPI would wait for the dead
		return nil
	}
	return g.transport.Leave()
}

// encode gives the bytes of numbers, which are those that they have in memory.
func encode[T float32 | float64](values []T) []byte {
	var one T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*int(unsafe.Sizeof(one)))
}

// decode gives the n numbers of a message, whose memory they share.
func decode[T float32 | float64](message []byte, n int) ([]T, error) {
	var one T
	if len(message) != n*int(unsafe.Sizeof(one)) {
		return nil, fmt.Errorf("ranks: a message of %d bytes where %d numbers were expected; do all ranks run the same command?",
			len(message), n)
	}
	if n == 0 {
		return nil, nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(message))), n), nil
}

// share divides leaves among ranks so that the one with most to do has little more than the others:
// the largest first, each to whoever has least so far.
func share(leaves []Leaf, ranks int) (owner []int) {
	order, loads := make([]int, len(leaves)), make([]float64, ranks)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(leaves[b].Cost, leaves[a].Cost) })
	owner = make([]int, len(leaves))
	for _, leaf := range order {
		least := slices.Index(loads, slices.Min(loads))
		owner[leaf] = least
		loads[least] += cmp.Or(leaves[leaf].Cost, 1)
	}
	return owner
}
