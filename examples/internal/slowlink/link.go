package slowlink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
)

// A Link joins two namespaces. It must be closed.
type Link struct {
	Here, There *Namespace

	directions [2]*direction

	cancel  context.CancelFunc
	carries sync.WaitGroup
}

// A Namespace is one end of a Link: a network of its own, in which programs can be started.
type Namespace struct {
	// Address is the IP address of this end.
	Address string

	device *os.File    // packets that programs send to the other end, and those for them
	work   chan func() // for the thread that is in the namespace; closed by close
}

// New makes a Link. An error says what the machine lacks: that is more than Linux, /dev/net/tun,
// and the right to make network namespaces, which root has, and who is root in a user namespace.
func New(c Config) (*Link, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("a slow link: %w", err)
	}
	here, err := newNamespace("198.18.0.1")
	if err != nil {
		return nil, fmt.Errorf("a slow link: %w", err)
	}
	there, err := newNamespace("198.18.0.2")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("a slow link: %w", err), here.close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Link{Here: here, There: there, cancel: cancel, directions: [2]*direction{newDirection(c, 0), newDirection(c, 1)}}
	l.carries.Go(func() { carry(ctx, here.device, there.device, l.directions[0]) })
	l.carries.Go(func() { carry(ctx, there.device, here.device, l.directions[1]) })
	return l, nil
}

// Seed decides by chance which packets are lost from now on: after the same seed those with the
// same number, of each direction. A new Link has the seed 0.
func (l *Link) Seed(seed uint64) {
	for _, d := range l.directions {
		d.seed(seed)
	}
}

// Close ends the link. Programs that run in its namespaces go on, and reach nobody.
func (l *Link) Close() error {
	l.cancel()
	err := errors.Join(l.Here.close(), l.There.close())
	l.carries.Wait()
	return err
}

// Start is c.Start for a program in the namespace. It must not be called after Close.
func (n *Namespace) Start(c *exec.Cmd) error {
	started := make(chan error)
	n.work <- func() { started <- c.Start() }
	return <-started
}

func (n *Namespace) close() error {
	close(n.work)
	return n.device.Close()
}
