package referrers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// What is around the entries of an index.
const (
	indexHead = `{"schemaVersion":2,"mediaType":"` + imgspecv1.MediaTypeImageIndex + `","manifests":[`
	indexTail = `]}`

	// The tail of one that was made here for a tag, and in its middle the digest of the entries: a
	// client that adds one may keep the annotation, but not the digest.
	madeTail1 = `],"annotations":{"io.github.sparsecopy.referrers.made":"`
	madeTail2 = `"}}`

	// maxEntriesBytes is how long the entries may be, with their commas.
	maxEntriesBytes = maxPageBytes - len(indexHead) - len(madeTail1) - len("sha256:") - 64 - len(madeTail2)
)

// join is what the index of a tag has between its brackets.
func join(entries [][]byte) []byte { return bytes.Join(entries, []byte{','}) }

// makeIndex is the index that a tag names.
func makeIndex(entries [][]byte) []byte {
	joined := join(entries)
	return slices.Concat([]byte(indexHead), joined, []byte(madeTail1+digest.FromBytes(joined)+madeTail2))
}

// IsMade reports whether a manifest is the index of a referrers tag as it was made here, and not by
// a client. When no tag names it any more, nobody misses it.
func IsMade(body []byte) bool {
	rest, ok := bytes.CutPrefix(body, []byte(indexHead))
	i := bytes.LastIndex(rest, []byte(madeTail1))
	return ok && i >= 0 && string(rest[i:]) == madeTail1+digest.FromBytes(rest[:i]).String()+madeTail2
}

// tagOf is the tag that lists the referrers of a subject ("Referrers Tag Schema").
func tagOf(subject digest.Digest) string {
	hex := subject.Encoded()
	return subject.Algorithm().String() + "-" + hex[:min(len(hex), 64)]
}

var tagForm = regexp.MustCompile(`^sha(256|384|512)-[0-9a-f]{64}$`)

// IsTag reports whether a tag is that of some subject.
func IsTag(tag string) bool { return tagForm.MatchString(tag) }

// A tagged is what a tag names.
type tagged struct {
	digest digest.Digest // "" if there is no tag, or nothing where it leads
	made   bool          // by a server like this one
	list   manifest.List // nil unless it is an OCI index
}

func (l *Links) readTag(ctx context.Context, s *share, repository, tag string) (tagged, error) {
	d, err := l.store.Current(ctx, repository, tag)
	var body []byte
	if err == nil {
		body, err = l.readContent(ctx, s, d, smallList)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return tagged{}, nil
	case err != nil:
		return tagged{}, err
	}
	t := tagged{digest: d, made: IsMade(body)}
	t.list, _ = manifest.Parse(body, imgspecv1.MediaTypeImageIndex)
	return t, nil
}

// isListOf reports whether what a tag names may be a list of the referrers of subject, or nothing:
// no image, and no index of images for platforms. Entries of a list of referrers have no platform,
// but what tools copy from an attestation's.
func (t tagged) isListOf(subject digest.Digest) bool {
	switch {
	case t.digest == "", t.made:
		return true
	case t.digest == subject:
		return false
	}
	return t.list != nil && !slices.ContainsFunc(t.list.Instances(), func(in manifest.Instance) bool {
		return in.IsBlob() || in.Platform != nil && in.Platform.OS != "" && in.Platform.OS != "unknown" && in.ArtifactType == ""
	})
}

// adoptTag links what a list lists that a client has stored as a referrers tag.
func (l *Links) adoptTag(ctx context.Context, m sparseregistry.Stored) error {
	done, err := l.tags.Take(ctx, tagKey{m.Repository, m.Reference})
	if err != nil {
		return err
	}
	defer done()
	s := &share{admit: l.admitWriter}
	defer s.giveBack()
	subjects, err := l.adopt(ctx, s, m.Repository, m.Reference, m.List, nil)
	if err != nil {
		return err
	}
	current, err := l.store.Current(ctx, m.Repository, m.Reference)
	if err != nil || current == m.Digest {
		return err
	}
	// Meanwhile the tag was made anew, of links that were fewer.
	for _, subject := range subjects {
		if err := l.makeTag(ctx, s, m.Repository, subject); err != nil {
			return err
		}
	}
	return nil
}

