package original

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// changed is an artifact whose manifest was changed, with the digest that it has then.
func changed(t testing.TB, a Artifact, change func(*imgspecv1.Manifest)) Artifact {
	var image imgspecv1.Manifest
	require.NoError(t, json.Unmarshal(a.Document.Bytes, &image))
	change(&image)
	b, err := json.Marshal(image)
	require.NoError(t, err)
	a.Document.Bytes, a.Document.Digest = b, digest.FromBytes(b)
	return a
}

// packed is a plain image whose first layer is b, whatever that is.
func packed(t testing.TB, a Artifact, b []byte) Artifact {
	p := Plain(a)
	p.Layers[0].Content = b
	p.Layers[0].Descriptor.Digest = digest.FromBytes(b)
	return changed(t, p, func(m *imgspecv1.Manifest) {
		m.Layers[0].Digest, m.Layers[0].Size = digest.FromBytes(b), int64(len(b))
	})
}

// tarred is a tar with files of these names, all with the same content.
func tarred(t testing.TB, content string, typeflag byte, names ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: typeflag, Name: name, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// sparse is a tar of a few blocks, whose file has size bytes of zeros: holes (GNU tar, "PAX Format,
// Version 1.0").
func sparse(t testing.TB, name string, size int) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	const holes = "0\n" // extents with data
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 512, Format: tar.FormatPAX, PAXRecords: map[string]string{
		"___.sparse.major": "1", "___.sparse.minor": "0", "___.sparse.name": name, "___.sparse.realsize": fmt.Sprint(size),
	}}))
	_, err := w.Write(append([]byte(holes), make([]byte, 512-len(holes))...))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return bytes.ReplaceAll(b.Bytes(), []byte("___.sparse"), []byte("GNU.sparse")) // which the writer does not write
}

// TestReadRefuses what is no artifact of ours, or not as it says.
func TestReadRefuses(t *testing.T) {
	top := list("top")
	a := Of(stripped(), []manifest.Document{top, list("nested")}, "")
	at := pathOf(top.Digest)
	layer := func(change func(*imgspecv1.Descriptor)) Artifact {
		return changed(t, a, func(m *imgspecv1.Manifest) { change(&m.Layers[0]) })
	}
	for name, c := range map[string]struct {
		artifact Artifact
		want     error
		says     string
	}{
		"another digest":     {Artifact{Document: manifest.Document{Digest: top.Digest, Bytes: a.Document.Bytes}}, ErrAltered, "its manifest has another digest"},
		"no digest":          {Artifact{Document: manifest.Document{Digest: "sha256:1", Bytes: a.Document.Bytes}}, ErrAltered, "its manifest has another digest"},
		"no manifest":        {Artifact{Document: manifest.Document{Bytes: []byte("{")}}, ErrMalformed, "byte"},
		"a list":             {Artifact{Document: top}, ErrMalformed, "not that of an image manifest"},
		"another artifact":   {changed(t, a, func(m *imgspecv1.Manifest) { m.ArtifactType = "application/spdx+json" }), ErrOther, `its type is "application/spdx+json"`},
		"an image":           {changed(t, Plain(a), func(m *imgspecv1.Manifest) { delete(m.Annotations, TypeAnnotation) }), ErrOther, imgspecv1.MediaTypeImageConfig},
		"annotations alone":  {changed(t, Plain(a), func(m *imgspecv1.Manifest) { m.Config.MediaType = "application/json" }), ErrOther, "application/json"},
		"no subject":         {changed(t, a, func(m *imgspecv1.Manifest) { m.Subject = nil }), ErrMalformed, "no subject"},
		"no layers":          {changed(t, a, func(m *imgspecv1.Manifest) { m.Layers = nil }), ErrMalformed, "no layers"},
		"a layer of a list":  {layer(func(d *imgspecv1.Descriptor) { d.MediaType = imgspecv1.MediaTypeImageIndex }), ErrMalformed, "is of type"},
		"no annotation":      {changed(t, a, func(m *imgspecv1.Manifest) { m.Annotations = nil }), ErrMalformed, "says that it has none"},
		"another list":       {changed(t, a, func(m *imgspecv1.Manifest) { m.Annotations[ListAnnotation] = list("x").Digest.String() }), ErrMalformed, "and says that it has " + list("x").Digest.String()},
		"a size":             {layer(func(d *imgspecv1.Descriptor) { d.Size++ }), ErrAltered, "has other content"},
		"a blob of another":  {layer(func(d *imgspecv1.Descriptor) { d.Digest, d.Size = digest.FromString("{}"), 3 }), ErrAltered, "has other content"},
		"a large layer":      {layer(func(d *imgspecv1.Descriptor) { d.Size = manifest.MaxSize + 1 }), ErrTooLarge, "4194305 bytes"},
		"the largest number": {layer(func(d *imgspecv1.Descriptor) { d.Size = 1<<53 - 1 }), ErrTooLarge, "bytes, more than"},
		"many layers": {changed(t, a, func(m *imgspecv1.Manifest) {
			for range MaxDocuments {
				m.Layers = append(m.Layers, m.Layers[0])
			}
		}), ErrTooLarge, "1002 layers"},
		"many bytes": {changed(t, a, func(m *imgspecv1.Manifest) {
			m.Layers[0].Size = manifest.MaxSize
			for range MaxBytes / manifest.MaxSize {
				m.Layers = append(m.Layers, m.Layers[0])
			}
		}), ErrTooLarge, "more than 67108864 bytes"},
		"no tar":           {packed(t, a, []byte("no tar")), ErrMalformed, "no tar with a file"},
		"an empty tar":     {packed(t, a, tarred(t, "", tar.TypeReg)), ErrMalformed, "no tar with a file"},
		"a directory":      {packed(t, a, tarred(t, "", tar.TypeDir, at)), ErrMalformed, "no file of an OCI layout"},
		"a path":           {packed(t, a, tarred(t, "", tar.TypeReg, "/"+at)), ErrMalformed, "no file of an OCI layout"},
		"a path upwards":   {packed(t, a, tarred(t, "", tar.TypeReg, "blobs/sha256/../"+top.Digest.Encoded())), ErrMalformed, "no file of an OCI layout"},
		"another file":     {packed(t, a, tarred(t, "x", tar.TypeReg, at)), ErrMalformed, "has other content"},
		"two files":        {packed(t, a, tarred(t, string(top.Bytes), tar.TypeReg, at, at)), ErrMalformed, "more than one file"},
		"a file of holes":  {packed(t, a, sparse(t, at, 1<<24)), ErrMalformed, "has 16777216 bytes, more than the tar that it is in"},
		"half a tar":       {packed(t, a, tarOf(top.Digest, top.Bytes)[:600]), ErrMalformed, "unexpected EOF"},
		"a signature":      {must(OfSignature(stripped(), signature(Referrer))), ErrOther, SignatureArtifactType},
		"a missing blob":   {Artifact{Document: a.Document}, errNoBlob, "no such blob"},
		"a file too large": {packed(t, a, make([]byte, manifest.MaxSize+tarOverhead+1)), ErrTooLarge, "more than 4194304"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(c.artifact.Document, held(c.artifact))
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.ErrorIs(t, err, c.want)
			assert.ErrorContains(t, err, c.says)
			assert.Equal(t, "artifact", e.What)
			if c.artifact.Document.Digest != "" {
				assert.Equal(t, c.artifact.Document.Digest, e.Digest)
			}
		})
	}
}

