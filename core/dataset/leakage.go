package dataset

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math"
	"math/bits"
	"slices"
)

// Leakage counts how much training sees of the future and of the sequences that it is measured on.
// For the chronological split, all counts but the repeats are 0 by construction. For data that were
// already split, the times are unknown and only the repeats are counted. The JSON names are stable.
type Leakage struct {
	ValidationUsers      int     `json:"validation_users"`       // with a validation target
	ValidationUsersAhead int     `json:"validation_users_ahead"` // of these: with one that is earlier than the last training target
	TestUsers            int     `json:"test_users"`             // with a test target
	TestUsersAhead       int     `json:"test_users_ahead"`       // of these: with one that is earlier than the last training target
	TrainAfterTest       float64 `json:"train_after_test"`       // share of training targets later than the first test target
	ValidationRepeats    int     `json:"validation_repeats"`     // validation sequences whose history and target are in training, too
	TestRepeats          int     `json:"test_repeats"`           // test sequences that are in training or validation, too
}

// leakage measures a split whose sequences are given user by user. Memory: about 22 bytes for each
// sequence outside training.
func leakage(targets iter.Seq2[part, Sequence], users int) (l Leakage) {
	content := fingerprints()
	var outside [parts][]uint64 // contents of validation and test sequences
	lastTrain, firstTest := int64(math.MinInt64), int64(math.MaxInt64)
	for in, s := range targets {
		switch in {
		case train:
			lastTrain = max(lastTrain, s.Time)
			continue
		case test:
			firstTest = min(firstTest, s.Time)
		}
		outside[in] = append(outside[in], content(s))
	}
	contents := indexOf(slices.Concat(outside[validation], outside[test]))
	earlier := make([]bool, len(contents.sorted)) // whether an earlier part has this one, too

	trained, later := 0, 0
	var met, ahead [parts]int // users; each part's sequences of a user come one after the other
	lastMet, lastAhead := [parts]int32{-1, -1, -1}, [parts]int32{-1, -1, -1}
	count := func(n *int, last *int32, user int32) {
		if *last != user {
			*last = user
			*n++
		}
	}
	for in, s := range targets {
		count(&met[in], &lastMet[in], s.User)
		if s.Time < lastTrain {
			count(&ahead[in], &lastAhead[in], s.User)
		}
		if in != train {
			continue
		}
		trained++
		if s.Time > firstTest {
			later++
		}
		if i, ok := contents.find(content(s)); ok {
			earlier[i] = true
		}
	}
	if trained > 0 {
		l.TrainAfterTest = float64(later) / float64(trained)
	}
	if users > 0 {
		l.ValidationUsers, l.ValidationUsersAhead = met[validation], ahead[validation]
		l.TestUsers, l.TestUsersAhead = met[test], ahead[test]
	}
	repeats := func(in part) (n int) {
		for _, c := range outside[in] {
			if i, _ := contents.find(c); earlier[i] {
				n++
			}
		}
		return n
	}
	l.ValidationRepeats = repeats(validation)
	for _, c := range outside[validation] {
		i, _ := contents.find(c)
		earlier[i] = true
	}
	l.TestRepeats = repeats(test)
	return l
}

// index finds the places of fingerprints among sorted ones. Most queries are absent; a bit for
// their leading bits shows that at once.
type index struct {
	sorted []uint64
	known  []uint64 // a bit for the leading bits of each fingerprint
	shift  int      // right shift of a fingerprint to its leading bits
}

// indexOf sorts fingerprints and removes those that repeat.
func indexOf(all []uint64) index {
	const sparse = 3 // one bit in eight is set, at most
	slices.Sort(all)
	x := index{sorted: slices.Compact(all), shift: 64 - bits.Len(uint(len(all))) - sparse}
	x.known = make([]uint64, 1<<(64-x.shift)/64+1)
	for _, c := range x.sorted {
		at := c >> x.shift
		x.known[at/64] |= 1 << (at % 64)
	}
	return x
}

func (x index) find(c uint64) (at int, ok bool) {
	if lead := c >> x.shift; x.known[lead/64]>>(lead%64)&1 == 0 {
		return 0, false
	}
	return slices.BinarySearch(x.sorted, c)
}

// fingerprints returns a function that hashes a sequence's history and target.
func fingerprints() func(Sequence) uint64 {
	seed := maphash.MakeSeed()
	var buffer []byte
	return func(s Sequence) uint64 {
		buffer = binary.LittleEndian.AppendUint32(buffer[:0], uint32(s.Next))
		for _, item := range s.History {
			buffer = binary.LittleEndian.AppendUint32(buffer, uint32(item))
		}
		return maphash.Bytes(seed, buffer)
	}
}
