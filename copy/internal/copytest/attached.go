package copytest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// The types of what AttachedFixture attaches.
const (
	SbomType      = "application/spdx+json"
	SignatureType = "application/vnd.example.signature"
)

// AttachedFixture is a list of four platforms, each with an SBOM that has a signature, and a
// signature of the list.
func AttachedFixture() *imagetest.Fixture {
	f := imagetest.Platforms(4, 1, 100)
	for _, name := range []string{"amd64", "arm64", "arm/v7", "ppc64le"} {
		f.Blob("sbom of "+name, SbomType, []byte(`{"of":"`+name+`"}`))
		f.Artifact("sbom-"+name, imagetest.ArtifactType(SbomType), imagetest.Subject(name), imagetest.Layers("sbom of "+name))
		f.Blob("signature of sbom-"+name, SignatureType, []byte("signed sbom-"+name))
		f.Artifact("sig-sbom-"+name, imagetest.ArtifactType(SignatureType), imagetest.Subject("sbom-"+name), imagetest.Layers("signature of sbom-"+name))
	}
	f.Blob("signature of top", SignatureType, []byte("signed top"))
	f.Artifact("sig-top", imagetest.ArtifactType(SignatureType), imagetest.Subject(imagetest.Top), imagetest.Layers("signature of top"))
	f.Blob("cosign of amd64", SignatureType, []byte("cosigned amd64"))
	f.Artifact("cosign-amd64", imagetest.Layers("cosign of amd64"))
	f.Blob("cosign of ppc64le", SignatureType, []byte("cosigned ppc64le"))
	f.Artifact("cosign-ppc64le", imagetest.Layers("cosign of ppc64le"))
	return f
}

