package dataset

import (
	"bytes"
	"cmp"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// TimeForms says in words what a TimeReader reads.
const TimeForms = "a whole number of seconds, nor a date such as 2024-05-01 or 2024-05-01T08:30:00Z"

// usualLayouts are the date formats of large files, which have a fast path. Fractions of seconds
// need no layout of their own.
var usualLayouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05 UTC", "2006-01-02 15:04:05 -0700", "2006-01-02", "20060102T150405Z0700", "20060102T150405",
	"Mon, 2 Jan 2006 15:04:05 -0700", time.RubyDate}

// dateForm is any form of a date: an optional day of the week, the day, the time of day, a zone by
// name or offset, and a comment. In some formats the year follows the time.
var dateForm = regexp.MustCompile(`(?i)^(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?` +
	`(?:(\d{4})(?:-(\d\d?)-|/(\d\d?)/|\.(\d\d?)\.)(\d\d?)|(\d\d?)[-/ ]([a-z]{3})[a-z]*[-/ ](\d{4}|\d\d)|` +
	`([a-z]{3})[a-z]*\.?\s+(\d\d?)(?:,?\s+(\d{4}))?)` +
	`(?:(?:t|:|,?\s+)(\d\d?:\d\d)(:\d\d)?(?:[.,]\d+)?\s*([ap]m)?\s*(utc|gmt|ut|z|[ecmp][sd]t)?` +
	`\s*(?:([+-]\d\d?(?::?\d\d)?)(?:\s+[a-z]{3,5})?)?(?:\s+(\d{4}))?\s*([+-]\d{4})?(?:\s*(?:\(.*\)|\[.*\]))?)?$`)

// zones are the hours of the time zones whose names e-mails use; other names are ambiguous.
var zones = map[string]string{"EST": "-05", "EDT": "-04", "CST": "-06", "CDT": "-05", "MST": "-07", "MDT": "-06",
	"PST": "-08", "PDT": "-07"}

// parseDate reads a date in any form.
func parseDate(text string) (t time.Time, ok bool) {
	m := dateForm.FindStringSubmatch(text)
	if m == nil {
		return t, false
	}
	day, month, name, year := m[5]+m[6]+m[10], m[2]+m[3]+m[4], m[7]+m[9], m[1]+m[8]+m[11]+m[17]
	layout, clock := "2006-1", cmp.Or(m[12], "00:00")+cmp.Or(m[13], ":00")
	if len(year) == 2 {
		layout = "06-1"
	}
	if name != "" {
		layout = strings.Replace(layout, "-1", "-Jan", 1)
	}
	if layout += "-2 15:04:05"; m[14] != "" {
		layout, clock = strings.Replace(layout, "15", "3", 1)+"PM", clock+strings.ToUpper(m[14])
	}
	offset := strings.ReplaceAll(cmp.Or(m[16]+m[18], zones[strings.ToUpper(m[15])], "+00"), ":", "")
	if len(offset) == len("+2") {
		offset = offset[:1] + "0" + offset[1:]
	}
	t, err := time.Parse(layout+"Z0700", year+"-"+month+name+"-"+day+" "+clock+(offset + "00")[:len("+0200")])
	return t, err == nil
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
	if v, err := time.Parse(r.layout, string(text)); err == nil && len(text) > 0 {
		return v.Unix(), true, true
	}
	for _, layout := range usualLayouts {
		if v, err := time.Parse(layout, string(text)); err == nil {
			r.layout = layout
			return v.Unix(), true, true
		}
	}
	v, ok := parseDate(string(text))
	return v.Unix(), true, ok
}

// parseInt is a faster strconv.ParseInt for decimal digits: files hold many times.
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

// TimeUnits are all units, the longest first.
var TimeUnits = []TimeUnit{{"s", "seconds", 1}, {"ms", "milliseconds", 1e3}, {"us", "microseconds", 1e6},
	{"ns", "nanoseconds", 1e9}}

// UnitOf infers the unit of a time from its size: times of interest are between 1973 and 5138, so
// that seconds have fewer than 12 digits, milliseconds fewer than 15, microseconds fewer than 18.
// clear is false for a time so small that it could have any unit.
func UnitOf(t int64) (unit TimeUnit, clear bool) {
	const smallest, most = 1e8, 1e11 // seconds
	size, at := max(t, -t), 0
	for at+1 < len(TimeUnits) && size >= most*TimeUnits[at].PerSecond {
		at++
	}
	return TimeUnits[at], size >= smallest
}
