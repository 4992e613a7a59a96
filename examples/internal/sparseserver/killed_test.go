//go:build !race

package sparseserver

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestKilledAtAnyMoment kills the server at random moments of pushes. After a restart everything
// that was answered with 201 must be there.
//
// It looks for nothing that the race detector finds, since a server that is killed reports nothing:
// make test runs it without.
func TestKilledAtAnyMoment(t *testing.T) {
	kills, workers := 100, 4
	if testing.Short() {
		kills = 5
	}
	random := rand.New(rand.NewPCG(1, 0)) // what the server does at these moments is another thing each time
	storage := t.TempDir()
	var all []pushed
	server := startProcess(t, storage)
	for round := range kills {
		for _, i := range random.Perm(len(all))[:min(len(all), 5)] { // of any age
			all[i].check(t, server.client)
		}
		var l ledger
		var wg sync.WaitGroup
		failures := make(chan error, workers)
		for worker := range workers {
			wg.Go(func() { failures <- pushOn(t.Context(), server.client, worker, round, &l) })
		}
		progress := random.IntN(2 * workers)
		for l.size() < progress && len(failures) == 0 { // somewhere in the work, however fast the machine is
			<-time.After(time.Millisecond)
		}
		<-time.After(time.Duration(random.IntN(20_000)) * time.Microsecond) // and at a random moment of it
		server.kill(t)
		wg.Wait()
		for range workers {
			require.NoError(t, <-failures)
		}

		server = startProcess(t, storage)
		for _, p := range l.tags {
			p.check(t, server.client)
		}
		all = append(all, l.tags...)
	}
	t.Logf("%d kills, %d accepted lists, all there", kills, len(all))
	assert.NotEmpty(t, all)

	defer server.kill(t)
	for _, p := range all {
		p.check(t, server.client)
	}
}
