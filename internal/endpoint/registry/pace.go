package registry

import (
	"cmp"
	"net/http"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// ranging is how large blobs are read in ranges.
type ranging struct {
	least   int64         // bytes that a blob has for it
	segment int64         // bytes
	memory  int64         // bytes of all segments at the same time
	most    int           // requests in flight at a registry up to which segments are asked for, those for segments included
	begin   int           // connections to a host of which nothing is known; 0 to find out
	grace   time.Duration // for which a segment may come more slowly than others

	now   func() time.Time
	gains func(before, after float64) bool // whether after, in bytes a second, is worth twice as many connections
}

// ranges is how blobs are read where nothing else is said. A segment is long enough for the round
// trips before it to weigh little; at 25 MB/s it takes a third of a second.
var ranges = ranging{
	least:   32 << 20,
	segment: 8 << 20,
	memory:  64 << 20,
	most:    8,
	grace:   10 * time.Second,
	now:     clock.System.Now, // what moves bytes keeps to the time of the machine
	gains:   func(before, after float64) bool { return after >= before*1.3 },
}

// LowerRanges makes blobs of so many bytes be read in ranges, in segments of a size, over begin
// connections where nothing is known of a host, or, if that is 0, over as many as are found to be
// of use. It is for tests that cannot wait for large blobs, which call it before anything else of
// this package is in use.
func LowerRanges(least, segment int64, begin int) {
	ranges.least, ranges.segment, ranges.memory, ranges.begin = least, segment, 8*segment, begin
}

// ranging is how blobs are read.
func (s *Shared) ranging() *ranging {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ranges == nil {
		own := ranges
		if s.MaxParallel > 0 {
			own.most = min(own.most, s.MaxParallel)
		}
		s.ranges = &own
	}
	return s.ranges
}

// suits reports whether what is left of a blob is read in ranges, whose reading has begun with r.
func (g *ranging) suits(r *blobReader) bool {
	s, resp, rest := r.source.shared, r.answer, r.total-r.offset
	asked := resp.StatusCode == http.StatusOK && r.offset == 0 || resp.StatusCode == http.StatusPartialContent
	return !s.NoRanges && g.most > 1 && rest >= g.least && asked && resp.ContentLength == rest &&
		resp.Header.Get("Content-Encoding") == "" && resp.Header.Get("Accept-Ranges") != "none" &&
		r.from.host.ranges.work(s.now())
}

// rangeKnowledge is what is known of a host about ranges. The zero value is nothing.
type rangeKnowledge struct {
	refused fact // it has answered to a request for a range with something else

	mu      sync.Mutex
	doubted bool      // what came in ranges was not the blob; guarded by mu
	finding bool      // a blob finds out how many connections are of use; guarded by mu
	wanted  int       // how many that are to one blob; guarded by mu
	found   time.Time // when that was; guarded by mu
}

// work reports whether ranges may be asked for.
func (k *rangeKnowledge) work(now time.Time) bool {
	if k.refused.holds(now) {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.doubted
}

// refuse notes that the host has no ranges.
func (k *rangeKnowledge) refuse(now time.Time) { k.refused.note(now) }

// doubt notes that what came in ranges was not the blob: there are no more of them.
func (k *rangeKnowledge) doubt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doubted = true
}

// begin reports whether it is up to the caller to find out how many connections are of use, until
// it calls end: not while somebody else does, with whom it would share what they bring.
func (k *rangeKnowledge) begin() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.finding {
		return false
	}
	k.finding = true
	return true
}

// end lets others find out.
func (k *rangeKnowledge) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.finding = false
}

// note notes how many connections are of use.
func (k *rangeKnowledge) note(wanted int, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted, k.found = wanted, now
}

// connections is how many connections are of use, 0 if that is not known, or was too long ago.
func (k *rangeKnowledge) connections(now time.Time) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.found) >= factsLast {
		return 0
	}
	return k.wanted
}