// adopt links what a list lists that is true: what is here, and has a subject with the given tag.
// It passes over what is among linked, which is in order, and returns the subjects of the rest: of
// one algorithm, they are one.
func (l *Links) adopt(ctx context.Context, s *share, repository, tag string, list manifest.List, linked []digest.Digest) ([]digest.Digest, error) {
	var subjects []digest.Digest
	for _, in := range list.Instances() {
		if _, already := slices.BinarySearch(linked, in.Digest); already {
			continue
		}
		c, err := l.read(ctx, repository, in.Digest, smallManifest)
		if err == nil && c.large {
			c, err = l.readLarge(ctx, s, repository, in.Digest)
		}
		if err != nil {
			return nil, err
		}
		if c.subject == "" || tagOf(c.subject) != tag {
			continue
		}
		if err := l.store.PutReferrer(ctx, repository, c.subject, c.digest); err != nil {
			return nil, err
		}
		if !slices.Contains(subjects, c.subject) {
			subjects = append(subjects, c.subject)
		}
	}
	return subjects, nil
}

// Refresh makes the tag of a subject list what the links do, unless it names something else than a
// list of referrers. What the tag lists and no link does is linked before. Those who wait for
// others that make the tag are served together, by who came first and stays: all of their links are
// there.
func (l *Links) Refresh(ctx context.Context, repository string, subject digest.Digest) error {
	key := refreshKey{repository, subject}
	for {
		r, joined := l.join(key)
		if !joined {
			defer close(r.done)
			r.err = l.refresh(ctx, key)
			r.left = ctx.Err() != nil
			return r.err
		}
		select {
		case <-r.done:
			if r.err == nil || !r.left {
				return r.err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A refresh waits for the turn of a tag. Whoever comes until it has that joins it.
type refresh struct {
	done chan struct{} // closed when the tag is made
	err  error         // set before done is closed
	left bool          // who was to make the tag does not want it any more; set before done is closed
}

// join returns what makes the tag next, and reports whether that is up to somebody else.
func (l *Links) join(key refreshKey) (r *refresh, joined bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, joined = l.waiting[key]
	if !joined {
		r = &refresh{done: make(chan struct{}), err: errors.New("who was to make the tag has not")}
		l.waiting[key] = r
	}
	return r, joined
}

type refreshKey struct {
	repository string
	subject    digest.Digest
}

// refresh is Refresh for one who waits, and those who join.
func (l *Links) refresh(ctx context.Context, key refreshKey) error {
	tag := tagOf(key.subject)
	done, err := l.tags.Take(ctx, tagKey{key.repository, tag})
	l.mu.Lock()
	delete(l.waiting, key)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	defer done()
	s := &share{admit: l.admitWriter}
	defer s.giveBack()
	if err := l.makeTag(ctx, s, key.repository, key.subject); err != nil {
		return fmt.Errorf("bringing tag %s up to date: %w", tag, err)
	}
	return nil
}

// makeTag is Refresh for who has the turn of the tag.
func (l *Links) makeTag(ctx context.Context, s *share, repository string, subject digest.Digest) error {
	tag := tagOf(subject)
	now, err := l.readTag(ctx, s, repository, tag)
	if err != nil {
		return err
	}
	if !now.isListOf(subject) {
		return nil
	}
	if now.list != nil {
		linked, err := l.store.ReferrersOf(ctx, repository, subject)
		if err != nil {
			return err
		}
		if _, err := l.adopt(ctx, s, repository, tag, now.list, linked); err != nil {
			return err
		}
	}
	first, err := l.listPage(ctx, s, question{repository: repository, subject: subject, limit: maxEntries})
	if err != nil {
		return err
	}
	body := makeIndex(first.entries)
	switch {
	case len(first.entries) == 0 || len(body) > maxPageBytes: // a single entry that no list can have
		return l.store.RemoveTag(ctx, repository, tag)
	case digest.FromBytes(body) == now.digest:
		return nil
	}
	made, err := l.store.PutManifest(ctx, repository, body)
	if err != nil {
		return err
	}
	return l.store.PutTag(ctx, repository, tag, made)
}
