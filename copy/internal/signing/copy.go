package signing

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// A Copy knows which signatures what one copy stores is to have at its destination: those that are
// carried, and new ones. Its methods may run concurrently, and must be called without a slot of the
// budget.
type Copy struct {
	Keys        *Keys
	Carried     map[digest.Digest]endpoint.Signatures
	Destination endpoint.Destination
	Budget      *semaphore.Weighted // counts everything in flight

	// Absent reports whether the destination is known not to have had something before the copy.
	Absent func(digest.Digest) bool
	// Config opens the config of the image with digest owner, unless that was kept.
	Config func(owner digest.Digest, b endpoint.Blob) endpoint.Opener
	// Noted is told of signatures that Store has stored, how many of them are which.
	Noted func(carried, made int)

	mu   sync.Mutex
	kept map[digest.Digest][]byte // configs; guarded by mu
}

// Error says which operation failed, on which manifest or list. It is about the destination, unless
// Err says otherwise.
type Error struct {
	Op     string
	Digest digest.Digest
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Digest, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// Check returns why nothing can be signed, or the destination does not store signatures that are
// carried or made, as far as that is known before anything is written.
func (c *Copy) Check(ctx context.Context) error {
	if err := c.Keys.Ready(ctx); err != nil {
		return err
	}
	switch dst := c.Destination.(type) {
	case interface{ SupportsSignatures(context.Context) error }:
		if len(c.Carried) > 0 || c.Keys != nil {
			return dst.SupportsSignatures(ctx)
		}
	case *registry.Destination:
		if c.Keys.attach() {
			return dst.TakesAttachments()
		}
	}
	return nil
}

// Lacking returns those of the given manifests, all of them at the destination, that lack
// signatures there. A destination that cannot tell is taken to lack them.
func (c *Copy) Lacking(ctx context.Context, digests []digest.Digest) ([]digest.Digest, error) {
	var asked, lacking []digest.Digest
	for _, d := range digests {
		if c.Keys != nil || c.Carried[d] != nil {
			asked = append(asked, d)
		}
	}
	note := func(d digest.Digest, stored endpoint.Signatures, err error) error {
		if err != nil || !stored.Contain(endpoint.NoSignatures().With(c.Carried[d])) || c.Keys.lack(d, stored) {
			lacking = append(lacking, d)
		}
		return nil
	}
	err := inflight.Ask(ctx, c.Budget, asked, c.stored, note)
	return lacking, err
}

// stored returns the signatures that the destination has of d, which is there.
func (c *Copy) stored(ctx context.Context, d digest.Digest) (stored endpoint.Signatures, err error) {
	reader, ok := c.Destination.(interface {
		Signatures(context.Context, digest.Digest) (endpoint.Signatures, error)
	})
	if err = errors.New("they are only read from registries"); ok {
		stored, err = reader.Signatures(ctx, d)
	}
	if err != nil {
		logrus.Debugf("The signatures of %s at the destination are not known: %v", d, err)
	}
	return stored, err
}

// Of returns the signatures that doc is to have at the destination, nil if none. New ones are made
// now, if they were not made before. An error is an *Error, or context.Cause.
func (c *Copy) Of(ctx context.Context, doc endpoint.Document) (endpoint.Signatures, error) {
	carried := c.Carried[doc.Digest]
	if c.Keys == nil {
		return carried, nil
	}
	all := endpoint.NoSignatures().With(carried)
	has, absent := all, c.Absent(doc.Digest)
	if !absent {
		_ = inflight.One(ctx, c.Budget, func() error {
			stored, err := c.stored(ctx, doc.Digest)
			has = all.With(stored)
			return err
		})
	}
	made, err := c.Keys.Sign(ctx, Subject{
		Document: doc, New: absent,
		Config: func(ctx context.Context, b endpoint.Blob) ([]byte, error) { return c.config(ctx, doc.Digest, b) },
	}, has)
	switch {
	case context.Cause(ctx) != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, &Error{"signing", doc.Digest, err}
	}
	all = all.With(made)
	if len(made.Simple()) > 0 { // a lookaside store would lose those that it has
		_, others := has.Split()
		all = all.With(others)
	}
	if all.Len() == 0 {
		return nil, nil
	}
	return all, nil
}

// Keep keeps the config of an image that this copy makes: the source need not have it.
func (c *Copy) Keep(ctx context.Context, b endpoint.Blob, open endpoint.Opener) error {
	if c.Keys == nil {
		return nil
	}
	content, err := readConfig(ctx, b, open)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = map[digest.Digest][]byte{}
	}
	c.kept[b.Digest] = content
	return nil
}

