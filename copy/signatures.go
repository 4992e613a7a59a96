package copy

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// signed is what a source told of the signatures of manifests and lists.
type signed struct {
	counts     map[digest.Digest]int
	signatures map[digest.Digest]endpoint.Signatures // of those that have some
	unknown    map[digest.Digest]bool                // of which it did not tell
}

// readSignatures reads the signatures of manifests or lists that are to be carried. Where the
// source does not tell whether something is signed, it may be: a list is not changed then, and a
// policy that wants to see signatures gets the error.
func readSignatures(ctx context.Context, e *ends, l loaded, digests []digest.Digest) (signed, error) {
	out := signed{
		counts: map[digest.Digest]int{}, signatures: map[digest.Digest]endpoint.Signatures{},
		unknown: map[digest.Digest]bool{},
	}
	note := func(d digest.Digest, sigs endpoint.Signatures, err error) error {
		switch {
		case errors.Is(err, endpoint.ErrUnknown):
			out.unknown[d] = true
			if !l.unknown[d] {
				e.reporter.Warn(fmt.Sprintf("whether %s is signed could not be asked, and is not known: %v", d, err))
			}
			return nil
		case err != nil:
			return &Error{"reading signatures of", SourceSide, d.String(), err}
		}
		out.counts[d] = sigs.Len()
		if sigs.Len() > 0 {
			out.signatures[d] = sigs
		}
		return nil
	}
	err := inflight.Ask(ctx, e.budget, digests, e.src.Signatures, note)
	return out, err
}

// readImageSignatures reads the signatures of the images that are wanted, those included that are
// at the destination: they may have been signed since. What is missing at the source has none.
func readImageSignatures(ctx context.Context, e *ends, l loaded, images []digest.Digest) (signed, error) {
	if e.o.RemoveSignatures {
		return signed{}, nil
	}
	e.progress.Line("Getting image source signatures")
	return readSignatures(ctx, e, l, images)
}

// unsigned returns those of the given manifests, all of them at the destination, that lack
// signatures there. A destination that cannot tell is taken to lack them.
func unsigned(ctx context.Context, e *ends, l loaded, digests []digest.Digest) ([]digest.Digest, error) {
	var carried []digest.Digest
	for _, d := range digests {
		if l.signatures[d] != nil {
			carried = append(carried, d)
		}
	}
	if len(carried) == 0 {
		return nil, nil
	}
	reader, ok := e.dst.(interface {
		Signatures(context.Context, digest.Digest) (endpoint.Signatures, error)
	})
	if !ok {
		return carried, nil
	}
	var lacking []digest.Digest
	note := func(d digest.Digest, stored endpoint.Signatures, err error) error {
		if err != nil {
			logrus.Debugf("%s does not tell the signatures of %s: %v", e.dstName, d, err)
		}
		if err != nil || !stored.Contain(l.signatures[d]) {
			lacking = append(lacking, d)
		}
		return nil
	}
	err := inflight.Ask(ctx, e.budget, carried, reader.Signatures, note)
	return lacking, err
}
