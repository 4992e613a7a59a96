package main

import (
	"fmt"
	"os/exec"
	"slices"
	"time"

	"github.com/sparsecopy/sparsecopy/examples/internal/slowlink"
)

// An environment is what lies between the contestants and the registries.
type environment struct {
	RTT  time.Duration
	TLS  bool
	Cap  int64 // bytes a second that each connection to the source brings at most; 0 for no limit
	Link link  // zero for loopback, where the round-trip time is injected
}

// A link is a network with a limited bandwidth that loses packets.
type link struct {
	Name string
	Rate int64   // bits a second
	Loss float64 // of all packets, by chance
}

func (e environment) id() string { return e.Link.Name }

// title is what a result is about.
func (e environment) title(workload string) string {
	title := fmt.Sprintf("%s, %v", workload, e.RTT)
	if e.Cap != 0 {
		title += fmt.Sprintf(", %d MB/s a connection", e.Cap/1e6)
	}
	if e.Link.Name != "" {
		title += ", " + e.Link.Name
	}
	if e.TLS {
		title += " over TLS"
	}
	return title
}

// The environments that bounds are about.
var (
	local  = environment{}
	near   = environment{RTT: 20 * time.Millisecond}
	far    = environment{RTT: 80 * time.Millisecond}
	capped = environment{RTT: 40 * time.Millisecond, Cap: 25e6}
)

// links are all environments with one, in the order of the tables.
var links = []environment{
	{RTT: near.RTT, Link: link{Name: "100Mbit", Rate: 100e6}},
	{RTT: near.RTT, Link: link{Name: "1Gbit", Rate: 1e9}},
	{RTT: far.RTT, Link: link{Name: "1Gbit-0.1%", Rate: 1e9, Loss: 0.001}},
	{RTT: far.RTT, Link: link{Name: "1Gbit-1%", Rate: 1e9, Loss: 0.01}},
}

// environments are all that s asks for.
func (s settings) environments() []environment {
	var all []environment
	for _, tls := range s.tls {
		for _, rtt := range s.rtts {
			all = append(all, environment{RTT: rtt, TLS: tls})
		}
	}
	if slices.Contains(s.tls, false) {
		all = append(append(all, capped), s.links...)
	}
	return slices.DeleteFunc(all, func(e environment) bool {
		return !slices.ContainsFunc(s.workloads, func(w workload) bool { return len(s.contestants(e, w)) > 0 })
	})
}

// contestants are those of w in e.
func (s settings) contestants(e environment, w workload) []tool {
	if !w.suits(e) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.tools), func(t tool) bool {
		return !w.takes(t) || s.goals && !concerns(goals, cell{e, w.Name, t.name})
	})
}

// A ground is where the processes of an environment run. It must be closed.
type ground struct {
	startRegistries, startContestant func(*exec.Cmd) error
	address                          string // of the registries; "" for loopback
	link                             *slowlink.Link
}

// newGround fails where a link needs more than the machine has.
func newGround(e environment) (*ground, error) {
	if e.Link.Name == "" {
		return &ground{startRegistries: (*exec.Cmd).Start, startContestant: (*exec.Cmd).Start}, nil
	}
	l, err := slowlink.New(slowlink.Config{Delay: e.RTT / 2, Rate: e.Link.Rate / 8, Loss: e.Link.Loss})
	if err != nil {
		return nil, err
	}
	return &ground{startRegistries: l.There.Start, startContestant: l.Here.Start, address: l.There.Address, link: l}, nil
}

// begin makes all copies of a round lose the same packets.
func (g *ground) begin(round int) {
	if g.link != nil {
		g.link.Seed(uint64(round))
	}
}

func (g *ground) close() error {
	if g.link == nil {
		return nil
	}
	return g.link.Close()
}
