package naming

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// An Attached is a manifest or list that belongs to something else.
type Attached struct {
	// Subject is what it belongs to, and Digest its own.
	Subject, Digest digest.Digest
	// Tag is the digest tag that names it; "" for a referrer, and for what an attached list names.
	Tag string
	// Child is set if Subject is a list, itself attached, that names it.
	Child bool
	// Refers is the subject that it states itself, "" if it states none. What a digest tag names
	// may state another one than Subject.
	Refers digest.Digest
	// ArtifactType says what it is; "" if nothing does.
	ArtifactType string
}

// AttachedTo is what is attached to something.
type AttachedTo struct {
	// Subject is what was asked about.
	Subject digest.Digest
	// Attached comes after what it is attached to. Each is there, once for each subject and tag.
	Attached []Attached
	// Warnings are for people: what could not be asked, and what is listed and left out.
	Warnings []string
}

// Attached finds what is attached to the manifest or list that ref names, at a registry or in an
// OCI layout, and what is attached to that in turn: referrers, and what digest tags with any suffix
// name. What is attached to the images of a list is not among it. Transports that know of nothing
// attached have nothing.
func (r *Registries) Attached(ctx context.Context, ref types.ImageReference, options *Options) (*AttachedTo, error) {
	return r.AttachedToEach(ctx, ref, nil, options)
}

// AttachedToEach is Attached for what ref names and, at the same place, for each of others, such as
// the images of a list. What is asked once for all of them, such as the tags of a repository, is
// asked once.
func (r *Registries) AttachedToEach(ctx context.Context, ref types.ImageReference, others []digest.Digest, options *Options) (*AttachedTo, error) {
	o := options.orDefault()
	at, side := place(ref, o.Side)
	src, _, err := access.OpenSource(ctx, at, o.SystemContext, r.shared)
	if err != nil {
		return nil, failure.New(failure.Opening, side, transports.ImageName(ref), err)
	}
	defer src.Close() // nothing was written
	out := &AttachedTo{Subject: src.Top().Digest}
	referrers, _ := endpoint.ReferrersAt(src)
	if referrers == nil {
		return out, nil
	}
	found, err := attach.Find(ctx, attach.Source{
		Place: attach.Place{Name: transports.ImageName(ref), Referrers: referrers, Manifest: src.Manifest},
		Top:   out.Subject, Budget: budget.New(0),
		Held: func(d digest.Digest) (endpoint.Document, bool) { return src.Top(), d == out.Subject },
	}, attach.Choices{
		Referrers: true, DigestTags: true, AnySuffix: true, SkipMissing: true,
		Unsigned: func(digest.Digest) bool { return false }, Follows: func(attach.Attachment) bool { return true },
	}, append([]digest.Digest{out.Subject}, others...))
	if err != nil {
		return nil, failure.Attaching(side, transports.ImageName(ref), err)
	}
	refers := map[digest.Digest]digest.Digest{}
	for _, doc := range found.Documents {
		refers[doc.Digest], _ = attach.Subject(doc)
	}
	for _, a := range found.Attachments {
		out.Attached = append(out.Attached, Attached{
			Subject: a.Subject, Digest: a.Digest, Tag: a.Tag, Child: a.Child, Refers: refers[a.Digest], ArtifactType: a.ArtifactType,
		})
	}
	out.Warnings = slices.Clone(found.Warnings)
	return out, nil
}
