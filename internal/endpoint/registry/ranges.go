package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// rangedReader reads one blob in order, while other connections fetch what comes next in segments.
// It begins as one stream, the lead, and ends that where a segment begins which is on its way.
//
// Segments are asked for in the background, once each. What of one does not come, or comes much
// more slowly than others, is read by a lead of its own, which is a blobReader, with its retries.
type rangedReader struct {
	ranges *ranging
	first  *blobReader
	from   *repository // that segments are asked from

	lead    *blobReader // reads from offset on, up to the first of ahead; nil if that is read
	ahead   []*segment  // in order, without gaps
	offset  int64       // of the next byte
	inPart  bool        // a segment was read
	pace    pace
	finding bool // out, for the host, how many connections are of use
	closed  bool

	received atomic.Int64           // bytes, over all connections
	tag      atomic.Pointer[string] // the strong ETag of the first segment, nil as long as none has one
	target   target                 // of requests for segments
}

// newRangedReader takes over lead, which has not been read from.
func newRangedReader(lead *blobReader) *rangedReader {
	ranges := lead.source.shared.ranging()
	r := &rangedReader{
		ranges: ranges, first: lead, from: lead.from, lead: lead, offset: lead.offset,
		pace: newPace(ranges, lead.from.host.ranges.connections(lead.source.shared.now()), lead.offset),
	}
	r.target.learn(lead.answer)
	return r
}

func (r *rangedReader) Read(p []byte) (int, error) {
	switch {
	case r.closed:
		return 0, errors.New("read of a closed blob")
	case len(p) == 0:
		return 0, nil
	case r.offset >= r.first.total:
		return 0, io.EOF
	}
	for {
		r.extend()
		r.passOver()
		if r.lead == nil && len(r.ahead) == 0 {
			r.follow(0)
		}
		if r.lead != nil {
			return r.readLead(p)
		}
		if n := r.readSegment(p); n > 0 {
			return n, nil
		}
	}
}

// passOver ends the lead where the first segment has more: not before it has shown that it brings
// something. A segment that the lead has left behind is forgotten.
func (r *rangedReader) passOver() {
	for r.lead != nil && len(r.ahead) > 0 && r.offset >= r.ahead[0].start {
		s := r.ahead[0]
		filled, ended, _ := s.state()
		switch more := s.start+int64(filled) > r.offset; {
		case more:
			r.endLead()
		case ended, r.offset >= s.end:
			r.drop(0)
		default:
			return
		}
	}
}

// endLead closes the lead, which was read as far as it is wanted.
func (r *rangedReader) endLead() {
	_ = r.lead.Close()
	r.lead = nil
	r.pace.ended++
}

// readLead reads from the lead, and not beyond the next place where it may end.
func (r *rangedReader) readLead(p []byte) (int, error) {
	end := r.lead.stop()
	if len(r.ahead) > 0 {
		if s := r.ahead[0]; r.offset < s.start {
			end = min(end, s.start)
		} else {
			end = min(end, s.end)
		}
	}
	asked := r.ranges.now()
	n, err := r.lead.Read(p[:min(int64(len(p)), end-r.offset)])
	r.pace.waited(r.ranges.now().Sub(asked))
	r.offset += int64(n)
	r.received.Add(int64(n))
	if r.offset == r.lead.stop() {
		r.endLead()
		err = nil
	}
	return n, err
}

// readSegment reads from the first segment, and waits for its bytes. It returns 0 when a lead has
// to go on where the segment has broken off. One that is much slower than others is broken off.
func (r *rangedReader) readSegment(p []byte) int {
	s := r.ahead[0]
	asked := r.ranges.now()
	n := s.read(p, r.offset)
	r.pace.waited(r.ranges.now().Sub(asked))
	r.offset += int64(n)
	r.inPart = r.inPart || n > 0
	switch {
	case r.offset == s.end:
		r.drop(0)
	case n == 0:
		r.drop(0)
		r.follow(s.end)
	case r.pace.late(s.lasts(r.ranges.now())):
		r.broken()
		r.drop(0)
		r.follow(s.end)
	}
	return n
}

// broken notes that a segment brings no more than it has: the rest is asked for again.
func (r *rangedReader) broken() {
	r.first.source.stats.retries.Add(1)
	r.pace.failed()
}

