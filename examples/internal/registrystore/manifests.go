package registrystore

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
)

// PutManifest stores a manifest in a repository and returns its digest. Whoever is killed in the
// middle has stored nothing that a client sees.
func (s *Store) PutManifest(ctx context.Context, repository string, body []byte) (digest.Digest, error) {
	d := digest.FromBytes(body)
	blob, err := blobPath(d)
	if err != nil {
		return "", err
	}
	revision, err := linkedPath(repository, revisionsDirectory, d)
	if err != nil {
		return "", err
	}
	if err := s.put(ctx, path.Join(blob, dataFile), body); err != nil {
		return "", err
	}
	if err := s.put(ctx, path.Join(revision, linkFile), []byte(d)); err != nil {
		return "", err
	}
	s.noted(repository, d)
	return d, nil
}

// PutTag makes a tag name a manifest, which the repository has.
func (s *Store) PutTag(ctx context.Context, repository, tag string, d digest.Digest) error {
	if err := checkTag(tag); err != nil {
		return err
	}
	note, err := linkedPath(repository, path.Join(tagsDirectory, tag, indexDirectory), d)
	if err != nil {
		return err
	}
	current, err := repositoryPath(repository, tagsDirectory, tag, currentDirectory)
	if err != nil {
		return err
	}
	if err := s.put(ctx, path.Join(note, linkFile), []byte(d)); err != nil {
		return err
	}
	if err := s.put(ctx, path.Join(current, linkFile), []byte(d)); err != nil {
		return err
	}
	s.noted(repository, d)
	return nil
}

// RemoveTag removes a tag with all that distribution notes about it. What it names stays.
func (s *Store) RemoveTag(ctx context.Context, repository, tag string) error {
	if err := checkTag(tag); err != nil {
		return err
	}
	p, err := repositoryPath(repository, tagsDirectory, tag)
	if err != nil {
		return err
	}
	return s.remove(ctx, p)
}

// ReferrersOf returns what refers to a subject in a repository, in the order of the digests.
func (s *Store) ReferrersOf(ctx context.Context, repository string, subject digest.Digest) ([]digest.Digest, error) {
	root, err := linkedPath(repository, referrersDirectory, subject)
	if err != nil {
		return nil, err
	}
	algorithms, err := s.list(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("listing what refers to %s in %s: %w", subject, repository, err)
	}
	var all []digest.Digest
	for _, algorithm := range algorithms {
		names, err := s.listIfDirectory(ctx, path.Join(root, algorithm))
		if err != nil {
			return nil, fmt.Errorf("listing what refers to %s in %s: %w", subject, repository, err)
		}
		for _, name := range names {
			if d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), name); d.Validate() == nil {
				all = append(all, d)
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

func (s *Store) put(ctx context.Context, p string, content []byte) error {
	if err := s.driver.PutContent(ctx, p, content); err != nil {
		return fmt.Errorf("writing %s: %w", p, err)
	}
	return nil
}