func must(a Artifact, err error) Artifact {
	if err != nil {
		panic(err)
	}
	return a
}

// TestReadIsBounded: what is stated to be too large is not asked for.
func TestReadIsBounded(t *testing.T) {
	a := changed(t, Of(stripped(), []manifest.Document{list("top")}, ""), func(m *imgspecv1.Manifest) { m.Layers[0].Size = manifest.MaxSize + 1 })
	_, err := Read(a.Document, func(imgspecv1.Descriptor) ([]byte, error) {
		assert.Fail(t, "asked")
		return nil, nil
	})
	assert.ErrorIs(t, err, ErrTooLarge)
}

// TestSignaturesThatAreRefused are the same ones, whoever makes an artifact of them or reads one.
func TestSignaturesThatAreRefused(t *testing.T) {
	change := func(kind Kind, f func(*Signature)) Signature {
		s := signature(kind)
		f(&s)
		return s
	}
	image := func(f func(*imgspecv1.Manifest)) Signature {
		return change(Referrer, func(s *Signature) {
			s.Document = changed(t, Artifact{Document: s.Document}, f).Document
		})
	}
	for name, c := range map[string]struct {
		signature Signature
		want      error
		says      string
	}{
		"of nothing":      {change(Referrer, func(s *Signature) { s.Of = "" }), ErrMalformed, "digest of the original"},
		"of no kind":      {change("", func(*Signature) {}), ErrMalformed, `unknown kind of signature ""`},
		"an empty one":    {Signature{Of: list("top").Digest, Kind: Lookaside}, ErrMalformed, "empty"},
		"a large one":     {Signature{Of: list("top").Digest, Kind: Lookaside, Blob: make([]byte, MaxPart+1)}, ErrTooLarge, "4194305 bytes"},
		"another digest":  {change(Referrer, func(s *Signature) { s.Document.Digest = list("top").Digest }), ErrAltered, "another digest"},
		"a list":          {change(Referrer, func(s *Signature) { s.Document = list("top") }), ErrMalformed, "not that of an image manifest"},
		"a lost blob":     {change(Referrer, func(s *Signature) { s.Blobs = nil }), ErrMalformed, "is not there"},
		"one blob more":   {change(Referrer, func(s *Signature) { s.Blobs[list("top").Digest] = nil }), ErrMalformed, "it has 3 blobs, and its manifest names 2"},
		"an altered blob": {change(Referrer, func(s *Signature) { alter(s.Blobs) }), ErrAltered, "has other content"},
		"a large blob":    {image(func(m *imgspecv1.Manifest) { m.Layers[0].Size = MaxPart + 1 }), ErrTooLarge, "4194305 bytes"},
		"many large blobs": {image(func(m *imgspecv1.Manifest) {
			for i := range MaxSignature / MaxPart {
				m.Layers = append(m.Layers, imgspecv1.Descriptor{MediaType: "x", Digest: digest.FromString(fmt.Sprint(i)), Size: MaxPart})
			}
		}), ErrTooLarge, "more than 33554432 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OfSignature(stripped(), c.signature)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.ErrorIs(t, err, c.want)
			assert.ErrorContains(t, err, c.says)
			assert.Equal(t, []any{"signature", c.signature.Digest()}, []any{e.What, e.Digest})
			assert.Equal(t, err, c.signature.Validate())
		})
	}
}