// PushAttached pushes the fixture with everything attached. A registry without the referrers API
// gets referrers tags.
func PushAttached(t testing.TB, f *imagetest.Fixture, p RegistryPlace, api bool) {
	p.Push(f, "v1", imagetest.Top)
	subjects := map[string]string{"sig-top": imagetest.Top}
	for _, name := range []string{"amd64", "arm64", "arm/v7", "ppc64le"} {
		subjects["sbom-"+name], subjects["sig-sbom-"+name] = name, "sbom-"+name
	}
	for referrer, subject := range subjects {
		p.Push(f, "", referrer)
		if !api {
			index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}]}`,
				f.Digest(referrer), f.Size(referrer))
			p.PutManifest(p.Repo, endpoint.ReferrersTag(f.Digest(subject)), "application/vnd.oci.image.index.v1+json", []byte(index))
		}
	}
	for _, name := range []string{"amd64", "ppc64le"} {
		p.Push(f, strings.Replace(f.Digest(name).String(), ":", "-", 1)+".sig", "cosign-"+name)
	}
}

// DigestTag is the name of a digest tag.
var DigestTag = digesttag.Name

// The media types of cosign (its SIGNATURE_SPEC.md, and the OCI 1.1 mode of "cosign sign").
const (
	SimpleSigning    = "application/vnd.dev.cosign.simplesigning.v1+json"
	CosignSignature  = "application/vnd.dev.cosign.artifact.sig.v1+json"
	SigstoreBundle   = "application/vnd.dev.sigstore.bundle.v0.3+json"
	CosignAnnotation = "dev.cosignproject.cosign/signature"
)

// PutArtifact puts a manifest with a config, by its digest if tag is "".
func PutArtifact(t testing.TB, p RegistryPlace, tag string, m imgspecv1.Manifest, configType string, config []byte) digest.Digest {
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, imgspecv1.MediaTypeImageManifest
	m.Config = imgspecv1.Descriptor{MediaType: configType, Digest: p.PutBlob(p.Repo, config), Size: int64(len(config))}
	b, err := json.Marshal(m)
	require.NoError(t, err)
	d := digest.FromBytes(b)
	if tag == "" {
		tag = d.String()
	}
	p.PutManifest(p.Repo, tag, m.MediaType, b)
	return d
}

// Refer puts a referrer of subject, and lists it under the referrers tag for registries without the
// API.
func Refer(t testing.TB, p RegistryPlace, subject digest.Digest, artifactType, configType string, layer imgspecv1.Descriptor, content []byte) digest.Digest {
	p.PutBlob(p.Repo, content)
	subjectBytes, mediaType, ok := p.Manifest(p.Repo, subject.String())
	require.True(t, ok)
	d := PutArtifact(t, p, "", imgspecv1.Manifest{
		ArtifactType: artifactType, Layers: []imgspecv1.Descriptor{layer},
		Subject: &imgspecv1.Descriptor{MediaType: mediaType, Digest: subject, Size: int64(len(subjectBytes))},
	}, configType, []byte("{}"))
	b, _, _ := p.Manifest(p.Repo, d.String())
	tag := endpoint.ReferrersTag(subject)
	old, _, _ := p.Manifest(p.Repo, tag)
	merged, _, err := endpoint.MergeReferrers(old, []imgspecv1.Descriptor{
		{MediaType: imgspecv1.MediaTypeImageManifest, Digest: d, Size: int64(len(b)), ArtifactType: artifactType},
	})
	require.NoError(t, err)
	p.PutManifest(p.Repo, tag, imgspecv1.MediaTypeImageIndex, merged)
	return d
}

// AttachTo pushes a referrer, and makes it known as one of its subject where the place has no API.
func AttachTo(t testing.TB, p Place, f *imagetest.Fixture, subject, referrer string) {
	switch p := p.(type) {
	case LayoutPlace:
		p.Push(f, "some name of "+referrer, referrer)
	case RegistryPlace:
		p.Push(f, "", referrer)
		tag := endpoint.ReferrersTag(f.Digest(subject))
		old, _, _ := p.Manifest(p.Repo, tag)
		_, mediaType := f.Document(referrer)
		merged, _, err := endpoint.MergeReferrers(old, []imgspecv1.Descriptor{{MediaType: mediaType, Digest: f.Digest(referrer), Size: f.Size(referrer)}})
		require.NoError(t, err)
		p.PutManifest(p.Repo, tag, imgspecv1.MediaTypeImageIndex, merged)
	}
}

// SignList attaches an artifact of a type to the top of a fixture.
func SignList(f *imagetest.Fixture, name, artifactType string) {
	f.Blob("layer of "+name, artifactType, []byte(name))
	f.Artifact(name, imagetest.ArtifactType(artifactType), imagetest.Subject(imagetest.Top), imagetest.Layers("layer of "+name))
}

// Mirrored is a configuration with which the images of a registry are read from a mirror first.
func Mirrored(t *testing.T, e *Env, original, mirror *registrytest.Registry) *types.SystemContext {
	t.Helper()
	sys := *e.Sys
	sys.SystemRegistriesConfPath = filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(sys.SystemRegistriesConfPath, fmt.Appendf(nil, "[[registry]]\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n",
		original.Host(), mirror.Host()), 0o600))
	return &sys
}

// GitLab is what GitLab's registry does.
func GitLab() registrytest.Options {
	return registrytest.Options{
		ListPolicy: registrytest.GitLab, NoReferrers: true, DigestTags: true, RequireSubjects: true, NoDockerSubjects: true,
	}
}

// What BuildKit calls its attestations, and sigstore its bundles.
const (
	AttestationType = "application/vnd.docker.attestation.manifest.v1+json"
	BundleType      = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// BuildKitFixture is a list as BuildKit makes it since 0.32: attestations state their image as
// their subject, an artifact type, and an empty config. They come first, and the last entry is a
// list that another entry has as its subject.
func BuildKitFixture() *imagetest.Fixture {
	f := imagetest.New()
	names := []string{"amd64", "arm64", "s390x", "ppc64le"}
	empty := imagetest.Config(imgspecv1.MediaTypeEmptyJSON, []byte("{}"))
	var attestations []string
	for _, name := range names {
		f.Image(name, imagetest.Platform("linux/"+name))
		attestations = append(attestations, "att-"+name)
		f.Attestation("att-"+name, name, imagetest.Subject(name), imagetest.ArtifactType(AttestationType), empty)
	}
	f.List("inner", imagetest.Entries("att-ppc64le", "ppc64le"))
	f.Artifact("of inner", imagetest.Subject("inner"), imagetest.ArtifactType(SbomType), empty)
	f.List(imagetest.Top, imagetest.Entries("of inner"), imagetest.Entries(attestations[:3]...), imagetest.Entries(names[:3]...), imagetest.Entries("inner"))
	return f
}