// config returns the config b of the image with digest owner.
func (c *Copy) config(ctx context.Context, owner digest.Digest, b endpoint.Blob) ([]byte, error) {
	c.mu.Lock()
	content := c.kept[b.Digest]
	c.mu.Unlock()
	if content != nil {
		return content, nil
	}
	err := inflight.One(ctx, c.Budget, func() (err error) {
		content, err = readConfig(ctx, b, c.Config(owner, b))
		if dst, ok := c.Destination.(*registry.Destination); ok && errors.Is(err, endpoint.ErrNotFound) {
			made, dstErr := dst.Content(ctx, b) // an earlier copy may have made the image
			if !errors.Is(dstErr, endpoint.ErrNotFound) {
				content, err = made, dstErr
			}
		}
		return err
	})
	return content, err
}

// Add stores the signatures that those of the given manifests lack which are at the destination.
// document reads one; its errors are returned as they are.
func (c *Copy) Add(ctx context.Context, digests []digest.Digest, document func(context.Context, digest.Digest) (endpoint.Document, error)) error {
	lacking, err := c.Lacking(ctx, digests)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, d := range lacking {
		group.Go(func() error {
			doc, err := document(groupCtx, d)
			if err != nil {
				return err
			}
			return c.Store(groupCtx, doc, func() error { return nil })
		})
	}
	return group.Wait()
}

// Store stores doc by calling put, and its signatures. Nothing of them is visible before put has
// succeeded. Errors of put are returned as they are.
func (c *Copy) Store(ctx context.Context, doc endpoint.Document, put func() error) error {
	sigs, err := c.store(ctx, doc, put)
	if err == nil && sigs != nil {
		c.Noted(c.Count(doc.Digest, sigs))
	}
	return err
}

// Count returns how many signatures of d are carried, and how many are new ones.
func (c *Copy) Count(d digest.Digest, sigs endpoint.Signatures) (carried, made int) {
	if sigs == nil {
		return 0, 0
	}
	made = c.Keys.Made(d)
	return sigs.Len() - made, made
}

func (c *Copy) store(ctx context.Context, doc endpoint.Document, put func() error) (endpoint.Signatures, error) {
	dst, direct := c.Destination.(*registry.Destination)
	if direct && c.Keys.madeOf(doc.Digest) != nil {
		return c.storeMeanwhile(ctx, dst, doc, put)
	}
	if err := put(); err != nil {
		return nil, err
	}
	sigs, err := c.Of(ctx, doc)
	if err != nil || sigs == nil {
		return nil, err
	}
	err = inflight.One(ctx, c.Budget, func() error { return c.Destination.PutSignatures(ctx, doc.Digest, sigs) })
	return sigs, notWritten(doc, err)
}

// storeMeanwhile is store for signatures that have been made: what a registry has to be asked about
// them is asked while doc is on its way.
func (c *Copy) storeMeanwhile(ctx context.Context, dst *registry.Destination, doc endpoint.Document, put func() error) (endpoint.Signatures, error) {
	sigs, err := c.Of(ctx, doc)
	if err != nil {
		return nil, err
	}
	stored := make(chan struct{})
	var putErr error // valid once stored is closed
	wait := func() error {
		c.Budget.Release(1) // nobody waits for others with a slot
		defer func() { _ = c.Budget.Acquire(context.WithoutCancel(ctx), 1) }()
		<-stored
		return putErr
	}
	var group errgroup.Group
	group.Go(func() error {
		return inflight.One(ctx, c.Budget, func() error { return dst.PutSignaturesWhen(ctx, wait, doc.Digest, sigs) })
	})
	putErr = put()
	close(stored)
	err = group.Wait()
	if putErr != nil {
		return nil, putErr
	}
	return sigs, notWritten(doc, err)
}

func notWritten(doc endpoint.Document, err error) error {
	if err != nil {
		err = &Error{"writing signatures of", doc.Digest, err}
	}
	return err
}

// Ahead makes the signatures of what is about to be stored, and brings to a registry what they
// consist of. Nothing of that is visible there.
func (c *Copy) Ahead(ctx context.Context, documents []endpoint.Document) error {
	dst, ok := c.Destination.(*registry.Destination)
	if !ok || c.Keys == nil {
		return nil
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, doc := range documents {
		group.Go(func() error {
			sigs, err := c.Of(groupCtx, doc)
			if err != nil || sigs == nil {
				return err
			}
			err = inflight.One(groupCtx, c.Budget, func() error { return dst.PutSignatureBlobs(groupCtx, doc.Digest, sigs) })
			return notWritten(doc, err)
		})
	}
	return group.Wait()
}
