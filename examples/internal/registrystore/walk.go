package registrystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// A Tag is a tag of a repository.
type Tag struct {
	Name   string
	Digest digest.Digest // "" if and only if Err is not nil

	// Err says why the tag names nothing: it has no current link (fs.ErrNotExist), which a push
	// that was killed leaves, or one that cannot be read.
	Err error
}

// A Link makes a manifest or a layer reachable in a repository.
type Link struct {
	Digest   digest.Digest
	Modified time.Time // when it was written last
}

// A Referrer is a link from a subject to a manifest that refers to it.
type Referrer struct {
	Subject  digest.Digest
	Referrer digest.Digest
	Modified time.Time
}

// A Blob is a content.
type Blob struct {
	Digest   digest.Digest
	Size     int64     // in bytes
	Modified time.Time // when it was written, or asked for (Touch)
}

// ErrNoRepositories says that a storage directory has contents and no repository, so that nobody
// can tell what they are for. distribution leaves the directories of repositories there when it
// deletes what they have.
var ErrNoRepositories = errors.New("the storage has contents and no repository at all: see whether a disk is not mounted; " +
	"if all repositories were removed on purpose, remove the directory " + Root + " of the storage, too")

// CheckCounts is for those who have walked both: it returns ErrNoRepositories for a directory in
// which there are contents and no repositories.
func (s *Store) CheckCounts(repositories, contents int) error {
	if s.directory != "" && repositories == 0 && contents > 0 {
		return ErrNoRepositories
	}
	return nil
}

// Repositories calls visit for the name of each repository. A repository has at least one manifest,
// layer or upload, or has had one. A walk ends at the first error of visit, with that error.
func (s *Store) Repositories(ctx context.Context, visit func(name string) error) error {
	return s.repositoriesIn(ctx, "", visit)
}

