package trust

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/internal/turns"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A mirror is what is written to a place, and what it is verified with.
type mirror struct {
	t        testing.TB
	registry registrytest.Options
	layout   string // the directory of a layout, in place of a registry

	list     manifest.Document
	children []manifest.Document // nested lists
	carriers []original.Artifact
	o        Options

	placed func(at types.ImageReference) // is called when all is written; may be nil
}

// document is what a fixture has under a name.
func document(f *imagetest.Fixture, name string) manifest.Document {
	content, mediaType := f.Document(name)
	return endpoint.NewDocument(f.Digest(name), mediaType, content)
}

// edited returns a document with a text replaced.
func edited(t testing.TB, doc manifest.Document, old, by string) manifest.Document {
	require.Contains(t, string(doc.Bytes), old)
	return asDocument(bytes.Replace(doc.Bytes, []byte(old), []byte(by), 1))
}

func asDocument(content []byte) manifest.Document {
	return endpoint.NewDocument(digest.FromBytes(content), imgspecv1.MediaTypeImageIndex, content)
}

// stripped returns a list with the given entries only.
func stripped(t testing.TB, of manifest.Document, keep ...int) manifest.Document {
	list, err := manifest.Parse(of.Bytes, of.MediaType)
	require.NoError(t, err)
	var edits []manifest.ListEdit
	for i := len(list.Instances()) - 1; i >= 0; i-- {
		if !slices.Contains(keep, i) {
			edits = append(edits, manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: i})
		}
	}
	require.NoError(t, list.EditInstances(edits))
	content, err := list.Serialize()
	require.NoError(t, err)
	return asDocument(content)
}

// renamed returns a list whose entry names another nested list.
func renamed(t testing.TB, of manifest.Document, index int, by manifest.Document) manifest.Document {
	list, err := manifest.Parse(of.Bytes, of.MediaType)
	require.NoError(t, err)
	require.NoError(t, list.EditInstances([]manifest.ListEdit{{
		ListOperation: manifest.ListOpUpdate, UpdateIndex: index, UpdateDigest: by.Digest, UpdateSize: int64(len(by.Bytes)),
	}}))
	content, err := list.Serialize()
	require.NoError(t, err)
	return asDocument(content)
}

func descriptor(doc manifest.Document) imgspecv1.Descriptor {
	return imgspecv1.Descriptor{MediaType: doc.MediaType, Digest: doc.Digest, Size: int64(len(doc.Bytes))}
}

// carry attaches originals and signatures to the list, in the plain form or not.
func (m *mirror) carry(plain bool, signatures []original.Signature, documents ...manifest.Document) {
	all := []original.Artifact{original.Of(descriptor(m.list), documents, "publisher.example/claimed")}
	for _, s := range signatures {
		a, err := original.OfSignature(descriptor(m.list), s)
		require.NoError(m.t, err)
		all = append(all, a)
	}
	for _, a := range all {
		if plain {
			a = original.Plain(a)
		}
		m.carriers = append(m.carriers, a)
	}
}

func opener(content []byte) endpoint.Opener {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}

// place writes everything, and returns where.
func (m *mirror) place() types.ImageReference {
	t := m.t
	ref, err := layout.NewReference(m.layout, "v1")
	if m.layout == "" {
		ref, err = dockerRef(t, registrytest.Start(t, m.registry).Host()+"/team/app:v1"), nil
	}
	require.NoError(t, err)
	dst, _, err := access.OpenDestination(t.Context(), ref, insecure(), &registry.Shared{})
	require.NoError(t, err)
	defer func() { require.NoError(t, dst.Close()) }()
	for _, child := range m.children {
		require.NoError(t, dst.PutManifest(t.Context(), child))
	}
	require.NoError(t, dst.PutManifest(t.Context(), m.list))
	var listed []imgspecv1.Descriptor
	for _, a := range m.carriers {
		for i, part := range append([]original.Part{a.Config}, a.Layers...) {
			b := endpoint.Blob{Digest: part.Descriptor.Digest, Size: part.Descriptor.Size, MediaType: part.Descriptor.MediaType, Config: i == 0}
			_, err := dst.PutBlob(t.Context(), b, opener(part.Content))
			require.NoError(t, err)
		}
		require.NoError(t, dst.PutManifest(t.Context(), a.Document))
		listed = append(listed, a.Descriptor())
	}
	if len(listed) > 0 {
		referrers, err := endpoint.ReferrersTo(dst)
		require.NoError(t, err)
		require.NoError(t, attach.AnnounceCarriers(t.Context(), attach.Destination{Referrers: referrers}, m.list.Digest, listed))
	}
	require.NoError(t, dst.PutTop(t.Context(), m.list, nil))
	if m.placed != nil {
		m.placed(ref)
	}
	return ref
}