// alter gives a blob other content.
func alter(blobs map[digest.Digest][]byte) {
	for d, b := range blobs {
		blobs[d] = bytes.Repeat([]byte("x"), len(b))
	}
}

// TestReadSignatureRefuses what is not a signature as it says.
func TestReadSignatureRefuses(t *testing.T) {
	a, simple := must(OfSignature(stripped(), signature(TagSignature))), must(OfSignature(stripped(), lookaside()))
	for name, c := range map[string]struct {
		artifact Artifact
		want     error
		says     string
	}{
		"no kind":       {changed(t, a, func(m *imgspecv1.Manifest) { delete(m.Annotations, KindAnnotation) }), ErrMalformed, "unknown kind"},
		"of nothing":    {changed(t, a, func(m *imgspecv1.Manifest) { delete(m.Annotations, ListAnnotation) }), ErrMalformed, "digest of the original"},
		"a layer less":  {changed(t, a, func(m *imgspecv1.Manifest) { m.Layers = m.Layers[:2] }), ErrMalformed, "is not there"},
		"other order":   {changed(t, a, func(m *imgspecv1.Manifest) { m.Layers[0], m.Layers[1] = m.Layers[1], m.Layers[0] }), ErrMalformed, ""},
		"no manifest":   {changed(t, simple, func(m *imgspecv1.Manifest) { m.Annotations[KindAnnotation] = string(Referrer) }), ErrMalformed, ""},
		"several blobs": {changed(t, a, func(m *imgspecv1.Manifest) { m.Annotations[KindAnnotation] = string(Lookaside) }), ErrMalformed, "more than one layer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadSignature(c.artifact.Document, held(c.artifact))
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.ErrorIs(t, err, c.want)
			assert.ErrorContains(t, err, c.says)
		})
	}
}

// TestLongDigests: documents keep the digests that they are known by.
func TestLongDigests(t *testing.T) {
	top := list("top")
	top.Digest = digest.SHA512.FromBytes(top.Bytes)
	a := Of(stripped(), []manifest.Document{top}, "")
	for _, form := range []Artifact{a, Plain(a)} {
		got, err := Read(form.Document, held(form))
		require.NoError(t, err)
		assert.Equal(t, top.Digest, got.Top().Digest)
		_, ok := got.Document(digest.FromBytes(top.Bytes))
		assert.False(t, ok)
	}
}

// TestKindOf believes an annotation of what may be an image only.
func TestKindOf(t *testing.T) {
	said := map[string]string{TypeAnnotation: ArtifactType}
	for _, c := range []struct {
		artifactType string
		annotations  map[string]string
		want         Role
	}{
		{ArtifactType, nil, RoleOriginal},
		{SignatureArtifactType, said, RoleSignature},
		{"", said, RoleOriginal},
		{imgspecv1.MediaTypeImageConfig, said, RoleOriginal},
		{imgspecv1.MediaTypeImageConfig, map[string]string{TypeAnnotation: SignatureArtifactType}, RoleSignature},
		{imgspecv1.MediaTypeImageConfig, nil, RoleNone},
		{"application/spdx+json", said, RoleNone},
		{"", nil, RoleNone},
		{DocumentType, nil, RoleNone},
	} {
		assert.Equal(t, c.want, KindOf(c.artifactType, c.annotations), "%q %v", c.artifactType, c.annotations)
	}
}

