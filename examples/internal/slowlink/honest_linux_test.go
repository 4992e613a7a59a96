package slowlink

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is asked of the server, in the first byte over a connection.
const (
	askEcho      = 'e' // to return every byte
	askBytes     = 'b' // for stream bytes
	askDatagrams = 'd' // for batches of datagrams, to the port in two bytes that follow
)

const (
	echoes        = 50
	stream        = 12 << 20
	warm          = 4 << 20 // of the stream, until TCP has found out what the link brings
	batches       = 200
	batch         = 100  // datagrams, which are few enough for every queue but the link's
	segment       = 1448 // bytes of content in a full packet of TCP, with timestamps
	datagramBytes = 100
)

// answerProbe is the server's part of a probe.
func answerProbe(c net.Conn) error {
	defer c.Close()
	asked := make([]byte, 3)
	if _, err := io.ReadFull(c, asked); err != nil {
		return err
	}
	switch asked[0] {
	case askEcho:
		_, err := io.Copy(c, c)
		return err
	case askBytes:
		_, err := c.Write(make([]byte, stream))
		return err
	}
	to := &net.UDPAddr{IP: c.RemoteAddr().(*net.TCPAddr).IP, Port: int(binary.BigEndian.Uint16(asked[1:]))}
	datagrams, err := net.DialUDP("udp4", nil, to)
	if err != nil {
		return err
	}
	defer datagrams.Close()
	for range batches {
		for range batch {
			if _, err := datagrams.Write(make([]byte, datagramBytes)); err != nil {
				return err
			}
		}
		if err := roundTrip(c); err != nil {
			return err
		}
	}
	return nil
}

// roundTrip sends a byte and reads the answer.
func roundTrip(c net.Conn) error {
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// A probed is what a client has found.
type probed struct {
	RoundTrip   time.Duration // the fastest
	Whole, Warm float64       // bytes a second, headers of IP and TCP included: of the stream, and of its end
	Arrived     int           // datagrams
}

// probe asks for one of the probes.
func probe(asked byte, address string) (p probed, err error) {
	c, err := net.Dial("tcp4", address)
	if err != nil {
		return p, err
	}
	defer c.Close()
	datagrams, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return p, err
	}
	defer datagrams.Close()
	port := datagrams.LocalAddr().(*net.UDPAddr).Port
	begun := time.Now() // before anything can be on its way
	if _, err := c.Write(binary.BigEndian.AppendUint16([]byte{asked}, uint16(port))); err != nil {
		return p, err
	}
	switch asked {
	case askEcho:
		return p, p.echo(c)
	case askBytes:
		return p, p.read(c, begun)
	}
	return p, p.count(c, datagrams)
}

func (p *probed) echo(c net.Conn) error {
	for range echoes {
		begun := time.Now()
		if err := roundTrip(c); err != nil {
			return err
		}
		if took := time.Since(begun); p.RoundTrip == 0 || took < p.RoundTrip {
			p.RoundTrip = took
		}
	}
	return nil
}

func (p *probed) read(c net.Conn, begun time.Time) error {
	if _, err := io.CopyN(io.Discard, c, warm); err != nil {
		return err
	}
	warmed := time.Now()
	n, err := io.Copy(io.Discard, c)
	p.Warm = float64(n) / time.Since(warmed).Seconds() * mtu / segment
	p.Whole = float64(warm+n) / time.Since(begun).Seconds() * mtu / segment
	return err
}

// count takes each batch, which is there when it has been announced, before it answers.
func (p *probed) count(c net.Conn, datagrams *net.UDPConn) error {
	raw, err := datagrams.SyscallConn()
	if err != nil {
		return err
	}
	announced := make([]byte, 1)
	for {
		if _, err := io.ReadFull(c, announced); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		take := func(fd uintptr) {
			for {
				if _, _, err := syscall.Recvfrom(int(fd), make([]byte, mtu), syscall.MSG_DONTWAIT); err != nil {
					return // there is no other one
				}
				p.Arrived++
			}
		}
		if err := raw.Control(take); err != nil {
			return err
		}
		if _, err := c.Write(announced); err != nil {
			return err
		}
	}
}

// measured lets a program at one end of l probe one at the other.
func measured(t *testing.T, l *Link, asked byte) (p probed) {
	require.NoError(t, json.Unmarshal(said(t, l, "prober", "probe-"+string(asked)), &p))
	return p
}

// TestRoundTripIsHonest: nobody can be slower than the machine, so the fastest counts.
func TestRoundTripIsHonest(t *testing.T) {
	const rtt = 20 * time.Millisecond
	p := measured(t, linked(t, Config{Delay: rtt / 2, Rate: 125e6}), askEcho)
	assert.InDelta(t, rtt, p.RoundTrip, float64(2*time.Millisecond))
	assert.GreaterOrEqual(t, p.RoundTrip, rtt)
}

// TestRateIsHonest: a machine that is busy brings less, in most attempts if it is very busy. A link
// that does brings less in all of them.
func TestRateIsHonest(t *testing.T) {
	const rate = 100e6 / 8
	l := linked(t, Config{Delay: 10 * time.Millisecond, Rate: rate})
	var most float64
	for range 50 {
		p := measured(t, l, askBytes)
		require.Less(t, p.Whole, 1.01*rate)
		if most = max(most, p.Warm); most > 0.95*rate {
			return
		}
	}
	assert.Greater(t, most, 0.95*rate)
}

// TestLossIsHonest counts datagrams.
func TestLossIsHonest(t *testing.T) {
	const loss = 0.01
	p := measured(t, linked(t, Config{Rate: 125e6, Loss: loss}), askDatagrams)
	assert.InDelta(t, loss, 1-float64(p.Arrived)/(batches*batch), loss/3)
}
