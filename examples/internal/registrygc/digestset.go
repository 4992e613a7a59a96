package registrygc

import (
	"encoding/hex"

	"github.com/opencontainers/go-digest"
)

// A digestSet is a set of digests that is small in memory: a storage can have millions of blobs.
// The zero value is empty.
type digestSet struct {
	sha256 map[[32]byte]struct{}
	others map[digest.Digest]struct{}
}

// add puts d, which is valid, into the set.
func (s *digestSet) add(d digest.Digest) {
	if sum, ok := sumOf(d); ok {
		if s.sha256 == nil {
			s.sha256 = map[[32]byte]struct{}{}
		}
		s.sha256[sum] = struct{}{}
		return
	}
	if s.others == nil {
		s.others = map[digest.Digest]struct{}{}
	}
	s.others[d] = struct{}{}
}

// has reports whether d, which is valid, is in the set.
func (s *digestSet) has(d digest.Digest) bool {
	if sum, ok := sumOf(d); ok {
		_, there := s.sha256[sum]
		return there
	}
	_, there := s.others[d]
	return there
}

func sumOf(d digest.Digest) (sum [32]byte, ok bool) {
	if d.Algorithm() != digest.SHA256 {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(d.Encoded()))
	return sum, err == nil
}
