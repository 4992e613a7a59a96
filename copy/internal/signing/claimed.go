package signing

import "github.com/opencontainers/go-digest"

// Claimed returns the digest and the docker reference that a signature is said to be about by its
// payload, which is believed. They are "" if it does not say.
func Claimed(payload []byte) (signed digest.Digest, identity string) {
	c := claimOf(payload)
	return c.digest, c.identity
}