func insecure() *types.SystemContext {
	return &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}
}

func (m *mirror) verify() (*Verification, error) { return verifyAt(m.t, m.place(), m.o) }

func verifyAt(t testing.TB, ref types.ImageReference, o Options) (*Verification, error) {
	src, _, err := access.OpenSource(t.Context(), access.Own(ref), insecure(), &registry.Shared{})
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	return Verify(t.Context(), src, o, Means{Turns: &turns.Turns[*signature.PolicyContext]{}, Limit: budget.New(0)})
}

// A scene is what mirrors are made of: a publisher's lists, and signatures of them.
type scene struct {
	t         testing.TB
	publisher *publisher
	fixture   *imagetest.Fixture
	v1, v2    manifest.Document // v2 has another image for arm64
	nested    manifest.Document
	inner     manifest.Document
	policy    *signature.PolicyContext
}

func newScene(t testing.TB) *scene {
	f := imagetest.SignedLists()
	s := &scene{
		t: t, publisher: newPublisher(t), fixture: f,
		v1: document(f, imagetest.Top), v2: document(f, "v2"), nested: document(f, "nested"), inner: document(f, "inner"),
	}
	s.policy = judged(t, sigstoreKey(t, s.publisher.public)).Context
	return s
}

// mirror is one of v1, stripped to amd64 and arm64, and signed by a tag of cosign's.
func (s *scene) mirror() *mirror {
	m := s.bare(stripped(s.t, s.v1, 0, 1))
	m.carry(false, []original.Signature{s.publisher.tagged(s.v1, origin)}, s.v1)
	return m
}

// nestedMirror is one of nested, stripped to amd64 and what is left of the list in it.
func (s *scene) nestedMirror(inner manifest.Document) *mirror {
	m := s.bare(stripped(s.t, renamed(s.t, s.nested, 1, inner), 0, 1))
	m.children = []manifest.Document{inner}
	m.carry(false, []original.Signature{s.publisher.tagged(s.nested, origin)}, s.nested, s.inner)
	return m
}

// bare is a mirror to whose list nothing is attached.
func (s *scene) bare(list manifest.Document) *mirror {
	return &mirror{t: s.t, list: list, o: Options{Origin: dockerRef(s.t, origin), Policy: s.policy}}
}

// altering is a mirror whose list is not what it should be.
func (s *scene) altering(list manifest.Document) *mirror {
	m := s.bare(list)
	m.carry(false, []original.Signature{s.publisher.tagged(s.v1, origin)}, s.v1)
	return m
}

