package api

import (
	"strconv"
	"strings"
	"time"
)

// parseTime reads a moment as the API's parameters have it: seconds since 1970 with a fraction ("1700000000.5"), a date
// (RFC 3339, the time or its zone may be missing), or how long before now ("10m"). Empty, and 0, are the zero Time.
// ErrInvalidArgument names the parameter.
func parseTime(name, value string, now time.Time) (time.Time, error) {
	if value == "" || value == "0" {
		return time.Time{}, nil
	}
	if t, ok := unixTime(value); ok {
		return t, nil
	}
	if d, err := time.ParseDuration(value); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02Z07:00", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, value, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, badParam(name, value)
}

// maxUnix is the year 9999: what is later would not print as a date.
const maxUnix = 253402300799

func unixTime(value string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds > maxUnix || seconds < 0 {
		return time.Time{}, false
	}
	if fraction == "" {
		return time.Unix(seconds, 0), true
	}
	if !digits(fraction) {
		return time.Time{}, false
	}
	nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Unix(seconds, nanos), err == nil
}
