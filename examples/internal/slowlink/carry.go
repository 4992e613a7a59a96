package slowlink

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// mtu is the largest packet that devices hand out, in bytes.
const mtu = 1500

// A packet is on its way.
type packet struct {
	arrives time.Time
	size    int
	content *[mtu]byte // from packets
}

// packets is the memory of those that have arrived.
var packets = sync.Pool{New: func() any { return new([mtu]byte) }}

// underway is how many packets one direction carries at most: 0.4 seconds of large ones at 1
// Gbit/s.
const underway = 1 << 15

// carry takes packets from one device to another, as d says, until from is closed; what is on its
// way when ctx ends is lost, and what the other device refuses. Each Read and each Write is one
// packet.
func carry(ctx context.Context, from io.Reader, to io.Writer, d *direction) {
	queue := make(chan packet, underway)
	go func() {
		defer close(queue)
		collect(from, queue, d)
	}()
	for p := range queue {
		if wait := p.arrives.Sub(clock.System.Now()); wait <= 0 || clock.Sleep(ctx, clock.System, wait) == nil {
			_, _ = to.Write(p.content[:p.size])
		}
		packets.Put(p.content)
	}
}

// collect reads packets and queues those that will arrive. It returns when from is closed. What is
// not IPv4 is left lying: it is talk of the kernel about its devices.
func collect(from io.Reader, queue chan<- packet, d *direction) {
	for {
		p := packet{content: packets.Get().(*[mtu]byte)}
		var err error
		if p.size, err = from.Read(p.content[:]); err != nil {
			return
		}
		ok := false
		if p.content[0]>>4 == ipv4 {
			p.arrives, ok = d.send(clock.System.Now(), p.size)
		}
		if !ok {
			packets.Put(p.content)
			continue
		}
		queue <- p
	}
}

// ipv4 is what packets of that version begin with, in four bits.
const ipv4 = 4