func TestVerify(t *testing.T) {
	s := newScene(t)
	both := func(order bool) *mirror { // from which the same is left
		m := s.bare(stripped(t, s.v1, 0, 2))
		require.Equal(t, m.list, stripped(t, s.v2, 0, 2))
		if order {
			m.carry(false, nil, s.v2)
		}
		m.carry(false, []original.Signature{s.publisher.tagged(s.v1, origin)}, s.v1)
		if !order {
			m.carry(false, nil, s.v2)
		}
		return m
	}
	for name, c := range map[string]struct {
		make    func(m *mirror) *mirror
		of      manifest.Document // "" is v1
		removed int               // 0 is 6
	}{
		"referrers API": {make: func(m *mirror) *mirror { return m }},
		"referrers tag": {make: func(m *mirror) *mirror {
			m.registry.NoReferrers = true
			return m
		}},
		"a tag of its own": {make: func(m *mirror) *mirror {
			m.registry.NoReferrers, m.registry.DigestTags = true, true
			return m
		}},
		"listed without types": {make: func(m *mirror) *mirror {
			m.registry.Referrers = registrytest.ReferrersBare
			return m
		}},
		"layout": {make: func(m *mirror) *mirror {
			m.layout = filepath.Join(t.TempDir(), "layout")
			return m
		}},
		"plain": {make: func(m *mirror) *mirror {
			m.carriers = nil
			m.carry(true, []original.Signature{s.publisher.tagged(s.v1, origin)}, s.v1)
			return m
		}},
		"a bundle": {make: func(m *mirror) *mirror {
			m.carriers, m.o.Policy, m.o.Bundles = nil, nil, s.publisher.verifier()
			m.carry(false, []original.Signature{s.publisher.signedByBundle(s.v1)}, s.v1)
			return m
		}},
		"nothing removed":        {make: func(*mirror) *mirror { return s.altering(s.v1) }, removed: -1},
		"nested":                 {make: func(*mirror) *mirror { return s.nestedMirror(stripped(t, s.inner, 0)) }, of: s.nested, removed: 2},
		"two originals":          {make: func(*mirror) *mirror { return both(false) }},
		"two originals, swapped": {make: func(*mirror) *mirror { return both(true) }},
	} {
		t.Run(name, func(t *testing.T) {
			m := s.mirror()
			m.t = t
			m = c.make(m)
			v, err := m.verify()
			require.NoError(t, err)
			of, removed := c.of, c.removed
			if of.Digest == "" {
				of = s.v1
			}
			if removed == 0 {
				removed = 6
			}
			assert.True(t, v.Proven)
			assert.Empty(t, v.Reason)
			assert.Equal(t, Schema, v.Schema)
			assert.Equal(t, "docker://"+origin, v.Origin)
			assert.Equal(t, m.list.Digest, v.List)
			assert.Equal(t, of.Digest, v.Original)
			assert.Equal(t, name == "plain", v.Plain)
			assert.Equal(t, "publisher.example/claimed", v.Claim)
			assert.Equal(t, max(0, removed), v.Removal.Count())
			assert.NotEmpty(t, v.Carrier)
			require.Len(t, v.Signatures, 1)
			assert.True(t, v.Signatures[0].Accepted)
		})
	}
}

// A tampering is a mirror of which somebody has done something, and why it is not proven.
type tampering struct {
	name   string
	reason Reason
	m      *mirror
}

