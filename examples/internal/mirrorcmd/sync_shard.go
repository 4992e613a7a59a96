package mirrorcmd

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// A shard is a part of a file: that with the given number, of as many as there are. The zero value
// is all of it.
//
// Destination repositories are what is divided, by rendezvous hashing: each goes to the shard for
// which a hash of both is the highest. So the parts depend on nothing but the repositories' names,
// and one more shard takes its share from all others and moves nothing else.
type shard struct{ number, of uint64 }

var _ pflag.Value = (*shard)(nil)

const maxShards = 100_000

func (s *shard) Set(text string) error {
	i, n, ok := strings.Cut(text, "/")
	number, err := strconv.ParseUint(i, 10, 32)
	of, err2 := strconv.ParseUint(n, 10, 32)
	switch {
	case !ok || err != nil || err2 != nil:
		return errors.New("write I/N, such as 0/4")
	case of == 0 || of > maxShards:
		return fmt.Errorf("there must be from 1 to %d shards", maxShards)
	case number >= of:
		return fmt.Errorf("shards count from 0: the last of %d is %d/%d", of, of-1, of)
	}
	s.number, s.of = number, of
	return nil
}

func (s *shard) String() string {
	if s.of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.number, s.of)
}

func (*shard) Type() string { return "I/N" }

// has reports whether the shard is the one of a repository.
func (s *shard) has(key string) bool { return s.of <= 1 || shardOf(key, s.of) == s.number }

// hasImage reports whether the shard is the one of a destination, as transports.ImageName writes
// it.
func (s *shard) hasImage(destination string) bool {
	if s.of <= 1 {
		return true
	}
	ref, err := parseReference("destination", destination)
	return err != nil || s.has(syncfile.Key(ref))
}

func shardOf(key string, of uint64) uint64 {
	sum := sha256.Sum256([]byte(key))
	h := binary.BigEndian.Uint64(sum[:8])
	best, highest := uint64(0), uint64(0)
	for i := range of {
		if weight := mix(h ^ mix(i+1)); i == 0 || weight > highest {
			best, highest = i, weight
		}
	}
	return best
}

// mix is the finalizer of SplitMix64: every bit of the result depends on every bit of x.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
