package originals

import (
	"context"
	"encoding/json"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// A Carried is where artifacts are that an earlier copy has attached.
type Carried struct {
	Manifest attach.Read
	// Open opens a blob of a manifest.
	Open func(of digest.Digest, b endpoint.Blob) endpoint.Opener
}

// Carry stores those of attached that this library has made, whose subjects are there, as Finish
// does: in the form that the destination takes, and so that they are found there. It returns their
// digests. Others are left alone, also those that are plain images already.
//
// Errors of from are returned as they are; others are an *attach.Error.
func (s *Store) Carry(ctx context.Context, attached []attach.Attachment, from Carried) (carried map[digest.Digest]bool, err error) {
	var ours []attach.Attachment
	for _, a := range attached {
		if a.Tag == "" && !a.Child && original.KindOf(a.ArtifactType, nil) != original.RoleNone {
			ours = append(ours, a)
		}
	}
	of := map[digest.Digest][]original.Artifact{}
	carried = map[digest.Digest]bool{}
	if err := inflight.Ask(ctx, s.to.Budget, ours, from.read, func(a attach.Attachment, as *original.Artifact, err error) error {
		if as != nil {
			of[a.Subject], carried[a.Digest] = append(of[a.Subject], *as), true
		}
		return err
	}); err != nil {
		return nil, err
	}
	for _, artifacts := range of {
		if err := s.Finish(ctx, artifacts); err != nil {
			return nil, err
		}
	}
	return carried, nil
}

// read returns the artifact that an attachment is, nil if this library would not make it of what is
// in it.
func (c Carried) read(ctx context.Context, a attach.Attachment) (*original.Artifact, error) {
	doc, err := c.Manifest(ctx, a.Digest)
	if err != nil {
		return nil, err
	}
	var says imgspecv1.Manifest
	if malformed := json.Unmarshal(doc.Bytes, &says); malformed != nil || says.Subject == nil {
		return nil, nil //nolint:nilerr // it is somebody else's
	}
	var unread error
	blob := func(d imgspecv1.Descriptor) (content []byte, err error) {
		b := endpoint.Blob{Digest: d.Digest, Size: d.Size, MediaType: d.MediaType}
		content, unread = readBlob(ctx, c.Open(a.Digest, b))
		return content, unread
	}
	again, err := original.Remake(*says.Subject, doc, blob)
	if unread != nil || err != nil || again.Document.Digest != a.Digest {
		return nil, unread
	}
	return &again, nil
}
