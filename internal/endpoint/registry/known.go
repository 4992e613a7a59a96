package registry

import (
	"context"
	"hash/maphash"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/bounded"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// blobKnowledge is what is known about the blobs at one host, from copies that wrote there: where
// they are, and which are on their way. It lets copies skip blobs, mount them from other
// repositories, and wait for one another instead of sending the same content twice. The zero value
// knows nothing. What it holds is bounded, and what is there is believed for a while only, as
// registries collect what nothing names: what it forgets is asked again.
type blobKnowledge struct {
	clock   clock.Clock // nil for clock.System
	mu      sync.Mutex
	there   map[mark]int64           // when it was seen there, in nanoseconds of Unix time
	origins map[digest.Digest]origin // one repository that has the blob
	moving  map[place]chan struct{}  // closed when the copy ends
	misses  int                      // mounts from origins that the host did not make, since the last one that it made
}

const (
	// maxKnownBlobs is how many blobs are remembered, and as many pairs of blob and repository.
	maxKnownBlobs = 1 << 15
	// maxKnown is how much is remembered of any other kind: tokens, credentials, refusals.
	maxKnown = 1 << 10
	// maxMountMisses is after how many failures in a row blobs are not mounted from origins any
	// more.
	maxMountMisses = 4
)

// A place is a blob in a repository, or, without a repository, in any one that the account can
// mount it from.
type place struct {
	blob       digest.Digest
	repository string
	account    ocihttp.Account
}

// A mark stands for a place, in as few bytes as it takes: thousands are held. That two places have
// the same is as likely as that two digests of 128 bits are equal; a registry that is thought to
// have a blob says of the manifest that it has not, and gets it.
type mark struct{ place, again, repository uint64 }

var markSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func (p place) mark() mark {
	return mark{maphash.Comparable(markSeeds[0], p), maphash.Comparable(markSeeds[1], p), markOfRepository(p.repository)}
}

func markOfRepository(name string) uint64 { return maphash.String(markSeeds[0], name) }

// origin is a repository that has a blob. Blobs are mounted only from repositories of the same
// account: the credentials of one are not for another.
type origin struct {
	repository string
	account    ocihttp.Account
}

func (r *repository) account() ocihttp.Account {
	return ocihttp.Account{Auth: r.creds.Get(), Token: r.registryToken}
}

// begin returns there if blob d is known to be at a repository. Otherwise the caller copies it, and
// calls end. If another copy is bringing it to the repository, or to one that it can be mounted
// from, begin waits for the end of that one.
func (k *blobKnowledge) begin(ctx context.Context, d digest.Digest, to *repository) (there bool, end func(stored bool), err error) {
	for {
		there, end, wait := k.claim(d, to)
		if wait == nil {
			return there, end, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return false, nil, context.Cause(ctx)
		}
	}
}

// claim is begin without waiting: wait is closed when it should be tried again.
func (k *blobKnowledge) claim(d digest.Digest, to *repository) (there bool, end func(stored bool), wait <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.has(place{d, to.name, to.account()}) {
		return true, nil, nil
	}
	here := k.task(d, to)
	if other := k.moving[here]; other != nil {
		return false, nil, other
	}
	done := make(chan struct{})
	if k.moving == nil {
		k.moving = map[place]chan struct{}{}
	}
	k.moving[here] = done
	return false, func(stored bool) {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.moving, here)
		close(done)
		if stored {
			k.remember(d, to)
		}
	}, nil
}

// onItsWay is closed when another copy has ended that begin would wait for, and nil if there is
// none. k.mu is not held.
func (k *blobKnowledge) onItsWay(d digest.Digest, to *repository) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.has(place{d, to.name, to.account()}) {
		return nil
	}
	return k.moving[k.task(d, to)]
}

// has reports whether a blob is known to be at a place. k.mu is held.
func (k *blobKnowledge) has(p place) bool {
	seen, known := k.there[p.mark()]
	return known && clock.Since(clock.Or(k.clock), time.Unix(0, seen)) < factsLast
}

// task is what only one copy does at a time: bringing the blob to the host, or, if it is there, to
// the repository.
func (k *blobKnowledge) task(d digest.Digest, to *repository) place {
	if _, known := k.origins[d]; known || k.misses >= maxMountMisses {
		return place{d, to.name, to.account()}
	}
	return place{d, "", to.account()}
}

func (k *blobKnowledge) remember(d digest.Digest, at *repository) {
	if k.there == nil {
		k.there, k.origins = map[mark]int64{}, map[digest.Digest]origin{}
	}
	bounded.MakeRoom(k.there, maxKnownBlobs)
	k.there[place{d, at.name, at.account()}.mark()] = clock.Or(k.clock).Now().UnixNano()
	if _, known := k.origins[d]; !known {
		bounded.MakeRoom(k.origins, maxKnownBlobs)
		d = digest.Digest(strings.Clone(string(d))) // it may be part of a document
		k.origins[d] = origin{at.name, at.account()}
	}
}

// origin is another repository that d can be mounted from, "" if none is known.
func (k *blobKnowledge) origin(d digest.Digest, to *repository) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	from := k.origins[d]
	if k.misses >= maxMountMisses || from.repository == to.name || from.account != to.account() {
		return ""
	}
	return from.repository
}

// mounted notes whether d was mounted from its origin. An origin that did not give it is forgotten.
func (k *blobKnowledge) mounted(d digest.Digest, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ok {
		k.misses = 0
		return
	}
	k.misses++
	delete(k.origins, d)
}

// forget forgets what is at a repository, whose registry may have lost something. It stays an
// origin: a mount that fails says more.
func (k *blobKnowledge) forget(at *repository) {
	k.mu.Lock()
	defer k.mu.Unlock()
	repository := markOfRepository(at.name)
	maps.DeleteFunc(k.there, func(m mark, _ int64) bool { return m.repository == repository })
}