// drop forgets a segment, which ends now if it has not yet.
func (r *rangedReader) drop(i int) {
	s := r.ahead[i]
	r.note(s)
	s.cancel()
	s.wait()
	r.first.source.shared.buffers.put(s.buf)
	r.ahead = slices.Delete(r.ahead, i, i+1)
}

// follow makes a lead that reads from the offset on, up to end, or all the rest if that is 0.
func (r *rangedReader) follow(end int64) {
	f := r.first
	r.lead = &blobReader{
		ctx: f.ctx, source: f.source, blob: f.blob, retry: f.source.shared.newRetrier(), total: f.total,
		offset: r.offset, failedAt: r.offset, end: end,
	}
	if end == 0 {
		r.pace.hold(r.offset)
	}
}

// extend asks for as many segments as the pace allows.
func (r *rangedReader) extend() {
	r.judge()
	r.dropUnbegun()
	r.beginMore()
}

// beginMore asks for segments until there are as many connections as are wanted. One may be free
// because the host has just refused its range: then it is asked for no other one.
func (r *rangedReader) beginMore() {
	known, now := &r.from.host.ranges, r.first.source.shared.now
	for r.pace.wanted > 1 && r.running() < r.pace.wanted && r.offset >= r.pace.holds && known.work(now()) {
		if start, ok := r.next(); !ok || !r.begin(start) {
			return
		}
	}
}

// next is where the next segment begins: behind the last one, or so far before the lead that it has
// something to do meanwhile. It reports whether there is one: the lead brings a short rest itself.
func (r *rangedReader) next() (start int64, ok bool) {
	start = r.offset
	switch {
	case len(r.ahead) > 0:
		start = r.ahead[len(r.ahead)-1].end
	case r.lead != nil && r.lead.end > 0:
		start = r.lead.end
	case r.lead != nil:
		start += r.ranges.segment
		return start, start+r.ranges.segment/2 <= r.first.total
	}
	return start, start < r.first.total
}

// begin asks for the segment at start in the background, unless there is no memory for it, or no
// room in the budget.
func (r *rangedReader) begin(start int64) bool {
	done, ok := endpoint.Spare(r.first.ctx)
	if !ok {
		return false
	}
	buf := r.first.source.shared.buffers.get(r.ranges)
	if buf == nil {
		done()
		return false
	}
	ctx, cancel := context.WithCancel(r.first.ctx)
	s := newSegment(start, min(start+r.ranges.segment, r.first.total), buf, cancel)
	r.ahead = append(r.ahead, s)
	go func() {
		err := r.fetch(ctx, s)
		done()
		s.finish(err)
	}()
	return true
}

// running is how many connections are in use.
func (r *rangedReader) running() (n int) {
	if r.lead != nil {
		n++
	}
	for _, s := range r.ahead {
		if _, ended, _ := s.state(); !ended {
			n++
		}
	}
	return n
}

// dropUnbegun forgets segments at the end of which nothing has come, so that the lead goes on.
func (r *rangedReader) dropUnbegun() {
	for len(r.ahead) > 0 {
		last := r.ahead[len(r.ahead)-1]
		filled, ended, err := last.state()
		if !ended || err == nil || filled > 0 {
			return
		}
		r.drop(len(r.ahead) - 1)
		r.pace.hold(r.offset)
	}
}

// note lets the pace know how a segment has ended, if it has, once. What has broken off is asked
// for again by a lead.
func (r *rangedReader) note(s *segment) {
	switch err, first := s.seen(); {
	case !first:
	case err == nil:
		r.pace.ended++
		r.pace.longest = max(r.pace.longest, s.took)
	case !errors.Is(err, ocihttp.ErrNoSlot):
		r.broken()
	}
}

// judge lets the pace decide how many connections are wanted, and the host know what was found out.
func (r *rangedReader) judge() {
	for _, s := range r.ahead {
		r.note(s)
	}
	known, now := &r.from.host.ranges, r.first.source.shared.now()
	if !known.work(now) {
		r.pace.stop()
	} else if r.mayJudge(known, now) && r.pace.judge(r.received.Load(), r.offset) {
		known.note(r.pace.wanted, now)
	}
	if !r.pace.grows() {
		r.endFinding()
	}
}