// A pace decides how many connections read a blob. It begins with one, and takes twice as many as
// long as that brings more: a step so large shows above the noise. What brings nothing is taken
// back, and then it is settled, for so many bytes that another attempt weighs little.
//
// As long as who reads is slower than the one connection, there is nothing to gain.
type pace struct {
	ranges  *ranging
	wanted  int  // connections
	stopped bool // wanted stays 1
	settled bool // wanted stays as it is, up to the offset until
	until   int64
	holds   int64 // no segment is asked for before this offset

	ended    int // connections whose part has ended in this round
	failures int
	longest  time.Duration // that a segment took, 0 if none is there
	waiting  time.Duration // for bytes, in this round
	before   float64       // bytes a second in the last round, 0 if there was none
	began    time.Time     // of this round; zero before the first
	received int64         // bytes before this round
}

// newPace begins at an offset with what is known to be of use, 0 for nothing.
func newPace(ranges *ranging, known int, offset int64) pace {
	p := pace{ranges: ranges, wanted: 1, holds: offset + ranges.segment}
	known = cmp.Or(known, ranges.begin)
	p.adopt(known, offset)
	if known > 1 {
		p.holds = 0
	}
	return p
}

// settle makes wanted the number of connections, for some time from the offset on.
func (p *pace) settle(wanted int, offset int64) {
	p.wanted, p.settled, p.until = wanted, true, offset+32*p.ranges.segment
}

// undecided reports whether the number of connections is still to be found out.
func (p *pace) undecided() bool { return !p.settled && !p.stopped }

// grows reports whether p finds out whether more connections bring more.
func (p *pace) grows() bool { return p.undecided() && p.before > 0 }

// adopt takes the number of connections that another blob has found out, 0 for none, unless p has
// had one.
func (p *pace) adopt(known int, offset int64) {
	if known > 0 && p.until == 0 {
		p.settle(min(known, p.ranges.most), offset)
	}
}

// postpone begins anew with one connection, of which a segment's worth of bytes is looked at.
func (p *pace) postpone(received, offset int64) {
	p.restart(p.ranges.now(), received)
	p.holds = max(p.holds, offset+p.ranges.segment)
}

// waited notes that bytes were waited for.
func (p *pace) waited(d time.Duration) { p.waiting += d }

// hold makes p wait with segments, after a lead was begun at an offset that is not left again soon:
// what it has under way when it ends is lost.
func (p *pace) hold(offset int64) { p.holds = max(p.holds, offset+4*p.ranges.segment) }

// stop wants no segments any more.
func (p *pace) stop() { p.wanted, p.stopped = 1, true }

// maxBroken is how many segments of one blob may break off.
const maxBroken = 4

// failed notes that a segment has broken off.
func (p *pace) failed() {
	if p.failures++; p.failures >= maxBroken {
		p.stop()
	}
}

// late reports whether a segment that has been coming for that long is so much slower than others
// that the rest comes sooner over another connection: all wait for the slowest one.
func (p *pace) late(lasts time.Duration) bool {
	return p.longest > 0 && lasts > max(4*p.longest, p.ranges.grace)
}

// judge ends the round if it is at its end, with so many bytes received of which offset were read.
// It reports whether that has shown how many connections the host is good for: where others are
// slower than all of them, it has not.
func (p *pace) judge(received, offset int64) bool {
	if p.stopped || p.settled && (p.wanted == p.ranges.most || offset < p.until) {
		return false
	}
	now := p.ranges.now()
	if p.settled {
		p.settled, p.before = false, 0
		p.restart(now, received)
		return false
	}
	if p.began.IsZero() {
		if received >= p.ranges.segment/2 { // what comes first may be slower, or a burst
			p.restart(now, received)
		}
		return false
	}
	if offset < p.holds || p.wanted > 1 && p.ended < p.wanted {
		return false
	}
	elapsed := max(now.Sub(p.began), time.Nanosecond)
	rate, starved := float64(received-p.received)/elapsed.Seconds(), p.waiting >= elapsed/2
	p.restart(now, received)
	switch {
	case p.before == 0 && !starved:
		p.hold(offset)
		return false
	case p.before == 0 || p.ranges.gains(p.before, rate):
		p.before = rate
		if 2*p.wanted <= p.ranges.most {
			p.wanted *= 2
			return false
		}
		p.settle(p.ranges.most, offset)
		return true
	}
	p.settle(p.wanted/2, offset)
	return starved
}

func (p *pace) restart(now time.Time, received int64) {
	p.began, p.received, p.ended, p.waiting = now, received, 0, 0
}
