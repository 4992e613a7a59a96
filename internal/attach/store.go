package attach

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Stored is a manifest or list that is attached, as it is to be stored.
type Stored struct {
	endpoint.Document
	Subject digest.Digest // one that it is attached to
	// ByTag is set if nobody needs it by its digest: its tags are all that names it.
	ByTag bool
}

// Documents reads the distinct manifests and lists of attached that have to be stored: not those
// that are done. They come in the order of attached. Errors of read are returned as they are.
func Documents(ctx context.Context, attached []Attachment, done []digest.Digest, read Read) ([]Stored, error) {
	skip, byDigest := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, d := range done {
		skip[d] = true
	}
	for _, a := range attached {
		byDigest[a.Subject] = true
		byDigest[a.Digest] = byDigest[a.Digest] || a.Tag == ""
	}
	var documents []Stored
	for _, a := range attached {
		if skip[a.Digest] {
			continue
		}
		skip[a.Digest] = true
		doc, err := read(ctx, a.Digest)
		if err != nil {
			return nil, err
		}
		documents = append(documents, Stored{doc, a.Subject, !byDigest[a.Digest]})
	}
	return documents, nil
}

// StoreList stores an attached list by calling put. If the destination says that it lacks a child,
// all of which have been stored, again is called for those that it names, and put once more.
func StoreList(list endpoint.Document, put func() error, again func(digest.Digest) error) error {
	refused := put()
	if refused == nil {
		return nil
	}
	parsed, err := manifest.Parse(list.Bytes, list.MediaType)
	if err != nil {
		return refused
	}
	all := sparsesupport.List{Digest: list.Digest}
	for _, in := range parsed.Instances() {
		all.Add(in.Digest, in.MediaType, false)
	}
	kind, lost := sparsesupport.Classify(refused, all)
	if kind != sparsesupport.Lost && kind != sparsesupport.Unclear {
		return refused
	}
	for _, d := range lost {
		if err := again(d); err != nil {
			return err
		}
	}
	return put()
}

// InOrder returns the distinct elements of all, each after those of them that it needs, such as its
// subject; otherwise the order stays. Elements that need each other, which honest digests cannot,
// come in some order.
func InOrder(all []digest.Digest, needs func(digest.Digest) []digest.Digest) []digest.Digest {
	ordered := make([]digest.Digest, 0, len(all))
	unvisited := map[digest.Digest]bool{}
	for _, d := range all {
		unvisited[d] = true
	}
	var visit func(digest.Digest)
	visit = func(d digest.Digest) {
		if !unvisited[d] {
			return
		}
		unvisited[d] = false // first, or what goes in circles would not end
		for _, n := range needs(d) {
			visit(n)
		}
		ordered = append(ordered, d)
	}
	for _, d := range all {
		visit(d)
	}
	return ordered
}
