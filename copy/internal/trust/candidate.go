package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/copy/internal/signing"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Limits on what is judged. Cosign adds a layer to the same manifest for each signature.
const (
	// maxLayers is how many layers a manifest may have that is looked into.
	maxLayers = 500
	// maxCandidates is how many single signatures of a list are judged.
	maxCandidates = 2_000
)

// Media types, or their beginnings.
const (
	// simpleSigningLayer is that of a layer with a signature (cosign's SIGNATURE_SPEC.md).
	simpleSigningLayer = "application/vnd.dev.cosign.simplesigning.v1+json"
	// bundleType is the beginning of those of sigstore bundles, of all versions.
	bundleType = "application/vnd.dev.sigstore.bundle"
)

// A candidate is a single thing that may be a signature of a list. Nothing of it has been verified.
type candidate struct {
	Signature
	claims digest.Digest // what it says that it signs
	// blob is the signature in containers/image's own form. Nil if policies do not read it.
	blob []byte
	// bundle is a bundle that says that it signs the list. Nil for everything else.
	bundle []byte
	// key is the GPG key that it says it is made with.
	key string
}

// refuse notes why a candidate is not accepted.
func (c *candidate) refuse(r Reason, problem string) { c.Reason, c.Problem = r, problem }

// candidatesOf returns the signatures of list one by one, in an order that does not depend on that
// of signatures, each once: whoever signs again adds a layer to what the tag names, and the others
// are in the manifests before as well. Those that cannot be judged are refused already.
func candidatesOf(ctx context.Context, list digest.Digest, signatures []original.Signature) ([]*candidate, error) {
	signatures = slices.Clone(signatures)
	slices.SortStableFunc(signatures, compareSignatures)
	signatures = slices.CompactFunc(signatures, func(a, b original.Signature) bool { return compareSignatures(a, b) == 0 })
	var all []*candidate
	seen := map[string]bool{} // by what policies read
	for _, s := range signatures {
		of, err := takeApart(ctx, list, s)
		if err != nil {
			return nil, err
		}
		for _, c := range of {
			if c.blob == nil || !seen[string(c.blob)] {
				seen[string(c.blob)] = true
				all = append(all, c)
			}
		}
		if len(all) > maxCandidates {
			return nil, &Error{Reason: TooManySignatures, List: list}
		}
	}
	return all, nil
}

func compareSignatures(a, b original.Signature) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Digest(), b.Digest()))
}

// takeApart returns what is in one signature manifest, or a lookaside signature.
func takeApart(ctx context.Context, list digest.Digest, s original.Signature) ([]*candidate, error) {
	if s.Kind == original.Lookaside {
		c, err := lookaside(ctx, s)
		return []*candidate{c}, err
	}
	c := &candidate{Signature: Signature{Kind: s.Kind, Digest: s.Digest(), Format: UnknownFormat}}
	image, err := manifest.ParseImage(s.Document.Bytes, s.Document.Type())
	switch {
	case err != nil || !manifest.HasDigest(s.Document.Bytes, s.Document.Digest):
		c.refuse(Malformed, "its manifest cannot be read")
	case s.Kind == original.TagAttestation:
		c.Format = Attestation
		c.refuse(AttestationOnly, "")
	case s.Kind == original.Referrer && image.Subject != list:
		c.claims = image.Subject
		c.refuse(OtherDigest, image.Subject.String())
	case strings.HasPrefix(cmp.Or(image.ArtifactType, image.Config.MediaType), bundleType):
		bundled(c, list, image, s.Blobs)
	case len(image.Layers) > maxLayers:
		c.refuse(TooManySignatures, fmt.Sprintf("its manifest has %d layers", len(image.Layers)))
	default:
		return layers(s, image)
	}
	return []*candidate{c}, nil
}

// layers returns the signatures that are layers of a manifest.
func layers(s original.Signature, image *manifest.Image) ([]*candidate, error) {
	var all []*candidate
	for _, layer := range image.Layers {
		c := &candidate{Signature: Signature{Kind: s.Kind, Digest: s.Digest(), Layer: layer.Digest, Format: UnknownFormat}}
		all = append(all, c)
		payload := s.Blobs[layer.Digest]
		switch {
		case layer.MediaType != simpleSigningLayer:
			c.refuse(NobodyKnows, layer.MediaType)
			continue
		case !manifest.HasDigest(payload, layer.Digest):
			c.refuse(Malformed, "its payload is not what its manifest names")
			continue
		}
		c.Format = SigstoreLayer
		c.claims, c.Identity = signing.Claimed(payload)
		var err error
		signed := endpoint.AttachableSignature{Payload: payload, Layer: imgspecv1.Descriptor{
			MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size, Annotations: layer.Annotations,
		}}
		if c.blob, err = signed.Blob(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// lookaside returns a signature that containers/image keeps in its own form.
func lookaside(ctx context.Context, s original.Signature) (*candidate, error) {
	c := &candidate{Signature: Signature{Kind: s.Kind, Digest: s.Digest(), Format: UnknownFormat}}
	sigs, err := endpoint.SignaturesFromBlobs(ctx, [][]byte{s.Blob})
	if _, files := errors.AsType[*fs.PathError](err); files {
		return nil, err
	}
	if err != nil {
		c.refuse(NobodyKnows, "containers/image does not know its form")
		return c, nil //nolint:nilerr // that is what is wrong with it
	}
	c.blob = s.Blob
	if attachable, _ := sigs.Split(); len(attachable) > 0 {
		c.Format = SigstoreLayer
		c.claims, c.Identity = signing.Claimed(attachable[0].Payload)
		return c, nil
	}
	c.Format = SimpleSigning
	if said, err := signature.GetUntrustedSignatureInformationWithoutVerifying(s.Blob); err == nil {
		c.claims, c.Identity, c.key = said.UntrustedDockerManifestDigest, said.UntrustedDockerReference, said.UntrustedShortKeyIdentifier
	}
	return c, nil
}
