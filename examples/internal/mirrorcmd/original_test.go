package mirrorcmd

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/bundlejudge"
	"github.com/sparsecopy/sparsecopy/examples/internal/bundlejudge/bundletest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// attachBundle attaches a sigstore bundle to an object, as cosign does.
func attachBundle(t *testing.T, r *registrytest.Registry, repo string, to imgspecv1.Descriptor, bundle []byte) {
	t.Helper()
	const mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	config := imgspecv1.DescriptorEmptyJSON
	r.PutBlob(repo, config.Data)
	config.Data = nil
	layer := imgspecv1.Descriptor{MediaType: mediaType, Digest: r.PutBlob(repo, bundle), Size: int64(len(bundle))}
	content, err := json.Marshal(imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest, ArtifactType: mediaType,
		Config: config, Layers: []imgspecv1.Descriptor{layer}, Subject: &to,
		Annotations: map[string]string{"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": bundlejudge.SignaturePredicate},
	})
	require.NoError(t, err)
	r.PutManifest(repo, digest.FromBytes(content).String(), imgspecv1.MediaTypeImageManifest, content)
}

// TestVerifyOriginByCertificate verifies a stripped list by who has signed its original with a
// certificate.
func TestVerifyOriginByCertificate(t *testing.T) {
	const who, issuer = "release@publisher.example", "https://issuer.example"
	f := imagetest.Platforms(3, 1, 100)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Strict: true})
	f.PushTo(src, repo, tag, imagetest.Top)
	authority := bundletest.NewAuthority(t)
	list := imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: f.Digest(imagetest.Top), Size: f.Size(imagetest.Top)}
	attachBundle(t, src, repo, list, authority.Signs(t, who, issuer, bundletest.Statement(t, bundlejudge.SignaturePredicate, list.Digest)))
	root := filepath.Join(t.TempDir(), "trusted_root.json")
	require.NoError(t, os.WriteFile(root, authority.Root(t, bundletest.Parts{Log: true, Timestamps: true}), 0o600))

	mirror(t, "copy", "--platform", "linux/amd64", "--sparse", "strip", "--attach-original", refTo(src), refTo(dst)).done(t)
	verify := func(who, issuer string) outcome {
		return runAll(t.Context(), t, "", "verify", "--insecure-policy", "--dest-tls-verify=false", "--origin", refTo(src),
			"--origin-trusted-root", root, "--origin-certificate-identity", who, "--origin-certificate-issuer", issuer, refTo(dst))
	}
	r := verify(who, issuer).done(t)
	assert.Contains(t, r.stdout, "signed by release@publisher.example (issuer https://issuer.example) (sigstore-bundle ")
	assert.Contains(t, r.stdout, "with 2 of 3 entries removed and nothing else touched")
	verify("somebody@publisher.example", issuer).failed(t, StatusFailed,
		"it is signed by release@publisher.example (issuer https://issuer.example), and not by somebody@publisher.example (issuer https://issuer.example)")
	verify(who, "https://elsewhere.example").failed(t, StatusFailed, "and not by release@publisher.example (issuer https://elsewhere.example)")
}

// TestAttachOriginalInBundles carries the original in a bundle, to where it is verified.
func TestAttachOriginalInBundles(t *testing.T) {
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Strict: true})
	imagetest.PushSigned(src, "team/app", imagetest.SignedBundles)
	from, to := "docker://"+src.Host()+"/team/app:v1", "docker://"+dst.Host()+"/carried/team/app:v1"
	b := filepath.Join(t.TempDir(), "b")
	created := runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--platform", "linux/amd64", "--sparse", "strip", "--attach-original", b, from)
	assert.Equal(t, StatusDone, created.status, created.stderr)
	loaded := runAll(t.Context(), t, "", "bundle", "load", "--insecure-policy", "--dest-tls-verify=false", b, "docker://"+dst.Host()+"/carried")
	assert.Equal(t, StatusDone, loaded.status, loaded.stderr)
	for _, place := range []string{to, "bundle:" + b + ":" + strings.TrimPrefix(from, "docker://")} {
		r := runAll(t.Context(), t, "", "verify", "--insecure-policy", "--dest-tls-verify=false", "--origin", from, "--origin-key", imagetest.SignedFile("cosign.pub"), place).done(t)
		assert.Contains(t, r.stdout, "with 7 of 8 entries removed and nothing else touched", place)
	}
}

func TestStripText(t *testing.T) {
	some, other := digest.FromString("some"), digest.FromString("other")
	v := &copy.StripVerification{
		Proven: true, Origin: "docker://publisher.example/app:1", Destination: "docker://mirror.example/app:1", List: some, Original: other,
		Removal: &manifest.Removal{
			Entries: 1, Ambiguous: true,
			Nested: []manifest.NestedRemoval{{Index: 4, Removal: manifest.Removal{Entries: 3, Removed: []manifest.RemovedEntry{
				{Index: 0, Digest: some, Platform: &imgspecv1.Platform{OS: "windows", Architecture: "arm", Variant: "v7", OSVersion: "10.0"}},
				{Index: 1, Digest: other, AttestationOf: some, Platform: &imgspecv1.Platform{OS: "unknown", Architecture: "unknown"}},
				{Index: 2, Digest: other, ArtifactType: "application/x-chart"},
			}}}},
		},
		Signatures: []copy.JudgedSignature{
			{Format: "sigstore", Digest: some, Reason: "wrong-key", Problem: "a\x1bb"}, {Format: "attestation", Digest: some}, {Format: "unknown", Digest: some, Reason: "unknown-format"},
		},
		Warnings: []string{"a warning"},
	}
	text := stripText(v)
	for _, line := range []string{
		"4.0      windows/arm/v7 10.0                 " + some.String(),
		"4.1      attestation of windows/arm/v7 10.0  " + other.String(),
		"4.2      application/x-chart                 " + other.String(),
		"not accepted: sigstore " + shortDigest(some) + `: nobody who is accepted has made it, or it was altered: a\x1bb`,
		"not accepted: unknown " + shortDigest(some) + ": unknown-format",
		"proven: what its publisher has signed, with 0 of 1 entry removed, 3 of lists in it, and nothing else touched",
		"warning: a warning",
	} {
		assert.Contains(t, text, line+"\n")
	}
	assert.NotContains(t, text, "attestation "+shortDigest(some))
}

func TestOriginalRows(t *testing.T) {
	some := digest.FromString("some")
	var b bytes.Buffer
	table := tabwriter.NewWriter(&b, 0, 8, 1, ' ', 0)
	originalRows(table, nil)
	originalRows(table, &copy.OriginalReport{List: some, Reason: "a warning says it"})
	originalRows(table, &copy.OriginalReport{List: some, Digest: some, Form: copy.PlainForm, Outcome: copy.Copied,
		Signatures: []copy.OriginalSignatureReport{{Kind: "sig", Digest: some, Form: copy.ArtifactForm, Outcome: copy.Present}}})
	require.NoError(t, table.Flush())
	assert.Equal(t, "original of "+shortDigest(some)+" "+shortDigest(some)+" copied as a plain image - -\n"+
		"signature of it (sig)           "+shortDigest(some)+" present                 - -\n", b.String())
}