func tamperings(t *testing.T, s *scene) []tampering {
	p, stranger := s.publisher, newStranger(t)
	list := stripped(t, s.v1, 0, 1)
	arm64, other := s.fixture.Digest("arm64").String(), s.fixture.Digest("arm64-v2").String()
	with := func(change func(m *mirror)) *mirror {
		m := s.mirror()
		change(m)
		return m
	}
	carrying := func(signatures []original.Signature, documents ...manifest.Document) *mirror {
		m := s.bare(list)
		m.carry(false, signatures, documents...)
		return m
	}
	signed := []original.Signature{p.tagged(s.v1, origin)}
	ofOther := p.tagged(s.v2, origin)
	ofOther.Of = s.v1.Digest

	poisoned := edited(t, s.v1, s.fixture.Digest("ppc64le").String(), digest.FromString("malware").String())
	relabelled := p.tagged(s.v1, origin)
	relabelled.Of = poisoned.Digest

	f := imagetest.SignedLists()
	f.Image("mallory", imagetest.Platform("linux/mips64le"))
	f.List("added", imagetest.Entries("amd64", "arm64", "mallory"))
	f.List("swapped", imagetest.Entries("arm64", "amd64"))
	f.List("twice", imagetest.Entries("amd64", "arm64", "arm64"))

	inner := stripped(t, s.inner, 0)
	innerAltered := edited(t, inner, arm64, other)

	plain := s.bare(list)
	plain.carry(true, signed, s.v1)
	ofAnother := &mirror{t: t, list: stripped(t, s.v1, 2, 3)}
	ofAnother.carry(false, signed, s.v1)
	many := s.bare(list)
	var crowd []original.Signature
	for i := range maxSignatures + 1 {
		crowd = append(crowd, original.Signature{Of: s.v1.Digest, Kind: original.Lookaside, Blob: fmt.Append(nil, i)})
	}
	many.carry(false, crowd, s.v1)

	return []tampering{
		{"an entry's digest", EntryDigest, s.altering(edited(t, list, arm64, digest.FromString("malware").String()))},
		{"an entry's platform", EntryPlatform, s.altering(edited(t, list, `"arm64"`, `"riscv64"`))},
		{"the order", OrderChanged, s.altering(document(f, "swapped"))},
		{"an added entry", EntryAdded, s.altering(document(f, "added"))},
		{"an entry twice", EntryAdded, s.altering(document(f, "twice"))},
		{"an entry of another version", EntryDigest, s.altering(stripped(t, s.v2, 0, 1))},
		{"an entry's annotation", EntryAltered, s.altering(edited(t, list, `"platform"`, `"annotations":{"a":"b"},"platform"`))},
		{"the list's annotation", RestChanged, s.altering(edited(t, list, `"schemaVersion"`, `"annotations":{"a":"b"},"schemaVersion"`))},
		{"white space", LayoutChanged, s.altering(edited(t, list, `"manifests":[`, `"manifests":[ `))},
		{"keys twice", ListUnreadable, s.altering(edited(t, list, `"manifests":[`, `"manifests":[],"manifests":[`))},

		{"the original swapped, its signatures left out", NoSignature, carrying(signed, poisoned)},
		{"the original swapped, the signatures relabelled", OtherDigest, carrying([]original.Signature{relabelled}, poisoned)},
		{"the original of another list", OriginalOfAnother, s.otherOriginal()},
		{"an original that refers to another list", OriginalOfAnother, with(func(m *mirror) {
			m.registry.NoReferrers, m.carriers = true, ofAnother.carriers
		})},
		{"no original", NoOriginal, with(func(m *mirror) { m.carriers = nil })},
		{"the original altered", OriginalUnreadable, with(func(m *mirror) { m.overwrite(m.carriers[0].Layers[0], "[]") })},
		{"the original lost", OriginalUnreadable, with(func(m *mirror) { m.overwrite(m.carriers[0].Layers[0], "") })},
		{"the plain form altered", OriginalUnreadable, func() *mirror {
			plain.overwrite(plain.carriers[0].Layers[0], strings.Replace(string(plain.carriers[0].Layers[0].Content), arm64, other, 1))
			return plain
		}()},

		{"a nested list altered", NestedUnproven, s.nestedMirror(innerAltered)},
		{"a nested list missing", NestedMissing, func() *mirror {
			m := s.nestedMirror(inner)
			m.children = nil
			return m
		}()},
		{"the original of a nested list missing", NestedMissing, func() *mirror {
			m := s.nestedMirror(inner)
			m.carriers = nil
			m.carry(false, []original.Signature{p.tagged(s.nested, origin)}, s.nested)
			return m
		}()},

		{"a signature swapped", OtherDigest, carrying([]original.Signature{ofOther}, s.v1)},
		{"a signature altered", SignatureUnreadable, with(func(m *mirror) { m.overwrite(m.carriers[1].Layers[0], "{}") })},
		{"no signature", NoSignature, carrying(nil, s.v1)},
		{"too many signatures", TooManySignatures, many},
		{"another origin", WrongIdentity, with(func(m *mirror) { m.o.Origin = dockerRef(t, "example.com/other:v1") })},
		{"an origin with another digest", OtherOrigin, with(func(m *mirror) {
			m.o.Origin = dockerRef(t, "example.com/app@"+s.v2.Digest.String())
		})},
		{"another key", WrongKey, with(func(m *mirror) { m.o.Policy = judged(t, sigstoreKey(t, stranger.public)).Context })},
		{"a stranger's signature", WrongKey, carrying([]original.Signature{stranger.tagged(s.v1, origin)}, s.v1)},
		{"a policy that accepts anything", PolicyDemandsNothing, with(func(m *mirror) {
			m.o.Policy = judged(t, signature.NewPRInsecureAcceptAnything()).Context
		})},
		{"bundles and a policy", BundlesOnly, carrying([]original.Signature{p.signedByBundle(s.v1)}, s.v1)},
		{"a statement about another list", OtherDigest, func() *mirror {
			m := carrying([]original.Signature{referringBundle(t, s.v1, p.bundle(statementOf(s.v2.Digest, SignaturePredicate)))}, s.v1)
			m.o.Policy, m.o.Bundles = nil, p.verifier()
			return m
		}()},
		{"a stranger's bundle", BundleRefused, func() *mirror {
			m := carrying([]original.Signature{stranger.signedByBundle(s.v1)}, s.v1)
			m.o.Policy, m.o.Bundles = nil, p.verifier()
			return m
		}()},

		{"nobody judges", NobodyJudges, with(func(m *mirror) { m.o.Policy = nil })},
		{"nobody tells", OriginalUnknown, with(func(m *mirror) {
			m.carriers, m.registry.NoReferrers, m.registry.ForbidAbsentTags = nil, true, true
		})},
	}
}

