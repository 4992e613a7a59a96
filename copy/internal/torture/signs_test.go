//go:build linux

package torture

import (
	"cmp"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature/signer"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// signers are those that runs make signatures with: each serves one at a time, and to open a key
// takes as long as many copies.
var signers = sync.OnceValues(func() (chan *signer.Signer, error) {
	pool := make(chan *signer.Signer, 2)
	for range cap(pool) {
		s, err := copytest.NewSigner()
		if err != nil {
			return nil, err
		}
		pool <- s
	}
	return pool, nil
})

// signedAs is what signatures are for.
var signedAs = copytest.Must(reference.ParseNormalizedNamed("example.com/app:v1"))

// signerPool returns signers that have to be given back.
func signerPool(t testing.TB) chan *signer.Signer {
	pool, err := signers()
	require.NoError(t, err)
	return pool
}

// unsigned says what the tag of the i-th destination leads to without a signature that was there
// before the tag named it.
func (r *run) unsigned(i int) []string {
	tag, store := 0, imagetest.RegistryStore(r.dst.Registry, repo(i))
	signed := map[string]int{} // when each digest tag was first written
	for _, e := range r.dst.History(repo(i)) {
		switch {
		case e.Kind != registrytest.EventTag:
		case e.Tag != "v1":
			signed[e.Tag] = cmp.Or(signed[e.Tag], e.Seq)
		case e.Changed:
			tag = e.Seq
		}
	}
	var c complaints
	for _, d := range reachable(store, r.top(i)) {
		name := copytest.DigestTag(d, ".sig")
		at, ok := signed[name]
		if !ok || at > tag {
			c.Errorf("%s: signed at %d, and named by the tag at %d", r.fixture.Name(d), at, tag)
		}
		c = append(c, r.badSignature(i, name, d)...)
	}
	return c
}

// reachable are the manifests and lists that d leads to, itself included, as far as they are there.
func reachable(store imagetest.Store, d digest.Digest) []digest.Digest {
	content, _, ok := store.Manifest(d)
	if !ok {
		return nil
	}
	all := []digest.Digest{d}
	var list struct{ Manifests []imgspecv1.Descriptor }
	_ = json.Unmarshal(content, &list) // the checker has read it
	for _, child := range list.Manifests {
		all = append(all, reachable(store, child.Digest)...)
	}
	return all
}

// badSignature says what is wrong with what a tag names, if it is no image with signatures of d. A
// run that begins anew what another one has not finished signs again what it writes.
func (r *run) badSignature(i int, tag string, d digest.Digest) []string {
	var c complaints
	content, _, _ := r.dst.Manifest(repo(i), tag)
	var image imgspecv1.Manifest
	if err := json.Unmarshal(content, &image); err != nil || len(image.Layers) == 0 {
		c.Errorf("%s names no image with a signature: %s", tag, content)
	}
	for _, layer := range image.Layers {
		payload, _ := r.dst.Blob(repo(i), layer.Digest)
		if !strings.Contains(string(payload), `"docker-manifest-digest":"`+d.String()+`"`) {
			c.Errorf("%s does not sign %s: %s", tag, d, payload)
		}
	}
	return c
}
