package copy

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// readSignatures reads the signatures of manifests or lists that are to be carried, and tells count how many each has.
func (j *job) readSignatures(ctx context.Context, digests []digest.Digest, count func(digest.Digest, int)) error {
	return concurrently(ctx, j.budget, digests, func(ctx context.Context, d digest.Digest) error {
		sigs, err := j.src.Signatures(ctx, d)
		if errors.Is(err, endpoint.ErrUnknown) {
			j.noteUnknownSignatures(d, err)
			return nil
		}
		if err != nil {
			return &Error{"reading signatures of", SourceSide, d.String(), err}
		}
		j.setSignatures(d, sigs)
		j.mu.Lock()
		defer j.mu.Unlock()
		count(d, sigs.Len())
		return nil
	})
}

// noteUnknownSignatures notes that the source does not tell whether d is signed: it may be. A list that may be signed is not changed, and
// a policy that wants to see signatures gets the error.
func (j *job) noteUnknownSignatures(d digest.Digest, err error) {
	j.mu.Lock()
	told := j.in.SignaturesUnknown[d]
	j.in.SignaturesUnknown[d] = true
	j.mu.Unlock()
	if !told {
		j.reporter.warn(fmt.Sprintf("whether %s is signed could not be asked, and is not known: %v", d, err))
	}
}

// readImageSignatures reads the signatures of the images that are wanted, those included that are at the destination: they
// may have been signed since. What is missing at the source has none.
func (j *job) readImageSignatures(ctx context.Context, images []digest.Digest) error {
	if j.o.RemoveSignatures {
		return nil
	}
	j.progress.Line("Getting image source signatures")
	return j.readSignatures(ctx, images, func(digest.Digest, int) {})
}

// setSignatures keeps signatures that are to be carried.
func (j *job) setSignatures(d digest.Digest, sigs endpoint.Signatures) {
	if sigs.Len() == 0 || j.carries(d, sigs) {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.signatures[d] = sigs
}

// signaturesOf returns the signatures to carry for d, nil if there are none.
func (j *job) signaturesOf(d digest.Digest) endpoint.Signatures {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.signatures[d]
}

// checkSignatureStore fails if there are signatures to carry and the destination stores none, before anything is copied.
func (j *job) checkSignatureStore(ctx context.Context) error {
	store, ok := j.dst.(interface{ SupportsSignatures(context.Context) error })
	if !ok || len(j.signatures) == 0 {
		return nil
	}
	if err := store.SupportsSignatures(ctx); err != nil {
		return &Error{"copying signatures to", DestinationSide, j.dstName, err}
	}
	return nil
}

// unsigned returns those of the given manifests, all of them at the destination, that lack signatures there. A destination that
// cannot tell is taken to lack them.
func (j *job) unsigned(ctx context.Context, digests []digest.Digest) ([]digest.Digest, error) {
	var signed []digest.Digest
	for _, d := range digests {
		if j.signaturesOf(d) != nil {
			signed = append(signed, d)
		}
	}
	if len(signed) == 0 {
		return nil, nil
	}
	reader, ok := j.dst.(interface {
		Signatures(context.Context, digest.Digest) (endpoint.Signatures, error)
	})
	if !ok {
		return signed, nil
	}
	var mu sync.Mutex
	var lacking []digest.Digest
	err := concurrently(ctx, j.budget, signed, func(ctx context.Context, d digest.Digest) error {
		there, err := reader.Signatures(ctx, d)
		if err != nil {
			logrus.Debugf("%s does not tell the signatures of %s: %v", j.dstName, d, err)
		} else if there.Contain(j.signaturesOf(d)) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		lacking = append(lacking, d)
		return nil
	})
	return lacking, err
}

// putSignatures stores the signatures of a child, if it has any.
func (j *job) putSignatures(ctx context.Context, d digest.Digest) error {
	sigs := j.signaturesOf(d)
	if sigs == nil {
		return nil
	}
	j.progress.Line("Storing signatures")
	if err := one(ctx, j.budget, func() error { return j.dst.PutSignatures(ctx, d, sigs) }); err != nil {
		return &Error{"writing signatures of", DestinationSide, d.String(), err}
	}
	logrus.Debugf("stored %d signatures of %s", sigs.Len(), d)
	j.reporter.update(func(r *Report) { r.SignaturesCopied += sigs.Len() })
	return nil
}
