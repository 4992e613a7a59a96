package referrers

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// SubjectHeader is the field of the answer to a manifest with a subject which says that the
// registry has seen the subject.
const SubjectHeader = "OCI-Subject"

// Links are the links from subjects to referrers in a storage, with the tags that list the same.
// All methods may run concurrently.
type Links struct {
	store   *registrystore.Store
	tags    turns.Turns[tagKey] // who has one may write the tag
	reading chan struct{}       // holds an element for every manifest that is being read
	writing chan struct{}       // holds an element while somebody who writes a tag has a share
	maxRead int                 // a page ends when that many bytes of manifests have been read for it

	mu      sync.Mutex
	waiting map[refreshKey]*refresh // guarded by mu
}

type tagKey struct{ repository, tag string }

const (
	maxReading   = 16       // manifests that are read at the same time, by all requests together
	maxReadBytes = 64 << 20 // of manifests, for a page
)

// New returns the links in a storage.
func New(store *registrystore.Store) *Links {
	return &Links{
		store: store, reading: make(chan struct{}, maxReading), writing: make(chan struct{}, 1), maxRead: maxReadBytes,
		waiting: map[refreshKey]*refresh{},
	}
}

// Stored is the hook of sparseregistry.Options. If the manifest has a subject, the link is written
// and the tag brought up to date; if it was stored as a referrers tag, what it lists is linked.
func (l *Links) Stored(r *http.Request, m sparseregistry.Stored) (http.Header, error) {
	ctx := context.WithoutCancel(r.Context()) // the manifest is stored, whether or not somebody waits for the answer
	if m.List != nil && IsTag(m.Reference) {
		if err := l.adoptTag(ctx, m); err != nil {
			return nil, err
		}
	}
	subject := subjectOf(m)
	if subject == "" {
		return nil, nil
	}
	if err := l.store.PutReferrer(ctx, m.Repository, subject, m.Digest); err != nil {
		return nil, err
	}
	if err := l.Refresh(ctx, m.Repository, subject); err != nil {
		return nil, err
	}
	return http.Header{http.CanonicalHeaderKey(SubjectHeader): {subject.String()}}, nil
}

func subjectOf(m sparseregistry.Stored) digest.Digest {
	switch {
	case m.List != nil:
		return m.List.Subject()
	case m.Image != nil:
		return m.Image.Subject
	default:
		return ""
	}
}

// Deleted is the hook of sparseregistry.Options. If what was deleted is a manifest with a subject,
// its link is removed and the tag brought up to date.
func (l *Links) Deleted(r *http.Request, d sparseregistry.Deletion) error {
	if !strings.Contains(d.Reference, ":") {
		return nil // tags have no subjects
	}
	ctx := context.WithoutCancel(r.Context())
	subject, err := l.subjectOfDeleted(ctx, digest.Digest(d.Reference))
	if err != nil || subject == "" {
		return err
	}
	if err := l.store.RemoveReferrer(ctx, d.Repository, subject, digest.Digest(d.Reference)); err != nil {
		return err
	}
	return l.Refresh(ctx, d.Repository, subject)
}

// subjectOfDeleted is the subject of a manifest that its repository does not have any more, "" if
// it has none. The content is there until it is collected.
func (l *Links) subjectOfDeleted(ctx context.Context, d digest.Digest) (digest.Digest, error) {
	s := &share{admit: l.admitWriter}
	defer s.giveBack()
	body, err := l.readContent(ctx, s, d, smallManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	says, _ := describe(body)
	return says.subject, err
}
