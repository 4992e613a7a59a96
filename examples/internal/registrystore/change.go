package registrystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

// RemoveRevision removes a manifest from a repository. The tags that name it stay. What is not
// there is no error, here and in the other methods that remove.
func (s *Store) RemoveRevision(ctx context.Context, repository string, d digest.Digest) error {
	return s.removeLink(ctx, repository, revisionsDirectory, d)
}

// RemoveLayer removes a blob from a repository.
func (s *Store) RemoveLayer(ctx context.Context, repository string, d digest.Digest) error {
	return s.removeLink(ctx, repository, layersDirectory, d)
}

// RemoveReferrer removes the link from a subject to what refers to it.
func (s *Store) RemoveReferrer(ctx context.Context, repository string, subject, referrer digest.Digest) error {
	return s.removeLink(ctx, repository, referrersDirectory, subject, referrer)
}

func (s *Store) removeLink(ctx context.Context, repository, directory string, digests ...digest.Digest) error {
	p, err := linkedPath(repository, directory, digests...)
	if err != nil {
		return err
	}
	return s.remove(ctx, p)
}

// RemoveBlob removes a content.
func (s *Store) RemoveBlob(ctx context.Context, d digest.Digest) error {
	p, err := blobPath(d)
	if err != nil {
		return err
	}
	return s.remove(ctx, p)
}

// TagHistory calls visit for each digest that a tag has named, as far as distribution's notes say.
func (s *Store) TagHistory(ctx context.Context, repository, tag string, visit func(digest.Digest) error) error {
	if err := checkTag(tag); err != nil {
		return err
	}
	return s.linksOf(ctx, repository, path.Join(tagsDirectory, tag, indexDirectory), 1, func(digests []digest.Digest, _ time.Time) error {
		return visit(digests[0])
	})
}

// ForgetTagged removes the note that a tag has named a digest.
func (s *Store) ForgetTagged(ctx context.Context, repository, tag string, d digest.Digest) error {
	if err := checkTag(tag); err != nil {
		return err
	}
	return s.removeLink(ctx, repository, path.Join(tagsDirectory, tag, indexDirectory), d)
}

func (s *Store) remove(ctx context.Context, p string) error {
	if err := s.driver.Delete(ctx, p); err != nil && !isAbsent(err) {
		return fmt.Errorf("removing %s: %w", p, err)
	}
	return nil
}

// PutReferrer notes that a manifest refers to a subject.
func (s *Store) PutReferrer(ctx context.Context, repository string, subject, referrer digest.Digest) error {
	p, err := linkedPath(repository, referrersDirectory, subject, referrer)
	if err != nil {
		return err
	}
	return s.put(ctx, path.Join(p, linkFile), []byte(referrer))
}

// Touch makes a content be modified now, if it was modified before the given time. It does nothing
// if the content is not there, or if the storage is not in a directory of this machine's, or if its
// file system is read-only.
func (s *Store) Touch(d digest.Digest, ifBefore, now time.Time) error {
	if s.directory == "" {
		return nil
	}
	p, err := blobPath(d)
	if err != nil {
		return err
	}
	file := filepath.Join(s.directory, filepath.FromSlash(p), dataFile)
	info, err := os.Stat(file)
	if err == nil && info.ModTime().Before(ifBefore) {
		err = os.Chtimes(file, now, now)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("noting that blob %s is used: %w", d, err)
	}
	return nil
}
