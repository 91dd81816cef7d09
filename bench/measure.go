package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// work is something of ours that can be done again and again, with the peers that can do the same.
type work struct {
	Figure
	// open makes everything ready; nothing of it is timed.
	open  func(context.Context) (*ready, error)
	peers []peer
	// latency: a peer is faster when its median call is, not when it does more in a second.
	latency bool
}

// ready is a work that can be measured.
type ready struct {
	// once is one repetition.
	once  func(context.Context) (measured, error)
	check check // what was computed, for peers to agree with
	close func() error
	// beside is another way of ours to do the same, which is measured as peers are; may be nil.
	beside *side
}

// measured is one repetition of one side, as peers print it too.
type measured struct {
	Rate    float64 `json:"samples_per_s"`
	Seconds float64 `json:"seconds"`
	Tokens  float64 `json:"tokens_per_s"`
	P50     float64 `json:"p50_us"`
	P95     float64 `json:"p95_us"`
	P99     float64 `json:"p99_us"`
	Joules  float64 `json:"-"` // of the whole repetition; 0 where nothing counts them
}

// side is ours, or a running peer.
type side struct {
	program string
	trial   []Trial // of its variants
	once    func(context.Context) (measured, error)
	memory  func() int64 // bytes at most, so far
	close   func() error
	all     []measured
}

// measure does a work and its peers in turn, in every round the other way around, once all are
// warm. A peer that does not compute the same is an error, and nothing is timed.
func (b *bed) measure(ctx context.Context, w work) (figure *Figure, err error) {
	b.Progress(w.Bench+": "+w.Name, 0, b.Rounds)
	energy := openMeter()
	defer energy.close()
	resetPeak()
	ours, err := w.open(ctx)
	if err != nil {
		return nil, err
	}
	sides := []*side{{program: Program, once: ours.once, memory: b.peak, close: ours.close}}
	defer func() {
		for _, s := range sides {
			err = errors.Join(err, s.close())
		}
	}()
	if ours.beside != nil {
		sides = append(sides, ours.beside)
	}
	for _, p := range w.peers {
		if !b.beside(p.kind) {
			continue
		}
		b.Progress(w.Bench+": "+w.Name+", starting "+p.kind, 0, b.Rounds)
		other, trials, err := b.start(ctx, p, ours.check, w.latency)
		if err != nil {
			return nil, err
		}
		if other == nil {
			w.Failed = append(w.Failed, trials...)
			continue
		}
		other.trial = trials
		sides = append(sides, other)
	}
	if _, err := ours.once(ctx); err != nil { // the warm-up; peers had theirs
		return nil, err
	}
	order := slices.Clone(sides)
	for round := range b.Rounds {
		for _, s := range order {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			before, start := energy.joules(), time.Now()
			m, err := s.once(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.program, err)
			}
			if m.Seconds > 0.95*time.Since(start).Seconds() { // else more was done than what is timed
				m.Joules = max(0, energy.joules()-before) // counters begin anew at times
			}
			s.all = append(s.all, m)
		}
		slices.Reverse(order)
		b.Progress(w.Bench+": "+w.Name, round+1, b.Rounds)
	}
	for _, s := range sides {
		if b.onGPU() && len(sides) > 1 { // the driver counts all programs together
			s.memory = func() int64 { return 0 }
		}
		w.Sides = append(w.Sides, w.summarise(s, sides[0]))
	}
	return &w.Figure, nil
}

// peak is the most memory that our side has taken, in bytes: of the computer, or of the GPU at
// present.
func (b *bed) peak() int64 {
	if info, err := b.engine.Describe(); err == nil && info.OnGPU() {
		return info.GPUMemory()
	}
	return ownPeak()
}

func (b *bed) onGPU() bool {
	info, err := b.engine.Describe()
	return err == nil && info.OnGPU()
}

// summarise puts a side's rounds beside ours.
func (w *work) summarise(s, ours *side) Side {
	spread := func(value func(measured) float64) Spread {
		values := make([]float64, len(s.all))
		for i, m := range s.all {
			values[i] = value(m)
		}
		return spreadOf(values)
	}
	of := func(value func(measured) float64) *Spread {
		all := spread(value)
		if all.Min == 0 { // not measured, or not always
			return nil
		}
		return &all
	}
	out := Side{
		Program: s.program,
		Rate:    spread(func(m measured) float64 { return m.Rate }),
		Tokens:  of(func(m measured) float64 { return m.Tokens }),
		P50:     of(func(m measured) float64 { return m.P50 }),
		P95:     of(func(m measured) float64 { return m.P95 }),
		P99:     of(func(m measured) float64 { return m.P99 }),
		Energy:  of(func(m measured) float64 { return m.Joules / (m.Rate * m.Seconds) }),
		Memory:  s.memory(),
		Trial:   s.trial,
	}
	out.FLOPS = w.FLOP * out.Rate.Median
	if s != ours {
		ratios := make([]float64, len(s.all))
		for i := range s.all {
			if w.latency {
				ratios[i] = s.all[i].P50 / ours.all[i].P50
			} else {
				ratios[i] = ours.all[i].Rate / s.all[i].Rate
			}
		}
		ratio := spreadOf(ratios)
		out.Ratio = &ratio
	}
	return out
}

// timed measures a call that works on so many samples.
func timed(samples int, body func() error) (measured, error) {
	start := time.Now()
	if err := body(); err != nil {
		return measured{}, err
	}
	seconds := time.Since(start).Seconds()
	return measured{Rate: float64(samples) / seconds, Seconds: seconds}, nil
}

// calls measures each of the calls, of so many samples, that are made until so much time has
// passed.
func calls(length time.Duration, samples int, body func() error) (measured, error) {
	var all []time.Duration
	start := time.Now()
	for last := start; len(all) == 0 || last.Sub(start) < length; {
		if err := body(); err != nil {
			return measured{}, err
		}
		now := time.Now()
		all = append(all, now.Sub(last))
		last = now
	}
	return latencies(all, samples, time.Since(start)), nil
}

// latencies sums up the times of calls, of so many samples each, that were made in so much time.
func latencies(all []time.Duration, samples int, length time.Duration) measured {
	slices.Sort(all)
	at := func(share float64) float64 { return float64(all[int(share*float64(len(all)-1))].Nanoseconds()) / 1000 }
	return measured{Rate: float64(samples*len(all)) / length.Seconds(), Seconds: length.Seconds(), P50: at(0.5), P95: at(0.95), P99: at(0.99)}
}

// spreadOf sums values up.
func spreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1], Values: values}
}
