package registrystore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/opencontainers/go-digest"
)

// StatBlob says what is known of a content.
func (s *Store) StatBlob(ctx context.Context, d digest.Digest) (Blob, error) {
	p, err := blobPath(d)
	if err != nil {
		return Blob{}, err
	}
	info, err := s.driver.Stat(ctx, path.Join(p, dataFile))
	if err != nil {
		return Blob{}, fmt.Errorf("looking at blob %s: %w", d, wrap(err))
	}
	return Blob{d, info.Size(), info.ModTime()}, nil
}

// OpenBlob reads a content, whose digest is not verified. The caller closes it.
func (s *Store) OpenBlob(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	p, err := blobPath(d)
	if err != nil {
		return nil, err
	}
	file := path.Join(p, dataFile)
	if err := s.checkRegular(file); err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", d, err)
	}
	r, err := s.driver.Reader(ctx, file, 0)
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", d, wrap(err))
	}
	return r, nil
}

// ErrTooLarge is in the error about a content that is larger than was asked for.
var ErrTooLarge = errors.New("the content is too large")

// ReadBlob returns a content of at most limit bytes. One that is larger (ErrTooLarge), or does not
// have the digest, is an error.
func (s *Store) ReadBlob(ctx context.Context, d digest.Digest, limit int64) ([]byte, error) {
	r, err := s.OpenBlob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // reading has told what there is to tell
	content, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading blob %s: %w", d, wrap(err))
	case int64(len(content)) > limit:
		return nil, fmt.Errorf("reading blob %s: %w: it has more than %d bytes", d, ErrTooLarge, limit)
	case d.Algorithm().FromBytes(content) != d:
		return nil, fmt.Errorf("reading blob %s: the content does not have this digest", d)
	}
	return content, nil
}

// HasRevision reports whether a repository has the manifest.
func (s *Store) HasRevision(ctx context.Context, repository string, d digest.Digest) (bool, error) {
	return s.has(ctx, repository, revisionsDirectory, d)
}

// HasLayer reports whether a repository has the blob.
func (s *Store) HasLayer(ctx context.Context, repository string, d digest.Digest) (bool, error) {
	return s.has(ctx, repository, layersDirectory, d)
}

func (s *Store) has(ctx context.Context, repository, directory string, d digest.Digest) (bool, error) {
	p, err := linkedPath(repository, directory, d)
	if err != nil {
		return false, err
	}
	_, err = s.driver.Stat(ctx, path.Join(p, linkFile))
	switch {
	case isAbsent(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking for %s in %s: %w", d, repository, err)
	}
	return true, nil
}

// RevisionTarget is the content that a repository has as the manifest d: d itself, unless the link
// is damaged.
func (s *Store) RevisionTarget(ctx context.Context, repository string, d digest.Digest) (digest.Digest, error) {
	p, err := linkedPath(repository, revisionsDirectory, d)
	if err != nil {
		return "", err
	}
	return s.readLink(ctx, p)
}

// LayerTarget is the content that a repository has as the blob d: d itself, unless its algorithm is
// not sha256.
func (s *Store) LayerTarget(ctx context.Context, repository string, d digest.Digest) (digest.Digest, error) {
	p, err := linkedPath(repository, layersDirectory, d)
	if err != nil {
		return "", err
	}
	return s.readLink(ctx, p)
}

// Current is the digest that a tag names.
func (s *Store) Current(ctx context.Context, repository, tag string) (digest.Digest, error) {
	root, err := repositoryPath(repository, tagsDirectory)
	if err != nil {
		return "", err
	}
	if err := checkTag(tag); err != nil {
		return "", err
	}
	return s.readLink(ctx, path.Join(root, tag, currentDirectory))
}

// readLink reads the link in a directory.
func (s *Store) readLink(ctx context.Context, directory string) (digest.Digest, error) {
	p := path.Join(directory, linkFile)
	if err := s.checkRegular(p); err != nil {
		return "", fmt.Errorf("reading %s: %w", p, err)
	}
	text, err := s.driver.GetContent(ctx, p)
	if isAbsent(err) {
		err = cmp.Or(s.checkAbsent(p), err)
	}
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", p, wrap(err))
	}
	d, err := digest.Parse(string(text))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", p, err)
	}
	return d, nil
}
