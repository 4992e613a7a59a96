package ocihttp

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/httpfield"
)

// A statedLimit is what a header says of a limit.
type statedLimit struct {
	limit     int // 0 if it is not stated
	remaining int
	window    time.Duration // 0 if it is not stated
	until     time.Time     // when there is more, at the latest
}

const (
	// longestLimit is for how long a limit is believed: whoever states more is asked again then.
	longestLimit = 24 * time.Hour
	// undatedLimit is for how long one is believed that states neither a window nor a time.
	undatedLimit = time.Hour
)

// readLimit reads what a header says of a limit; now is the sender's time, if it says it. ok
// reports whether it says how much is left. These are read, the first that is there:
//
//   - RateLimit and RateLimit-Policy, in the forms of draft-ietf-httpapi-ratelimit-headers-07
//     (limit=100, remaining=50, reset=5) and of 08 to 11 ("name";r=50;t=5, with "name";q=100;w=60).
//     Of several limits it is the one of which the least is left.
//   - RateLimit-Limit, RateLimit-Remaining and RateLimit-Reset of the older drafts, as Docker Hub
//     (100;w=21600, without a reset) and GitLab (a reset in Unix time) have them.
//   - The same with an X in front, as GitHub has them.
func readLimit(h http.Header, now time.Time) (said statedLimit, ok bool) {
	var reset time.Duration
	if said, reset, ok = readRateLimit(h); !ok {
		for _, family := range []string{"Ratelimit-", "X-Ratelimit-"} {
			if said, reset, ok = readFamily(h, family, now); ok {
				break
			}
		}
	}
	said.remaining = max(0, said.remaining)
	wait := undatedLimit
	switch {
	case reset > 0:
		wait = reset
	case said.window > 0:
		wait = said.window
	}
	said.until = now.Add(min(wait, longestLimit))
	return said, ok
}

// readRateLimit reads the fields RateLimit and RateLimit-Policy.
func readRateLimit(h http.Header) (said statedLimit, reset time.Duration, ok bool) {
	all := map[string]string{} // of draft 07, whose members are one limit
	for _, m := range membersOf(h.Values("Ratelimit")) {
		if left, isItem := m.number("r"); isItem && (!ok || left < said.remaining) {
			said, reset, ok = statedLimit{remaining: left}, m.seconds("t"), true
			policy := policyOf(h, func(p member) bool { return p[""] == m[""] })
			said.limit, _ = policy.number("q")
			said.window = policy.seconds("w")
		}
		for key, value := range m {
			all[key] = value
		}
	}
	if ok {
		return said, reset, true
	}
	one := member(all)
	said.remaining, ok = one.number("remaining")
	said.limit, _ = one.number("limit")
	said.window = policyOf(h, func(p member) bool { return p[""] == one["limit"] }).seconds("w")
	return said, one.seconds("reset"), ok
}

// policyOf is the first member of RateLimit-Policy that suits, nil if none does.
func policyOf(h http.Header, suits func(member) bool) member {
	for _, p := range membersOf(h.Values("Ratelimit-Policy")) {
		if suits(p) {
			return p
		}
	}
	return nil
}

// readFamily reads the fields Limit, Remaining and Reset with a prefix.
func readFamily(h http.Header, prefix string, now time.Time) (said statedLimit, reset time.Duration, ok bool) {
	left := membersOf(h.Values(prefix + "Remaining"))
	if len(left) == 0 {
		return said, 0, false
	}
	if said.remaining, ok = left[0].number(""); !ok {
		return said, 0, false // Docker Hub has been seen to leave out the number
	}
	windows := left
	if limit := membersOf(h.Values(prefix + "Limit")); len(limit) > 0 {
		said.limit, _ = limit[0].number("")
		policy := policyOf(h, func(p member) bool { return p[""] == limit[0][""] })
		windows = slices.Concat(limit, left, []member{policy})
	}
	for _, m := range windows {
		if said.window = m.seconds("w"); said.window > 0 {
			break
		}
	}
	return said, readReset(h.Get(prefix+"Reset"), now), true
}

// readReset reads how long it takes until a limit begins anew: in seconds, or a Unix time.
func readReset(value string, now time.Time) time.Duration {
	seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(0 < seconds && seconds < 1<<40) {
		return 0
	}
	return fromNow(seconds, now)
}

// oldestTime is the Unix time from which on a number of seconds is taken for a Unix time: nobody
// has to wait for thirty years.
const oldestTime = 1_000_000_000

// fromNow is how long it takes until seconds have passed, or the Unix time seconds has come; 0 if
// that is past.
func fromNow(seconds float64, now time.Time) time.Duration {
	if seconds >= oldestTime {
		return max(0, time.Unix(int64(seconds), 0).Sub(now))
	}
	return time.Duration(seconds * float64(time.Second))
}

// ParseRetryAfter reads the value of a Retry-After header: seconds, or a date, and Docker Hub
// writes a Unix time. now is the host's time, if it says it. RFC 9110, section 10.2.3. It returns 0
// for anything else.
func ParseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseFloat(value, 64); err == nil && 0 <= seconds && seconds < 1<<40 { // fractions are in use
		return fromNow(seconds, now)
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

// TimeOf is the time at which an answer was sent, by the clock of who sent it: clocks differ. It is
// now if that is not said.
func TimeOf(h http.Header, now time.Time) time.Time {
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
		return theirs
	}
	return now
}

// A member is one of a list in a structured field, RFC 9651: its item under "", and its parameters;
// or a key with its value.
type member map[string]string

// number is the integer under a key.
func (m member) number(key string) (n int, ok bool) {
	n, err := strconv.Atoi(m[key])
	return n, err == nil
}

// seconds is the number of seconds under a key, 0 if there is none that makes sense.
func (m member) seconds(key string) time.Duration {
	n, _ := m.number(key)
	return time.Duration(min(max(0, n), 1<<32)) * time.Second
}

// membersOf reads the lists that the values of a field are. It stops at what it does not
// understand.
func membersOf(values []string) []member {
	var members []member
	for _, rest := range values {
		for ok := true; ok; {
			var m member
			m, rest, ok = cutMember(httpfield.SkipSeparators(rest))
			if ok {
				members = append(members, m)
			}
		}
	}
	return members
}

// cutMember reads the member at the beginning of s. ok reports whether there is one, with what may
// follow it.
func cutMember(s string) (m member, rest string, ok bool) {
	m = member{}
	for key, rest, ok := cutValue(s); ok; key, rest, ok = cutValue(httpfield.SkipSpace(rest[1:])) {
		rest = httpfield.SkipSpace(rest)
		if value, after, assigned := cutAssigned(rest); assigned {
			m[key], rest = value, httpfield.SkipSpace(after)
		} else if len(m) == 0 {
			m[""] = key
		}
		if rest == "" || rest[0] == ',' {
			return m, rest, true
		}
		if rest[0] != ';' {
			break
		}
	}
	return nil, "", false
}

// cutAssigned reads the value after the equals sign at the beginning of s.
func cutAssigned(s string) (value, rest string, ok bool) {
	after, ok := strings.CutPrefix(s, "=")
	if !ok {
		return "", s, false
	}
	return cutValue(after)
}

// cutValue reads the token or the quoted string at the beginning of s.
func cutValue(s string) (value, rest string, ok bool) {
	if quoted, is := strings.CutPrefix(s, `"`); is {
		return httpfield.CutQuoted(quoted)
	}
	value, rest = httpfield.CutToken(s)
	return value, rest, value != ""
}