// otherOriginal is a mirror to which the signed original of another list is attached.
func (s *scene) otherOriginal() *mirror {
	m := s.bare(stripped(s.t, s.v1, 2, 3))
	f := imagetest.New()
	f.Image("a", imagetest.Platform("linux/amd64"), imagetest.Layers())
	f.Image("b", imagetest.Platform("linux/arm64"), imagetest.Layers())
	f.List(imagetest.Top, imagetest.Entries("a", "b"))
	other := document(f, imagetest.Top)
	m.carry(false, []original.Signature{s.publisher.tagged(other, origin)}, other)
	return m
}

// overwrite makes the mirror a layout that has other content in the place of a blob, or, if that is
// "", nothing.
func (m *mirror) overwrite(part original.Part, content string) {
	m.layout = filepath.Join(m.t.TempDir(), "layout")
	m.placed = func(types.ImageReference) {
		file := filepath.Join(m.layout, "blobs", "sha256", part.Descriptor.Digest.Encoded())
		require.NoError(m.t, os.Remove(file))
		if content != "" {
			require.NoError(m.t, os.WriteFile(file, []byte(content), 0o600))
		}
	}
}

// TestTamperings: whatever is done to a mirror, it is refused, and for its own reason.
func TestTamperings(t *testing.T) {
	s := newScene(t)
	v, err := s.mirror().verify()
	require.NoError(t, err, "without any")
	require.True(t, v.Proven)
	for _, c := range tamperings(t, s) {
		t.Run(c.name, func(t *testing.T) {
			v, err := c.m.verify()
			refused, ok := errors.AsType[*Error](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, c.reason, refused.Reason, "%v", err)
			assert.ErrorContains(t, err, words[c.reason].what)
			assert.False(t, v.Proven)
			assert.Equal(t, c.reason, v.Reason)
			assert.Equal(t, err.Error(), v.Problem)
			if c.reason != NobodyJudges {
				assert.Equal(t, c.m.list.Digest, v.List)
			}
		})
	}
}

// TestNearestOriginal: of several originals none of which is proven, the one that came nearest is
// told, in whatever order they are read.
func TestNearestOriginal(t *testing.T) {
	s := newScene(t)
	stranger := newStranger(t)
	list := stripped(t, s.v1, 0, 2) // is left of v1 and v2
	for _, c := range []struct {
		signatures []original.Signature // of both
		want       Reason
		of         manifest.Document
	}{
		{nil, NoSignature, manifest.Document{}}, // of either
		{[]original.Signature{stranger.tagged(s.v2, origin)}, WrongKey, s.v2},
		{[]original.Signature{stranger.tagged(s.v2, origin), s.publisher.tagged(s.v1, "example.com/other:v1")}, WrongIdentity, s.v1},
	} {
		orders := map[bool]bool{} // whether v1 comes before v2
		for i := range 20 {
			m := s.bare(list)
			for _, of := range []manifest.Document{s.v1, s.v2, s.nested} {
				m.carriers = append(m.carriers, original.Of(descriptor(list), []manifest.Document{of}, fmt.Sprint(i)))
			}
			orders[m.carriers[0].Document.Digest < m.carriers[1].Document.Digest] = true
			for _, signed := range c.signatures {
				a, err := original.OfSignature(descriptor(list), signed)
				require.NoError(t, err)
				m.carriers = append(m.carriers, a)
			}
			v, err := m.verify()
			require.Error(t, err)
			assert.Equal(t, c.want, v.Reason)
			assert.Equal(t, 6, v.Removal.Count())
			if c.of.Digest != "" {
				assert.Equal(t, c.of.Digest, v.Original)
			}
		}
		assert.Len(t, orders, 2)
	}
}

