package sparseregistry

import (
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Stored manifest is one that the registry behind has taken.
type Stored struct {
	Repository string
	Reference  string        // tag or digest, as the request has it
	Digest     digest.Digest // of Body, as the registry behind says it
	Body       []byte        // as it came; must not be changed

	// List and Image are what Body is. List is nil unless it is a list; Image is nil unless it is
	// an OCI image manifest with a subject. Neither must be changed.
	List  manifest.List
	Image *manifest.Image
}

// A Deletion is of a tag, or of a manifest by its digest.
type Deletion struct {
	Repository string
	Reference  string // tag or digest, as the request has it
}

// noteStored tells of a manifest that next has taken, and adds the header that comes of it to
// next's answer.
func (e *enforcer) noteStored(r *http.Request, t Path, doc document, answer *recorder) *refusal {
	if e.Stored == nil || answer.status != http.StatusCreated {
		return nil
	}
	header, err := e.Stored(r, Stored{
		Repository: t.Repository, Reference: t.Reference, Digest: storedDigest(t, doc, answer),
		Body: doc.body, List: doc.list, Image: doc.image,
	})
	if err != nil {
		return refuse(http.StatusInternalServerError, codeUnknown,
			"the manifest is stored, but what belongs to it is not; push it again: %w", err)
	}
	for name, values := range header {
		answer.sent[name] = values
	}
	return nil
}

// storedDigest is the digest of a manifest that next has taken.
func storedDigest(t Path, doc document, answer *recorder) digest.Digest {
	if strings.Contains(t.Reference, ":") {
		return digest.Digest(t.Reference)
	}
	if d := digest.Digest(answer.sent.Get("Docker-Content-Digest")); d.Validate() == nil {
		return d
	}
	return digest.FromBytes(doc.body)
}

// noteDeleted tells of what next has deleted.
func (e *enforcer) noteDeleted(r *http.Request, t Path, answer *recorder) *refusal {
	if e.Deleted == nil || t.Kind != Manifests || answer.status != http.StatusAccepted {
		return nil
	}
	if err := e.Deleted(r, Deletion{Repository: t.Repository, Reference: t.Reference}); err != nil {
		return refuse(http.StatusInternalServerError, codeUnknown, "%s is deleted, but not everything that belongs to it: %w", clip(t.Reference), err)
	}
	return nil
}
