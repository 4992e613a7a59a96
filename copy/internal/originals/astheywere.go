package originals

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// AsTheyWere stores signatures of an original once more as they were at the source, by cosign's
// tags, or as referrers of the original, which need not be at the destination: other tools look for
// them there. Signatures in containers/image's own form are left out.
//
// It returns the digests of those that are kept so. Nothing depends on them: that the destination
// does not take one is a warning for people. The error says that ctx has ended.
func (s *Store) AsTheyWere(ctx context.Context, signatures []original.Signature) (kept []digest.Digest, warnings []string, err error) {
	warn := func(what string, err error) {
		warnings = append(warnings, fmt.Sprintf("a signature of the original is not kept as it was, for other tools: %s: %v", what, err))
	}
	stored := map[string][]attach.Attachment{} // by tag
	documents := map[digest.Digest]endpoint.Document{}
	attached := slices.DeleteFunc(slices.Clone(signatures), func(sig original.Signature) bool { return sig.Kind == original.Lookaside })
	err = inflight.Ask(ctx, s.to.Budget, attached, s.putAsItWas, func(sig original.Signature, a attach.Attachment, err error) error {
		if err != nil {
			warn(sig.Digest().String(), err)
			return nil
		}
		documents[a.Digest], stored[a.Tag] = sig.Document, append(stored[a.Tag], a)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	store := attach.Store{
		Blobs: s.to,
		Read:  func(_ context.Context, d digest.Digest) (endpoint.Document, error) { return documents[d], nil },
		Put:   func(_ context.Context, _ endpoint.Document, put func() error) error { return put() },
	}
	for tag, group := range stored {
		slices.SortFunc(group, func(a, b attach.Attachment) int { return cmp.Compare(a.Digest, b.Digest) })
		announced, err := attach.Announce(ctx, attach.Destination{Referrers: s.to.Referrers, Budget: s.to.Budget}, store, group)
		warnings = append(warnings, announced.Warnings...)
		for _, no := range announced.NotListable {
			err = errors.Join(err, no)
		}
		if err != nil {
			warn(cmp.Or(tag, "referrers"), err)
			continue
		}
		for _, a := range group {
			kept = append(kept, a.Digest)
		}
	}
	slices.Sort(warnings)
	return kept, warnings, context.Cause(ctx)
}

// putAsItWas stores what a signature consists of, and the manifest of a referrer, and returns what
// it is to be known as.
func (s *Store) putAsItWas(ctx context.Context, sig original.Signature) (attach.Attachment, error) {
	image, err := manifest.ParseImage(sig.Document.Bytes, sig.Document.Type())
	if err != nil {
		return attach.Attachment{}, err
	}
	for _, b := range endpoint.BlobsOf(image) { // which came with the artifact, most likely
		if _, err := s.to.PutBlob(ctx, b, opener(sig.Blobs[b.Digest])); err != nil {
			return attach.Attachment{}, err
		}
	}
	a := attach.Attachment{Subject: sig.Of, Tag: tagOf(sig), Descriptor: imgspecv1.Descriptor{
		MediaType: sig.Document.Type(), Digest: sig.Document.Digest, Size: int64(len(sig.Document.Bytes)),
		ArtifactType: cmp.Or(image.ArtifactType, image.Config.MediaType), Annotations: image.Annotations,
	}}
	if a.Tag == "" {
		err = s.to.PutManifest(ctx, sig.Document)
	}
	return a, err
}

// tagOf returns the tag by which a signature is attached, "" for a referrer.
func tagOf(sig original.Signature) string {
	switch sig.Kind {
	case original.TagSignature:
		return digesttag.Name(sig.Of, digesttag.Signatures)
	case original.TagAttestation:
		return digesttag.Name(sig.Of, digesttag.Attestations)
	}
	return ""
}