// TestEveryReasonIsMet: there is a way to each reason that words explain.
func TestEveryReasonIsMet(t *testing.T) {
	met := map[Reason]bool{Absent: true, NotAList: true, TooMuch: true, NothingDemanded: true} // in other tests
	for _, c := range refusals(t) {
		met[c.reason] = true
	}
	for _, c := range tamperings(t, newScene(t)) {
		met[c.reason] = true
	}
	for reason := range words {
		assert.True(t, met[reason], reason)
	}
}

// TestVerifyWhatIsNoList says what is there instead.
func TestVerifyWhatIsNoList(t *testing.T) {
	s := newScene(t)
	v, err := Verify(t.Context(), nil, s.mirror().o, Means{Name: "docker://mirror.example/app:v1"})
	refused, ok := errors.AsType[*Error](err)
	require.True(t, ok)
	assert.Equal(t, Absent, refused.Reason)
	assert.ErrorContains(t, err, "the destination names nothing (docker://mirror.example/app:v1); check")
	assert.Equal(t, Absent, v.Reason)

	reg := registrytest.Start(t, registrytest.Options{})
	s.fixture.PushTo(reg, "team/app", "v1", "amd64")
	v, err = verifyAt(t, dockerRef(t, reg.Host()+"/team/app:v1"), s.mirror().o)
	refused, ok = errors.AsType[*Error](err)
	require.True(t, ok)
	assert.Equal(t, NotAList, refused.Reason)
	assert.Equal(t, s.fixture.Digest("amd64"), v.List)
}

// TestVerifyBounds: a registry that lists without end, or has blobs without end, is left.
func TestVerifyBounds(t *testing.T) {
	s := newScene(t)
	m := s.bare(stripped(t, s.v1, 0, 1))
	reg := registrytest.Start(t, registrytest.Options{NoReferrers: true})
	var listed []imgspecv1.Descriptor
	for i := range 1001 {
		listed = append(listed, imgspecv1.Descriptor{
			MediaType: imgspecv1.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 1, ArtifactType: original.ArtifactType,
		})
	}
	index, _, err := endpoint.MergeReferrers(nil, listed)
	require.NoError(t, err)
	reg.PutManifest("team/app", endpoint.ReferrersTag(m.list.Digest), imgspecv1.MediaTypeImageIndex, index)
	reg.PutManifest("team/app", "v1", m.list.MediaType, m.list.Bytes)
	_, err = verifyAt(t, dockerRef(t, reg.Host()+"/team/app:v1"), m.o)
	refused, ok := errors.AsType[*Error](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, TooMuch, refused.Reason)

	r := &reader{dst: endpoint.Only(nil, s.v1)}
	require.NoError(t, r.account(maxReadBytes))
	err = r.account(1)
	refused, ok = errors.AsType[*Error](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, TooMuch, refused.Reason)
	r = &reader{dst: endpoint.Only(nil, s.v1)}
	for range maxReads {
		require.NoError(t, r.account(1))
	}
	assert.Error(t, r.account(1))

	r = &reader{dst: endpoint.Only(endless{}, s.v1), limit: budget.New(0)}
	require.NoError(t, r.account(maxReadBytes))
	_, err = r.blobs(t.Context())(imgspecv1.Descriptor{Size: 1})
	refused, ok = errors.AsType[*Error](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, TooMuch, refused.Reason)
	_, err = r.document(t.Context(), original.Original{}, s.v1.Digest)
	refused, ok = errors.AsType[*Error](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, TooMuch, refused.Reason)
}

// TestVerifyEndsBlobs: of a blob without end, one byte more is read than its manifest says.
func TestVerifyEndsBlobs(t *testing.T) {
	content, err := endpoint.ReadUnverified(t.Context(), endless{}, endpoint.Blob{Size: 3})
	require.NoError(t, err)
	assert.Len(t, content, 4)
}

// endless is a source of blobs that do not end.
type endless struct{ endpoint.Source }

func (endless) Blob(context.Context, endpoint.Blob) (io.ReadCloser, error) { return endless{}, nil }

func (endless) Manifest(context.Context, digest.Digest) (endpoint.Document, error) {
	return endpoint.Document{}, endpoint.ErrNotFound
}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func (endless) Close() error { return nil }

