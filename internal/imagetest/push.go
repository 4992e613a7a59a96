package imagetest

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// PushTo puts the named document and everything below it, except what omit names and what only that
// names, into a repository of an in-process registry, children first, and makes tag name it; an
// empty tag is not made. The document itself can be omitted only with an empty tag. It returns the
// document's digest.
func (f *Fixture) PushTo(reg *registrytest.Registry, repo, tag, name string, omit ...string) digest.Digest {
	p := f.tree(name, omit)
	if len(p.documents) == 0 && tag != "" {
		fail("%q is itself omitted, and cannot be tagged", name)
	}
	for _, name := range p.blobs {
		if b := f.blob(name); b.content != nil {
			reg.PutContent(repo, *b.content)
		} else {
			reg.PutBlob(repo, f.Content(name))
		}
	}
	for i, name := range slices.Backward(p.documents) {
		doc := f.document(name)
		ref := doc.digest.String()
		if i == 0 && tag != "" {
			ref = tag
		}
		reg.PutManifest(repo, ref, doc.mediaType, doc.bytes)
	}
	return f.Digest(name)
}
