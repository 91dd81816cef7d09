package align

import (
	"math"
	"testing"
)

func TestShared_byHand(t *testing.T) {
	// A step of 64 samples takes 2 s: 4 passes of 512 positions. The gradient is 8 MB.
	e := Estimate{Weights: 100, Positions: 32, Rate: 32, Optimiser: 32e6, Samples: 640, Warm: 1}
	c := Config{BatchSize: 64, PassPositions: 512, WarmBatch: 256}
	for _, w := range []struct {
		ranks            int
		compute, network float64
		sums             int64
		limit            string
	}{
		{1, 2, 0, 0, LimitCompute},
		{2, 1, 8 * 3 * 8e6 / 2 / 1e9, 6 * 8e6, LimitWarm},
		{3, 1, 8 * 3 * 8e6 * 2 / 3 / 1e9, 6 * 8e6, LimitWarm}, // 2 passes on one, 1 on the others
	} {
		s := e.Shared(c, w.ranks, 1e9)
		share := 2 / float64(w.ranks) / (w.compute + w.network)
		minutes := 1 + 10*(w.compute+w.network)/60
		if math.Abs(s.Compute-w.compute) > 1e-9 || math.Abs(s.Network-w.network) > 1e-9 || s.Sums != w.sums || math.Abs(s.Share-share) > 1e-9 ||
			math.Abs(s.Minutes-minutes) > 1e-9 || s.Limit != w.limit || s.Memory != e.Total() {
			t.Errorf("%d ranks: %+v, want %+v, share %v, %v minutes", w.ranks, s, w, share, minutes)
		}
	}
	e.Warm = 0
	if s := e.Shared(c, 3, 1e12); s.Limit != LimitPasses {
		t.Errorf("3 ranks for 4 passes: %s", s.Limit)
	}
	if s := e.Shared(c, 4, 1e8); s.Limit != LimitNetwork {
		t.Errorf("a slow network: %s", s.Limit)
	}
	e.Warm, c.WarmMicroBatch = 1, 64
	if divided, whole := e.Shared(c, 2, 1e12).Minutes, e.Shared(Config{BatchSize: 64, PassPositions: 512}, 2, 1e12).Minutes; math.Abs(whole-divided-0.5) > 1e-9 {
		t.Errorf("a divided warm start saves %v minutes of 1 on 2 ranks", whole-divided)
	}
	if hours := e.Answering(64*3600*5, 5); math.Abs(hours-1) > 1e-9 {
		t.Errorf("answers take %v hours, want 1", hours)
	}
}
