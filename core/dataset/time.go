package dataset

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

// TimeForms says in words what a TimeReader reads.
const TimeForms = "a whole number of seconds, nor a date such as 2024-05-01 or 2024-05-01T08:30:00Z"

// dateLayouts are the forms of a date, the usual ones first. Fractions of seconds need no layout of
// their own.
var dateLayouts = layouts()

func layouts() []string {
	var all []string
	for _, day := range []string{"2006-01-02", "2006/01/02"} {
		for _, between := range []string{"T", " ", "t"} {
			for _, clock := range []string{"15:04:05", "15:04"} {
				for _, zone := range []string{"Z07:00", "", "Z0700", "Z07", " Z07:00", " Z0700"} {
					all = append(all, day+between+clock+zone)
				}
			}
		}
		all = append(all, day)
	}
	for _, weekday := range []string{"Mon, ", ""} { // as in e-mail
		for _, clock := range []string{"15:04:05", "15:04"} {
			for _, zone := range []string{" Z0700", " Z07:00", ""} {
				all = append(all, weekday+"2 Jan 2006 "+clock+zone)
			}
		}
	}
	return append(all, time.RubyDate, time.ANSIC)
}

// TimeReader reads the times of a column, most of which have one form.
type TimeReader struct {
	layout string // of the last date
}

// Read reads a time: a number, of which the fraction is dropped, or a date as seconds since 1970,
// UTC where it has no zone.
func (r *TimeReader) Read(text []byte) (t int64, date, ok bool) {
	if v, ok := parseInt(text); ok {
		return v, false, true
	}
	const limit = 1 << 62
	if v, err := strconv.ParseFloat(string(text), 64); err == nil && v > -limit && v < limit {
		return int64(math.Floor(v)), false, true
	}
	for _, zone := range []string{" UTC", " GMT", "UTC"} {
		if at, found := bytes.CutSuffix(text, []byte(zone)); found {
			text = at
			break
		}
	}
	if v, err := time.Parse(r.layout, string(text)); err == nil && len(text) > 0 {
		return v.Unix(), true, true
	}
	for _, layout := range dateLayouts {
		if v, err := time.Parse(layout, string(text)); err == nil {
			r.layout = layout
			return v.Unix(), true, true
		}
	}
	return 0, false, false
}

// parseInt is strconv.ParseInt for decimal digits, for times, of which there are many.
func parseInt(text []byte) (int64, bool) {
	digits := bytes.TrimPrefix(text, []byte{'-'})
	if len(digits) == 0 || len(digits) > 18 {
		v, err := strconv.ParseInt(string(text), 10, 64)
		return v, err == nil
	}
	v := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = 10*v + int64(c-'0')
	}
	if len(digits) < len(text) {
		v = -v
	}
	return v, true
}

// TimeUnit is what the numbers of a column of times count since 1970.
type TimeUnit struct {
	Name      string // "s", "ms", "us", "ns"
	Words     string
	PerSecond int64
}

// TimeUnits are those that there are, the longest first.
var TimeUnits = []TimeUnit{{"s", "seconds", 1}, {"ms", "milliseconds", 1e3}, {"us", "microseconds", 1e6},
	{"ns", "nanoseconds", 1e9}}

// UnitOf tells the unit of a time by its size: times of interest lie between 1973 and 5138, so that
// seconds have fewer than 12 digits, milliseconds fewer than 15, microseconds fewer than 18. clear
// is false where a time is so small that it may be in any unit.
func UnitOf(t int64) (unit TimeUnit, clear bool) {
	const smallest, most = 1e8, 1e11 // seconds
	size, at := max(t, -t), 0
	for at+1 < len(TimeUnits) && size >= most*TimeUnits[at].PerSecond {
		at++
	}
	return TimeUnits[at], size >= smallest
}