func (s *Store) repositoriesIn(ctx context.Context, name string, visit func(string) error) error {
	names, err := s.listIfDirectory(ctx, path.Join(repositoriesRoot, name))
	if err != nil {
		return fmt.Errorf("listing repositories: %w", err)
	}
	isRepository := slices.ContainsFunc(names, func(n string) bool {
		return n == manifestsDirectory || n == layersDirectory || n == uploadsDirectory
	})
	if isRepository && name != "" {
		if err := visit(name); err != nil {
			return err
		}
	}
	for _, n := range names {
		if component.MatchString(n) {
			if err := s.repositoriesIn(ctx, path.Join(name, n), visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// Tags calls visit for each tag of a repository, in the order of their names.
func (s *Store) Tags(ctx context.Context, repository string, visit func(Tag) error) error {
	root, err := repositoryPath(repository, tagsDirectory)
	if err != nil {
		return err
	}
	names, err := s.list(ctx, root)
	if err != nil {
		return fmt.Errorf("listing the tags of %s: %w", repository, err)
	}
	for _, name := range names {
		d, err := s.readLink(ctx, path.Join(root, name, currentDirectory))
		if err := visit(Tag{Name: name, Digest: d, Err: err}); err != nil {
			return err
		}
	}
	return nil
}

// Revisions calls visit for each manifest that a repository has, in no order that means anything.
func (s *Store) Revisions(ctx context.Context, repository string, visit func(Link) error) error {
	return s.links(ctx, repository, revisionsDirectory, visit)
}

// Layers calls visit for each blob that a repository has, in no order that means anything.
func (s *Store) Layers(ctx context.Context, repository string, visit func(Link) error) error {
	return s.links(ctx, repository, layersDirectory, visit)
}

func (s *Store) links(ctx context.Context, repository, directory string, visit func(Link) error) error {
	return s.linksOf(ctx, repository, directory, 1, func(digests []digest.Digest, modified time.Time) error {
		return visit(Link{digests[0], modified})
	})
}

// Referrers calls visit for each link from a subject to what refers to it in a repository, in no
// order that means anything.
func (s *Store) Referrers(ctx context.Context, repository string, visit func(Referrer) error) error {
	return s.linksOf(ctx, repository, referrersDirectory, 2, func(digests []digest.Digest, modified time.Time) error {
		return visit(Referrer{digests[0], digests[1], modified})
	})
}

// linksOf calls visit for each link below a directory of a repository that is found by n digests.
func (s *Store) linksOf(ctx context.Context, repository, directory string, n int, visit func([]digest.Digest, time.Time) error) error {
	root, err := repositoryPath(repository, directory)
	if err != nil {
		return err
	}
	return s.files(ctx, root, func(info storagedriver.FileInfo) error {
		if path.Base(info.Path()) != linkFile {
			return nil
		}
		digests, ok := parseDigests(root, path.Dir(info.Path()), n)
		if !ok {
			return nil
		}
		return visit(digests, info.ModTime())
	})
}

// Blobs calls visit for each content, in no order that means anything.
func (s *Store) Blobs(ctx context.Context, visit func(Blob) error) error {
	return s.files(ctx, blobsRoot, func(info storagedriver.FileInfo) error {
		d, ok := parseBlob(info.Path())
		if !ok {
			return nil
		}
		return visit(Blob{d, info.Size(), info.ModTime()})
	})
}

// errNoDirectory says that something is there in place of a directory.
var errNoDirectory = errors.New("not a directory")

// list returns the names in a directory, in order; none if there is no such directory. If it is
// something else, the error is errNoDirectory, unless it is a symbolic link to what is not there.
func (s *Store) list(ctx context.Context, directory string) ([]string, error) {
	paths, err := s.driver.List(ctx, directory)
	if isAbsent(err) {
		return nil, s.checkAbsent(directory)
	}
	if err != nil {
		info, statErr := s.driver.Stat(ctx, directory)
		switch {
		case isAbsent(statErr):
			return nil, s.checkAbsent(directory)
		case statErr == nil && !info.IsDir():
			return nil, fmt.Errorf("%s: %w", directory, errNoDirectory)
		}
		return nil, s.explainCircle(directory, wrap(err))
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = path.Base(p)
	}
	slices.Sort(names)
	return names, nil
}

// listIfDirectory is list where there may be a file as well: that has no names.
func (s *Store) listIfDirectory(ctx context.Context, p string) ([]string, error) {
	names, err := s.list(ctx, p)
	if errors.Is(err, errNoDirectory) {
		return nil, nil
	}
	return names, err
}

// files calls visit for each file below a directory.
func (s *Store) files(ctx context.Context, root string, visit func(storagedriver.FileInfo) error) error {
	if s.directory != "" {
		return s.filesIn(ctx, root, visit)
	}
	// Object stores list everything below with few requests.
	var visitErr error
	err := s.driver.Walk(ctx, root, func(info storagedriver.FileInfo) error {
		if info.IsDir() {
			return nil
		}
		visitErr = visit(info)
		return visitErr
	})
	if visitErr != nil {
		return visitErr
	}
	if err != nil {
		if _, statErr := s.driver.Stat(ctx, root); isAbsent(statErr) {
			return nil
		}
		return fmt.Errorf("walking %s: %w", root, wrap(err))
	}
	return nil
}

// filesIn is files for the filesystem driver, whose own walk ends as soon as a directory vanishes.
func (s *Store) filesIn(ctx context.Context, directory string, visit func(storagedriver.FileInfo) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := s.list(ctx, directory)
	if err != nil {
		return fmt.Errorf("listing %s: %w", directory, err)
	}
	for _, name := range names {
		p := path.Join(directory, name)
		info, err := s.driver.Stat(ctx, p)
		switch {
		case isAbsent(err):
			err = s.checkAbsent(p)
		case err != nil:
			return s.explainCircle(p, fmt.Errorf("looking at %s: %w", p, err))
		case info.IsDir():
			err = s.filesIn(ctx, info.Path(), visit)
		default:
			err = visit(info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isAbsent(err error) bool {
	var absent storagedriver.PathNotFoundError
	return errors.As(err, &absent)
}

// wrap makes an error of the driver one that is fs.ErrNotExist if something is not there.
func wrap(err error) error {
	if isAbsent(err) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}
