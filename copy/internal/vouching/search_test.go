package vouching

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// place is a Place in memory.
type place struct {
	listed    []imgspecv1.Descriptor
	listErr   error
	documents map[digest.Digest]endpoint.Document
	tags      map[string]endpoint.Document
	blobs     map[digest.Digest][]byte
	read      int // blobs that were read
}

var errAbsent = errors.New("absent")

func (p *place) Referrers(context.Context, digest.Digest, string) ([]imgspecv1.Descriptor, error) {
	return p.listed, p.listErr
}

func (p *place) Manifest(_ context.Context, d digest.Digest) (endpoint.Document, error) {
	doc, ok := p.documents[d]
	if !ok {
		return doc, errAbsent
	}
	return doc, nil
}

func (p *place) Content(_ context.Context, b endpoint.Blob) ([]byte, error) {
	p.read++
	content, ok := p.blobs[b.Digest]
	if !ok {
		return nil, errAbsent
	}
	return content, nil
}

func (p *place) Tagged(_ context.Context, tag string) (endpoint.Document, error) {
	doc, ok := p.tags[tag]
	if !ok {
		return doc, endpoint.ErrNotFound
	}
	return doc, nil
}

// attach adds an artifact, and returns its digest.
func (p *place) attach(a original.Artifact) digest.Digest {
	if p.documents == nil {
		p.documents, p.blobs = map[digest.Digest]endpoint.Document{}, map[digest.Digest][]byte{}
	}
	p.listed = append(p.listed, a.Descriptor())
	p.documents[a.Document.Digest] = a.Document
	for _, layer := range a.Layers {
		p.blobs[layer.Descriptor.Digest] = layer.Content
	}
	return a.Document.Digest
}

func search(t testing.TB, p *place, statements []Statement, keys ...signature.Verifier) ([]digest.Digest, error) {
	return Said(t.Context(), semaphore.NewWeighted(1), p, facts().Stripped.Digest, statements, keys) // one at a time: place counts
}

// TestSaid finds what an earlier copy has said among what others have, and what it has said of
// another policy.
func TestSaid(t *testing.T) {
	ours, foreign := newKey(t), newKey(t)
	now, before := Statements(facts(), noon), Statements(facts(), noon.Add(-time.Hour))
	other := facts()
	other.Policy.Digest = of("a")
	p := &place{}
	artifact := func(s Statement, by signature.Signer) original.Artifact {
		return Artifact(facts().Stripped, s, sign(t, s, by))
	}
	for _, s := range Statements(facts(), noon) {
		p.attach(artifact(s, foreign))
	}
	p.attach(artifact(Statements(other, noon)[1], ours))
	said, err := search(t, p, now, ours)
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{"", ""}, said)

	want := []digest.Digest{p.attach(artifact(before[0], ours)), p.attach(artifact(before[1], ours))}
	said, err = search(t, p, now, ours)
	require.NoError(t, err)
	assert.Equal(t, want, said)

	again := p.attach(artifact(before[0], ours))
	for range 2 {
		said, err = search(t, p, now, ours)
		require.NoError(t, err)
		assert.Equal(t, []digest.Digest{min(want[0], again), want[1]}, said, "the order of the list does not matter")
		slices.Reverse(p.listed)
	}
}

// TestSaidReadsWhatMayBeOurs: of what strangers attach nothing is read that cannot be ours, and
// nothing of it fails.
func TestSaidReadsWhatMayBeOurs(t *testing.T) {
	key := newKey(t)
	s := Statements(facts(), noon)
	bundle := sign(t, s[0], key)
	good := Artifact(facts().Stripped, s[0], bundle)
	part := func(size int64, mediaType string) original.Part {
		return original.Part{Descriptor: imgspecv1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(bundle), Size: size}, Content: bundle}
	}
	stated := map[string]string{predicateAnnotation: SignaturePredicate}
	carry := func(annotations map[string]string, layers ...original.Part) original.Artifact {
		return original.Carry(MediaType, facts().Stripped, layers, annotations)
	}
	for name, c := range map[string]struct {
		attached original.Artifact
		read     int
	}{
		"another predicate":  {carry(map[string]string{predicateAnnotation: "https://example.com"}, part(10, MediaType)), 0},
		"no predicate":       {carry(nil, part(10, MediaType)), 0},
		"two layers":         {carry(stated, part(10, MediaType), good.Config), 0},
		"another type":       {carry(stated, part(10, "application/json")), 0},
		"a large bundle":     {carry(stated, part(maxBundle+1, MediaType)), 0},
		"one that is ours":   {good, 1},
		"another's artifact": {original.Carry("application/vnd.example", facts().Stripped, []original.Part{part(10, MediaType)}, stated), 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := &place{}
			d := p.attach(c.attached)
			said, err := search(t, p, s[:1], key)
			require.NoError(t, err)
			assert.Equal(t, c.read, p.read)
			assert.Equal(t, c.read == 1, said[0] == d)
		})
	}
	p := &place{}
	p.attach(Artifact(facts().Stripped, s[1], bundle))
	said, err := search(t, p, s, key)
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{"", ""}, said, "it is stated to be the other one, and nobody finds it")
	p = &place{}
	p.attach(good)
	p.blobs = nil
	p.listErr = errors.New("there may be more")
	p.listed = append(p.listed, imgspecv1.Descriptor{Digest: of("b")})
	said, err = search(t, p, s[:1], key)
	require.NoError(t, err)
	assert.Empty(t, said[0], "what cannot be read is not there")
}

