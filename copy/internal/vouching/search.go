package vouching

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// maxSearched is the number of referrers of one list that are looked into.
const maxSearched = 1_000

// errTooMany says that so much is attached to a list that our bundles are not looked for in it.
var errTooMany = fmt.Errorf("more than %d sigstore bundles may be attached to it at the destination, which are not all looked into; delete what nobody needs", maxSearched)

// A Place has stripped lists with what is attached to them. Its methods are those of a registry's
// end.
type Place interface {
	endpoint.ReferrerSource
	Manifest(ctx context.Context, d digest.Digest) (endpoint.Document, error)
	Content(ctx context.Context, b endpoint.Blob) ([]byte, error)
}

// Said returns which referrers of a list make the statements, each by a signature of one of the
// keys: digests of manifests, "" where none does. What cannot be read makes none. The error is
// errTooMany, or context.Cause.
func Said(ctx context.Context, budget *semaphore.Weighted, at Place, list digest.Digest, statements []Statement, keys []signature.Verifier) ([]digest.Digest, error) {
	said := make([]digest.Digest, len(statements))
	candidates, err := bundlesOf(ctx, budget, at, list)
	if err != nil {
		return said, err
	}
	read := func(ctx context.Context, d digest.Digest) (readBundle, error) {
		return readFrom(ctx, at, d, statements)
	}
	note := func(d digest.Digest, b readBundle, err error) error {
		if err != nil {
			logrus.Debugf("Whether %s is ours is not known: %v", d, err)
			return nil
		}
		for i, s := range statements {
			if b.predicateType == s.PredicateType && s.SaidBy(b.content, keys...) {
				said[i] = min(d, cmp.Or(said[i], d))
			}
		}
		return nil
	}
	return said, inflight.Ask(ctx, budget, candidates, read, note)
}

// bundlesOf returns the manifests that carry bundles of a list, as they are listed.
func bundlesOf(ctx context.Context, budget *semaphore.Weighted, at Place, list digest.Digest) (candidates []digest.Digest, err error) {
	err = inflight.One(ctx, budget, func() error {
		listed, err := at.Referrers(ctx, list, MediaType)
		if _, notListable := errors.AsType[*endpoint.NotListableError](err); notListable {
			listed, err = listedByTag(ctx, at, digesttag.Name(list, digesttag.Originals))
		}
		if err != nil {
			logrus.Debugf("The referrers of %s at the destination are not known, or not all: %v", list, err)
		}
		for _, r := range listed {
			if r.ArtifactType == MediaType || endpoint.TellsNothing(r.ArtifactType) {
				candidates = append(candidates, r.Digest)
			}
		}
		return context.Cause(ctx)
	})
	slices.Sort(candidates)
	if candidates = slices.Compact(candidates); len(candidates) > maxSearched {
		return nil, errTooMany
	}
	return candidates, err
}

// listedByTag returns what a tag lists, where what is attached cannot be listed otherwise.
func listedByTag(ctx context.Context, at Place, tag string) ([]imgspecv1.Descriptor, error) {
	doc, err := at.Tagged(ctx, tag)
	if err != nil || !endpoint.IsReferrersList(doc) {
		return nil, err
	}
	var index imgspecv1.Index
	err = json.Unmarshal(doc.Bytes, &index)
	return index.Manifests, err
}

// A readBundle is one of a place; zero if it is none with a statement that is looked for.
type readBundle struct {
	predicateType string
	content       []byte
}

func readFrom(ctx context.Context, at Place, d digest.Digest, statements []Statement) (readBundle, error) {
	doc, err := at.Manifest(ctx, d)
	if err != nil {
		return readBundle{}, err
	}
	bundle, predicateType, ok := bundleIn(doc)
	wanted := func(s Statement) bool { return s.PredicateType == predicateType }
	if !ok || !slices.ContainsFunc(statements, wanted) {
		return readBundle{}, nil
	}
	content, err := at.Content(ctx, endpoint.Blob{Digest: bundle.Digest, Size: bundle.Size, MediaType: bundle.MediaType})
	return readBundle{predicateType, content}, err
}
