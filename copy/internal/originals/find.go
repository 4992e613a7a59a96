package originals

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// maxBytes is what all signatures of one original may have.
const maxBytes = 64 << 20

// An Origin is where the signatures of an original are.
type Origin struct {
	// Attached is where those are that are attached; nil if it does not tell of any. Untold is why
	// it does not, if it might have some.
	Attached *attach.Source
	Untold   error
	// Stored are those that containers/image reads of it; nil for none.
	Stored endpoint.Signatures
	// Open opens a blob of the manifest of an attached one.
	Open   func(of attach.Attachment, b endpoint.Blob) endpoint.Opener
	Budget *semaphore.Weighted // counts everything in flight
}

// Found are the signatures of an original.
type Found struct {
	// Signatures are distinct, and in the same order whenever they are the same.
	Signatures []original.Signature
	// Unasked says what could not be asked; Found in it are those that are left out.
	Unasked attach.Signatures
	// Warnings are for people: what is left out.
	Warnings []string
}

// Find reads the signatures of the list with digest d, which are complete then. What is not there
// any more, too large, or no image is left out, with a warning.
//
// Errors are those of attach.ReadSignatures, and of Open and what that reads, as they are.
func Find(ctx context.Context, at Origin, d digest.Digest) (Found, error) {
	f := &finder{Origin: at}
	if at.Attached != nil {
		attached, err := attach.ReadSignatures(ctx, *at.Attached, d)
		if err == nil {
			err = f.readAttached(ctx, d, &attached)
		}
		f.out.Unasked, f.out.Warnings = attached.Unasked, attached.Warnings
		if err != nil {
			return f.out, err
		}
	}
	if at.Untold != nil {
		f.out.Unasked = attach.UnknownSignatures("what is attached to it", at.Untold)
	}
	return f.out, f.addStored(d)
}

type finder struct {
	Origin
	bytes int64
	out   Found
}

// An unread is a blob, and the positions of the signatures that name it.
type unread struct {
	blob endpoint.Blob
	of   []int
}

// readAttached adds the signatures whose manifests are attached to d, and notes what is left out.
func (f *finder) readAttached(ctx context.Context, d digest.Digest, attached *attach.SignaturesOf) error {
	signatures := make([]original.Signature, len(attached.Found))
	why := make([]string, len(attached.Found)) // it is left out; "" if it is not
	blobs := map[digest.Digest]*unread{}
	for i, a := range attached.Found {
		signatures[i] = original.Signature{Of: d, Kind: kindOf(d, a.Tag), Document: a.Document, Blobs: map[digest.Digest][]byte{}}
		f.bytes += int64(len(a.Document.Bytes))
		needed, err := signatures[i].ToRead()
		if err != nil {
			why[i] = err.Error()
			continue
		}
		for at, b := range needed {
			f.bytes += b.Size
			if blobs[b.Digest] == nil {
				blobs[b.Digest] = &unread{blob: endpoint.Blob{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType, Config: at == 0}}
			}
			blobs[b.Digest].of = append(blobs[b.Digest].of, i)
		}
	}
	if f.bytes > maxBytes {
		return &attach.LimitError{What: "bytes of the signatures of a list", Limit: maxBytes}
	}
	read := func(ctx context.Context, u *unread) ([]byte, error) {
		return readBlob(ctx, f.Open(attached.Found[u.of[0]].Attachment, u.blob))
	}
	err := inflight.Ask(ctx, f.Budget, slices.Collect(maps.Values(blobs)), read, func(u *unread, content []byte, err error) error {
		absent := errors.Is(err, endpoint.ErrNotFound)
		for _, i := range u.of {
			signatures[i].Blobs[u.blob.Digest] = content
			if absent {
				why[i] = fmt.Sprintf("its blob %s is missing", u.blob.Digest)
			}
		}
		if absent {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, s := range signatures {
		if why[i] != "" {
			attached.LeaveOut(d, attached.Found[i].Attachment, why[i])
			continue
		}
		f.out.Signatures = append(f.out.Signatures, s)
	}
	return nil
}

// addStored adds the signatures that containers/image has read, but for those that it has read of
// what is attached.
func (f *finder) addStored(d digest.Digest) error {
	if f.Stored == nil {
		return nil
	}
	stored := f.Stored
	if slices.ContainsFunc(f.out.Signatures, func(s original.Signature) bool { return s.Kind == original.TagSignature }) {
		_, stored = stored.Split()
	}
	blobs, err := endpoint.SignatureBlobs(stored)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		f.out.Signatures = append(f.out.Signatures, original.Signature{Of: d, Kind: original.Lookaside, Blob: b})
	}
	return nil
}

// kindOf returns what a signature of d is that a tag names, "" for a referrer.
func kindOf(d digest.Digest, tag string) original.Kind {
	switch tag {
	case "":
		return original.Referrer
	case digesttag.Name(d, digesttag.Attestations):
		return original.TagAttestation
	}
	return original.TagSignature
}

// readBlob reads a blob, which open verifies.
func readBlob(ctx context.Context, open endpoint.Opener) ([]byte, error) {
	stream, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	return io.ReadAll(stream)
}
