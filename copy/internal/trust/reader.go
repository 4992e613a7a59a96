package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// Limits on what is read to verify one list. Its carriers have limits of their own.
const (
	// maxReads is the number of blobs and of nested lists.
	maxReads = 5_000
	// maxReadBytes is what they may have in all.
	maxReadBytes = 256 << 20
	// maxSignatures is how many carriers of signatures are read for one original.
	maxSignatures = 200
)

// A reader reads what is needed to verify the list that a place names, within limits. Its methods
// may run concurrently. Their errors are *Errors about what is there, *inspect.ReadErrors about
// what could not be read, or context.Cause.
type reader struct {
	dst   endpoint.Source
	limit *semaphore.Weighted

	mu    sync.Mutex
	reads int   // guarded by mu
	bytes int64 // guarded by mu
}

// account counts one more read.
func (r *reader) account(size int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	r.bytes += size
	switch {
	case r.reads > maxReads:
		return r.fail(TooMuch, fmt.Sprintf("more than %d blobs and nested lists", maxReads))
	case r.bytes > maxReadBytes:
		return r.fail(TooMuch, fmt.Sprintf("more than %d bytes", maxReadBytes))
	}
	return nil
}

func (r *reader) fail(reason Reason, detail string) *Error {
	return &Error{Reason: reason, List: r.dst.Top().Digest, Detail: detail}
}

// carriers finds what carries the original of the list, and its signatures.
func (r *reader) carriers(ctx context.Context) (attach.Carriers, error) {
	list := r.dst.Top().Digest
	const op = "looking for the original of"
	referrers, err := endpoint.ReferrersAt(r.dst)
	if err != nil {
		return attach.Carriers{}, &inspect.ReadError{Op: op, Object: list.String(), Err: err}
	}
	found, err := attach.FindCarriers(ctx, attach.Source{
		Place:  attach.Place{Name: "the destination", Referrers: referrers, Manifest: r.dst.Manifest},
		Held:   func(digest.Digest) (endpoint.Document, bool) { return endpoint.Document{}, false },
		Budget: r.limit,
	}, list)
	var (
		limit    *attach.LimitError
		listing  *endpoint.ReferrersLimitError
		question *attach.Error
	)
	switch {
	case ctx.Err() != nil:
		return found, context.Cause(ctx)
	case errors.As(err, &limit), errors.As(err, &listing):
		return found, r.fail(TooMuch, err.Error())
	case errors.As(err, &question):
		return found, &inspect.ReadError{Op: question.Op, Object: question.Object, Err: question.Err}
	}
	return found, err
}

// original reads what a carrier carries.
func (r *reader) original(ctx context.Context, carrier attach.Carrier) (o original.Original, err error) {
	err = inflight.One(ctx, r.limit, func() (err error) {
		o, err = original.Read(carrier.Document, r.blobs(ctx))
		return err
	})
	if err != nil {
		return o, r.damaged(ctx, OriginalUnreadable, carrier.Digest, err)
	}
	return o, nil
}

// damaged says what an error of package original means. It is about the carrier, unless something
// kept a blob of it from being read.
func (r *reader) damaged(ctx context.Context, reason Reason, carrier digest.Digest, err error) error {
	refused, known := errors.AsType[*Error](err) // from within
	_, unread := errors.AsType[*inspect.ReadError](err)
	wrong, ours := errors.AsType[*original.Error](err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case known:
		return refused
	case unread || !ours:
		return err
	}
	return &Error{Reason: reason, List: r.dst.Top().Digest, Object: carrier, Detail: wrong.Reason, Err: wrong.Err}
}

// blobs returns how blobs are read whose content whoever wants them verifies.
func (r *reader) blobs(ctx context.Context) func(imgspecv1.Descriptor) ([]byte, error) {
	return func(d imgspecv1.Descriptor) ([]byte, error) {
		if err := r.account(d.Size); err != nil {
			return nil, err
		}
		content, err := endpoint.ReadUnverified(ctx, r.dst, endpoint.Blob{Digest: d.Digest, Size: d.Size, MediaType: d.MediaType})
		if err != nil && !errors.Is(err, endpoint.ErrNotFound) {
			err = &inspect.ReadError{Op: "reading blob", Object: d.Digest.String(), Err: err}
		}
		return content, err
	}
}

// document reads a list that is nested in the original, or in the list that the place names. What
// is not there is endpoint.ErrNotFound.
func (r *reader) document(ctx context.Context, o original.Original, d digest.Digest) (content []byte, err error) {
	if doc, ok := o.Document(d); ok {
		return doc.Bytes, nil
	}
	err = inflight.One(ctx, r.limit, func() error {
		doc, err := r.dst.Manifest(ctx, d)
		if err == nil {
			content, err = doc.Bytes, r.account(int64(len(doc.Bytes)))
		} else {
			err = cmp.Or(r.account(0), err)
		}
		return err
	})
	_, known := errors.AsType[*Error](err)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && !known && !errors.Is(err, endpoint.ErrNotFound):
		return nil, &inspect.ReadError{Op: "reading nested list", Object: d.String(), Err: err}
	}
	return content, err
}

// signaturesRead are the signatures of an original, as far as they could be read.
type signaturesRead struct {
	sound  []original.Signature
	broken []Signature // those that are damaged, as what they are: refused
	untold error       // why others could not be read; nil if there are none
	others int         // are left out: these are enough
}

// signatures reads the signatures of an original, as many as there may be.
func (r *reader) signatures(ctx context.Context, of digest.Digest, carriers []attach.Carrier) (signaturesRead, error) {
	var out signaturesRead
	carriers = slices.DeleteFunc(slices.Clone(carriers), func(c attach.Carrier) bool {
		return c.Annotations[original.ListAnnotation] != of.String()
	})
	out.others = max(0, len(carriers)-maxSignatures)
	carriers = carriers[:len(carriers)-out.others]
	read := func(ctx context.Context, c attach.Carrier) (original.Signature, error) {
		s, err := original.ReadSignature(c.Document, r.blobs(ctx))
		if err != nil {
			err = r.damaged(ctx, SignatureUnreadable, c.Digest, err)
		}
		return s, err
	}
	err := inflight.Ask(ctx, r.limit, carriers, read, func(c attach.Carrier, s original.Signature, err error) error {
		refused, known := errors.AsType[*Error](err)
		switch {
		case err == nil:
			out.sound = append(out.sound, s)
		case known && refused.Reason == SignatureUnreadable:
			out.broken = append(out.broken, brokenAt(c, cmp.Or(refused.Detail, refused.Err.Error())))
		case known || ctx.Err() != nil:
			return err
		default:
			out.untold = cmp.Or(out.untold, err)
			out.broken = append(out.broken, brokenAt(c, err.Error()))
		}
		return nil
	})
	slices.SortFunc(out.broken, func(a, b Signature) int { return cmp.Compare(a.Digest, b.Digest) })
	return out, err
}

// brokenAt is the signature that a carrier cannot be read for.
func brokenAt(c attach.Carrier, problem string) Signature {
	return Signature{
		Kind: original.Kind(c.Annotations[original.KindAnnotation]), Digest: c.Digest, Format: UnknownFormat,
		Reason: SignatureUnreadable, Problem: problem,
	}
}