// TestVerifyCannotRead: what is not told is no verdict.
func TestVerifyCannotRead(t *testing.T) {
	s := newScene(t)
	nested, inner := s.nestedMirror(stripped(t, s.inner, 0)), stripped(t, s.inner, 0)
	for name, c := range map[string]struct {
		m    *mirror
		path string
	}{
		"a blob":        {s.mirror(), "/blobs/" + s.v1.Digest.String()},
		"the referrers": {s.mirror(), "/referrers/"},
		"a carrier":     {s.mirror(), "/manifests/" + s.mirror().carriers[0].Document.Digest.String()},
		"a nested list": {nested, "/manifests/" + inner.Digest.String()},
		"a signature":   {s.mirror(), "/blobs/" + s.mirror().carriers[1].Layers[1].Descriptor.Digest.String()},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.m
			m.t = t
			placed := false
			m.placed = func(types.ImageReference) { placed = true }
			m.registry.Script = func(_ int, req *http.Request) registrytest.Answer {
				if !placed || req.Method != http.MethodGet || !strings.Contains(req.URL.Path, c.path) {
					return registrytest.Answer{}
				}
				return registrytest.Answer{Status: http.StatusForbidden}
			}
			v, err := m.verify()
			require.Error(t, err)
			_, refused := errors.AsType[*Error](err)
			assert.False(t, refused, "%v", err)
			assert.Nil(t, v)
		})
	}
}

// TestVerifyBesideMany: more signatures than are read do no harm if one of those that are is
// accepted.
func TestVerifyBesideMany(t *testing.T) {
	s := newScene(t)
	m := s.mirror()
	for m.carriers[1].Document.Digest > "sha256:8" { // signatures are random: half of all others are to have higher digests
		m = s.mirror()
	}
	for i := 0; len(m.carriers) < maxSignatures+2; i++ { // the original, and a signature too many
		a, err := original.OfSignature(descriptor(m.list), original.Signature{Of: s.v1.Digest, Kind: original.Lookaside, Blob: fmt.Append(nil, i)})
		require.NoError(t, err)
		if a.Document.Digest > m.carriers[1].Document.Digest { // those with the lowest digests are read
			m.carriers = append(m.carriers, a)
		}
	}
	v, err := m.verify()
	require.NoError(t, err)
	assert.True(t, v.Proven)
	assert.Len(t, v.Signatures, maxSignatures)
}

// TestVerifyBesideUnreadable: what cannot be read of what somebody else has attached keeps nothing
// from being proven.
func TestVerifyBesideUnreadable(t *testing.T) {
	s := newScene(t)
	junk := original.Signature{Of: s.v1.Digest, Kind: original.Lookaside, Blob: []byte("junk")}
	for name, attach := range map[string]func(m *mirror){
		"originals": func(m *mirror) {
			first, other := m.carriers[0], m.carriers[0] // originals are read in the order of their digests
			for i := 0; other.Document.Digest >= first.Document.Digest; i++ {
				other = original.Of(descriptor(m.list), []manifest.Document{s.nested}, fmt.Sprint(i))
				m.carriers = append(m.carriers, other)
			}
		},
		"a signature": func(m *mirror) {
			a, err := original.OfSignature(descriptor(m.list), junk)
			require.NoError(t, err)
			m.carriers = append(m.carriers, a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := s.mirror()
			m.t = t
			attach(m)
			placed := false
			m.placed = func(types.ImageReference) { placed = true }
			m.registry.Script = func(_ int, req *http.Request) registrytest.Answer {
				if placed && (strings.HasSuffix(req.URL.Path, s.nested.Digest.String()) || strings.HasSuffix(req.URL.Path, junk.Digest().String())) {
					return registrytest.Answer{Status: http.StatusForbidden}
				}
				return registrytest.Answer{}
			}
			v, err := m.verify()
			require.NoError(t, err)
			assert.True(t, v.Proven)
			assert.Equal(t, s.v1.Digest, v.Original)
			if name == "a signature" {
				require.Len(t, v.Signatures, 2)
				assert.Equal(t, SignatureUnreadable, v.Signatures[1].Reason)
				assert.Contains(t, v.Signatures[1].Problem, "403")
			}
		})
	}
}