// mayJudge reports whether the pace may go on. It may not begin to find out how many connections
// are of use while another blob does, or where little is left: what is thrown away costs more then.
func (r *rangedReader) mayJudge(known *rangeKnowledge, now time.Time) bool {
	if r.pace.undecided() && !r.finding {
		r.pace.adopt(known.connections(now), r.offset)
	}
	if !r.pace.undecided() || r.finding {
		return true
	}
	if r.first.total-r.offset < r.ranges.least {
		return false
	}
	if r.finding = known.begin(); !r.finding {
		r.pace.postpone(r.received.Load(), r.offset)
	}
	return r.finding
}

// endFinding lets other blobs find out how many connections are of use.
func (r *rangedReader) endFinding() {
	if r.finding {
		r.finding = false
		r.from.host.ranges.end()
	}
}

// fetch reads a segment over a connection of its own.
func (r *rangedReader) fetch(ctx context.Context, s *segment) error {
	resp, err := r.ask(ctx, s)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	began := r.ranges.now()
	s.answered(began)
	err = s.fill(resp.Body, func(n int) {
		r.received.Add(int64(n))
		r.first.source.stats.bytesRead.Add(int64(n))
	})
	if err == nil {
		s.took = r.ranges.now().Sub(began)
	}
	return err
}

// ask asks for a segment. A success that is not that part of the blob says that the host has no
// ranges.
func (r *rangedReader) ask(ctx context.Context, s *segment) (*http.Response, error) {
	resp, err := r.send(ctx, s)
	if err == nil {
		if err = r.checkPart(s, resp); err == nil {
			return resp, nil
		}
		_ = resp.Body.Close()
	}
	if hasNoRange(err) {
		r.from.host.ranges.refuse(r.first.source.shared.now())
	}
	return nil, err
}

// send sends the request for a segment to the target, if there is one that serves it, or else to
// the registry, which may lead it to a new one.
func (r *rangedReader) send(ctx context.Context, s *segment) (*http.Response, error) {
	if at := r.target.current(); at != nil {
		resp, err := r.from.send(ctx, r.requestFor(s, request{location: at}))
		switch {
		case err == nil:
			r.target.serves(at)
			return resp, nil
		case errors.Is(err, ocihttp.ErrNoSlot):
			return nil, err
		}
		r.target.forget(at)
		if !turnsAway(err) {
			return nil, err
		}
	}
	resp, err := r.from.send(ctx, r.requestFor(s, request{path: "blobs/" + r.first.blob.Digest.String()}))
	if err == nil {
		r.target.learn(resp)
	}
	return resp, err
}

// requestFor makes rq, which says where, the request for a segment.
func (r *rangedReader) requestFor(s *segment, rq request) *request {
	rq.method, rq.slow, rq.spare = http.MethodGet, true, r.ranges.most
	rq.header = http.Header{"Range": {byteRange(s.start, s.end)}}
	if tag := r.tag.Load(); tag != nil {
		rq.header.Set("If-Range", *tag)
	}
	return &rq
}

// checkPart fails if resp is not exactly the part of the blob that s is.
func (r *rangedReader) checkPart(s *segment, resp *http.Response) error {
	stated := resp.Header.Get("Content-Range")
	part := fmt.Sprintf("bytes %d-%d/", s.start, s.end-1)
	size, ok := strings.CutPrefix(stated, part)
	if resp.StatusCode != http.StatusPartialContent || !ok || size != "*" && size != fmt.Sprint(r.first.total) ||
		resp.Header.Get("Content-Encoding") != "" || resp.ContentLength >= 0 && resp.ContentLength != s.end-s.start {
		return &rangeError{fmt.Sprintf("%s: the answer to a request for %s%d has status %d, Content-Range %q, Content-Encoding %q and %d bytes",
			ocihttp.CleanURL(resp.Request.URL), part, r.first.total, resp.StatusCode, stated, resp.Header.Get("Content-Encoding"),
			resp.ContentLength)}
	}
	if tag := resp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) {
		r.tag.CompareAndSwap(nil, &tag)
	}
	return nil
}

// Doubt implements endpoint.Doubter.
func (r *rangedReader) Doubt() bool {
	if r.inPart {
		r.from.host.ranges.doubt()
	}
	return r.inPart
}

// Close ends all requests, and waits for that.
func (r *rangedReader) Close() (err error) {
	if r.closed {
		return nil
	}
	r.closed = true
	r.endFinding()
	if r.lead != nil {
		err = r.lead.Close()
	}
	for _, s := range r.ahead {
		s.cancel()
	}
	for len(r.ahead) > 0 {
		r.drop(0)
	}
	return err
}