// FuzzRead: whatever a stranger has written, what is read of it is true.
func FuzzRead(f *testing.F) {
	a := Of(stripped(), []manifest.Document{list("top"), list("nested")}, "x")
	s := must(OfSignature(stripped(), signature(TagSignature)))
	for _, artifact := range []Artifact{a, Plain(a), s, Plain(s)} {
		f.Add(artifact.Document.Bytes, artifact.Layers[0].Content, artifact.Layers[len(artifact.Layers)-1].Content)
	}
	f.Fuzz(func(t *testing.T, doc, one, two []byte) {
		blob := func(d imgspecv1.Descriptor) ([]byte, error) {
			for _, b := range [][]byte{one, two} {
				if digest.FromBytes(b) == d.Digest {
					return b, nil
				}
			}
			return nil, errNoBlob
		}
		document := manifest.Document{Digest: digest.FromBytes(doc), Bytes: doc}
		if original, err := Read(document, blob); err == nil {
			for _, d := range original.Documents {
				assert.Equal(t, d.Digest, d.Digest.Algorithm().FromBytes(d.Bytes))
				assert.True(t, bytes.Contains(one, d.Bytes) || bytes.Contains(two, d.Bytes))
			}
		}
		if signature, err := ReadSignature(document, blob); err == nil {
			assert.NoError(t, signature.Validate())
		}
	})
}

var errNoBlob = errors.New("no such blob")

// TestErrorsName what is wrong with what.
func TestErrorsName(t *testing.T) {
	_, err := Read(manifest.Document{Digest: "sha256:1", Bytes: []byte("{}")}, nil)
	assert.EqualError(t, err, "artifact sha256:1: altered: its manifest has another digest")
	a := Of(stripped(), []manifest.Document{list("top")}, "")
	_, err = Read(a.Document, func(imgspecv1.Descriptor) ([]byte, error) { return nil, errNoBlob })
	assert.EqualError(t, err, "artifact "+a.Document.Digest.String()+": no such blob")
	empty := Signature{Of: a.Document.Digest, Kind: Lookaside}
	assert.EqualError(t, empty.Validate(), "signature "+digest.FromBytes(nil).String()+": malformed: the signature is empty")
}

// TestAsLargeAsMayBe: what reaches the limits is read, in either form.
func TestAsLargeAsMayBe(t *testing.T) {
	content := bytes.Repeat([]byte(" "), manifest.MaxSize)
	large := Of(stripped(), []manifest.Document{{MediaType: imgspecv1.MediaTypeImageIndex, Bytes: content}}, "")
	for _, a := range []Artifact{large, Plain(large)} {
		a = changed(t, a, func(m *imgspecv1.Manifest) {
			for len(m.Layers) < MaxBytes/manifest.MaxSize {
				m.Layers = append(m.Layers, m.Layers[0])
			}
		})
		_, err := Read(a.Document, held(a))
		assert.NoError(t, err)
	}

	small := Of(stripped(), []manifest.Document{list("top")}, "")
	many := changed(t, small, func(m *imgspecv1.Manifest) {
		for len(m.Layers) < MaxDocuments {
			m.Layers = append(m.Layers, m.Layers[0])
		}
	})
	_, err := Read(many.Document, held(many))
	assert.NoError(t, err)

	simple := Signature{Of: list("top").Digest, Kind: Lookaside, Blob: content}
	assert.NoError(t, simple.Validate())
	s := signature(Referrer)
	fill := func(size int64) {
		s.Document = changed(t, Artifact{Document: s.Document}, func(m *imgspecv1.Manifest) {
			m.Layers[0].Size = MaxPart
			for i := range MaxSignature/MaxPart - 1 {
				m.Layers = append(m.Layers[:1+i], imgspecv1.Descriptor{MediaType: "x", Digest: digest.FromString(fmt.Sprint(i)), Size: MaxPart})
			}
			m.Layers[1].Size = size
		}).Document
	}
	fill(MaxPart - 2048)
	room := MaxPart - beside(t, s)
	fill(room)
	_, err = s.ToRead()
	assert.NoError(t, err)
	fill(room + 1)
	_, err = s.ToRead()
	assert.ErrorIs(t, err, ErrTooLarge)
}

// beside is how many bytes a signature has beside its layers.
func beside(t *testing.T, s Signature) int64 {
	image, err := manifest.ParseImage(s.Document.Bytes, "")
	require.NoError(t, err)
	return int64(len(s.Document.Bytes)) + image.Config.Size
}