// TestSaidByTag finds what a registry can only list by a tag of ours.
func TestSaidByTag(t *testing.T) {
	key := newKey(t)
	s := Statements(facts(), noon)[:1]
	p := &place{}
	d := p.attach(Artifact(facts().Stripped, s[0], sign(t, s[0], key)))
	merged, _, err := endpoint.MergeReferrers(nil, p.listed)
	require.NoError(t, err)
	p.listed, p.listErr = nil, &endpoint.NotListableError{}
	for tag, want := range map[string]digest.Digest{
		"sha256-" + of("1").Encoded() + ".original": d, "sha256-" + of("2").Encoded() + ".original": "",
	} {
		p.tags = map[string]endpoint.Document{tag: endpoint.NewDocument("", imgspecv1.MediaTypeImageIndex, merged)}
		said, err := search(t, p, s, key)
		require.NoError(t, err)
		assert.Equal(t, want, said[0])
	}
}

// TestTooManyBundles are not looked into, so that nobody makes copies read without end.
func TestTooManyBundles(t *testing.T) {
	p := &place{}
	for i := range maxSearched + 1 {
		d := digest.FromString(fmt.Sprint(i))
		p.listed = append(p.listed, imgspecv1.Descriptor{Digest: d, ArtifactType: MediaType}, imgspecv1.Descriptor{Digest: d, ArtifactType: "other"})
	}
	_, err := search(t, p, Statements(facts(), noon), newKey(t))
	assert.ErrorIs(t, err, errTooMany)
	p.listed = p.listed[2:]
	_, err = search(t, p, Statements(facts(), noon), newKey(t))
	assert.NoError(t, err)
}

// TestSaidEndsWithTheContext.
func TestSaidEndsWithTheContext(t *testing.T) {
	because := errors.New("because")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(because)
	_, err := Said(ctx, semaphore.NewWeighted(1), &place{}, of("1"), nil, nil)
	assert.ErrorIs(t, err, because)
}

// TestArtifact holds what carries a bundle against what cosign writes and reads.
func TestArtifact(t *testing.T) {
	a := Artifact(facts().Stripped, Statements(facts(), noon)[1], []byte("bundle"))
	assert.JSONEq(t, `{
		"schemaVersion": 2,
		"mediaType": "application/vnd.oci.image.manifest.v1+json",
		"artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
		"config": {
			"mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
			"digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
		},
		"layers": [{
			"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "size": 6, "digest": "`+digest.FromString("bundle").String()+`"
		}],
		"subject": {"mediaType": "application/vnd.oci.image.index.v1+json", "size": 1000, "digest": "sha256:`+strings.Repeat("1", 64)+`"},
		"annotations": {
			"dev.sigstore.bundle.content": "dsse-envelope",
			"dev.sigstore.bundle.predicateType": "https://slsa.dev/verification_summary/v1"
		}
	}`, string(a.Document.Bytes))
	assert.Equal(t, original.RoleNone, original.KindOf(a.Descriptor().ArtifactType, a.Descriptor().Annotations))
}

// TestCosignHasSaid: a signature that cosign itself has made with the key counts, and what it has
// attested besides does not matter.
func TestCosignHasSaid(t *testing.T) {
	f := imagetest.SignedLists()
	list := f.Digest(imagetest.Top)
	p := signedByCosign(t, list)
	require.Len(t, p.listed, 2, "a signature, and an attestation")
	theirs := facts()
	theirs.Stripped.Digest = list
	for key, want := range map[string]bool{"cosign.pub": true, "other.pub": false} {
		verifier, err := signature.LoadVerifierFromPEMFile(imagetest.SignedFile(key), crypto.SHA256)
		require.NoError(t, err)
		said, err := Said(t.Context(), semaphore.NewWeighted(1), p, list, Statements(theirs, noon), []signature.Verifier{verifier})
		require.NoError(t, err)
		assert.Equal(t, want, said[0] != "", key)
		assert.Empty(t, said[1])
	}
}

// signedByCosign is the place where cosign has attached bundles to a list.
func signedByCosign(t testing.TB, list digest.Digest) *place {
	p := &place{documents: map[digest.Digest]endpoint.Document{}, blobs: map[digest.Digest][]byte{}}
	dir := filepath.Join(imagetest.SignedFile("bundles"), "blobs", "sha256")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		require.NoError(t, err)
		d := digest.FromBytes(content)
		p.blobs[d] = content
		var doc imgspecv1.Manifest
		if json.Unmarshal(content, &doc) == nil && doc.Subject != nil && doc.Subject.Digest == list {
			p.documents[d] = endpoint.NewDocument(d, doc.MediaType, content)
			p.listed = append(p.listed, imgspecv1.Descriptor{Digest: d, ArtifactType: doc.ArtifactType})
		}
	}
	return p
}
