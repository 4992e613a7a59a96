package transport

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// directoryEnd writes to a dir: directory, which holds one image or list.
//
// Upstream's destination erases the directory when it is opened. It is therefore opened on a
// temporary directory beside the real one, which takes its place when everything is there: in one
// step where the system can exchange two directories, else in two. Where a directory cannot be
// replaced (a mount point, a parent that cannot be written), the temporary one is inside, and its
// files move up, first those that are named by their content, last manifest.json.
type directoryEnd struct {
	plainEnd                       // of the directory staged
	ref       types.ImageReference // the caller's
	target    string               // the directory of ref
	temp      string               // holds staged
	staged    string               // becomes target
	published bool
}

// Files of a dir: directory, by upstream's convention.
const (
	directoryVersion    = "version"
	directoryManifest   = "manifest.json"
	directorySignatures = "signature-" // prefix; of what the directory as a whole holds
)

func openDirectory(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (_ end, err error) {
	e := &directoryEnd{ref: ref}
	if e.target, err = resolve(ref.StringWithinTransport()); err != nil {
		return nil, err
	}
	exists, err := e.checkTarget(ctx, sys)
	if err != nil {
		return nil, err
	}
	if e.temp, err = tempBeside(e.target, exists); err != nil {
		return nil, err
	}
	if err := e.stage(ctx, sys); err != nil {
		return nil, errors.Join(err, os.RemoveAll(e.temp))
	}
	return e, nil
}

// stage makes the directory staged in temp, and opens upstream's destination there.
func (e *directoryEnd) stage(ctx context.Context, sys *types.SystemContext) error {
	e.staged = filepath.Join(e.temp, "new")
	if err := os.Mkdir(e.staged, 0o755); err != nil {
		return err
	}
	ref, err := directory.NewReference(e.staged)
	if err != nil {
		return err
	}
	e.dest, err = ref.NewImageDestination(ctx, sys)
	return err
}

// resolve makes path absolute, and free of symbolic links if it exists.
func resolve(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(absolute)
	if errors.Is(err, fs.ErrNotExist) {
		return absolute, nil
	}
	return resolved, err
}

// checkTarget refuses what upstream refuses to erase: a directory that is neither empty nor of this
// transport.
func (e *directoryEnd) checkTarget(ctx context.Context, sys *types.SystemContext) (exists bool, err error) {
	entries, err := os.ReadDir(e.target)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	entries = slices.DeleteFunc(entries, func(entry fs.DirEntry) bool { return isTemp(entry.Name()) })
	if len(entries) == 0 {
		return true, nil
	}
	if !slices.ContainsFunc(entries, func(entry fs.DirEntry) bool { return entry.Name() == directoryVersion }) {
		return true, directory.ErrNotContainerImageDir
	}
	src, err := openDirectoryImage(ctx, e.ref, sys) // reads the version
	if unsupported := (directory.UnsupportedVersionError{}); errors.As(err, &unsupported) {
		return true, err
	}
	if err != nil {
		return true, directory.ErrNotContainerImageDir
	}
	return true, src.Close()
}

// isTemp reports whether a temporary directory of this package has the name.
func isTemp(name string) bool {
	return strings.HasPrefix(name, strings.TrimSuffix(stagingPattern, "*"))
}

// tempBeside makes a temporary directory from which a directory can be renamed to target: beside
// it, or inside where that is not possible.
func tempBeside(target string, exists bool) (string, error) {
	parent := filepath.Dir(target)
	if !exists {
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return "", err
		}
	}
	temp, err := os.MkdirTemp(parent, stagingPattern)
	if !exists || err == nil && sameFileSystem(temp, target) {
		return temp, err
	}
	if err == nil {
		if err := os.Remove(temp); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(target, stagingPattern)
}

// sameFileSystem reports whether files can be renamed from one directory to the other.
func sameFileSystem(from, to string) bool {
	probe, err := os.MkdirTemp(from, stagingPattern)
	if err != nil {
		return false
	}
	moved := filepath.Join(to, filepath.Base(probe))
	if os.Rename(probe, moved) != nil {
		_ = os.Remove(probe)
		return false
	}
	return os.Remove(moved) == nil
}

func (e *directoryEnd) top(ctx context.Context) (digest.Digest, error) {
	src, err := openDirectoryImage(ctx, e.ref, nil)
	if err != nil {
		return "", err
	}
	defer src.Close()
	content, _, err := src.GetManifest(ctx, nil)
	if err != nil {
		return "", err
	}
	return manifest.Digest(content)
}

// hasManifest looks at what was written since the directory was opened: the rest will be gone.
func (e *directoryEnd) hasManifest(ctx context.Context, d digest.Digest) (bool, error) {
	src, err := openDirectoryImage(ctx, e.dest.Reference(), nil)
	if err != nil {
		return false, err
	}
	defer src.Close()
	content, _, err := src.GetManifest(ctx, &d)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && verify(content, d) == nil, err
}

func (e *directoryEnd) putTop(ctx context.Context, doc endpoint.Document, sigs endpoint.Signatures, commit types.UnparsedImage) error {
	if e.published {
		return errors.New("the directory was written already")
	}
	// A putTop that failed may have left signatures of another document.
	if err := removeNamed(e.staged, func(name string) bool { return strings.HasPrefix(name, directorySignatures) }); err != nil {
		return err
	}
	if err := e.plainEnd.putTop(ctx, doc, sigs, commit); err != nil {
		return err
	}
	return e.publish(ctx)
}

// removeNamed removes the entries of dir that are chosen by their names.
func removeNamed(dir string, choose func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if choose(entry.Name()) {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *directoryEnd) publish(context.Context) error {
	if err := e.replace(); err != nil {
		return err
	}
	e.published = true
	_ = os.RemoveAll(e.temp) // what is published stays published; close tries again and says why
	return nil
}

// replace makes staged the target.
func (e *directoryEnd) replace() error {
	info, err := os.Stat(e.target)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Rename(e.staged, e.target)
	}
	if err != nil {
		return err
	}
	if filepath.Dir(e.temp) == e.target {
		return moveUp(e.staged, e.target)
	}
	if err := os.Chmod(e.staged, info.Mode().Perm()); err != nil {
		return err
	}
	if exchange(e.staged, e.target) == nil {
		return nil
	}
	return e.replaceInTwoSteps()
}

// replaceInTwoSteps makes staged the target, which exists, without exchange.
func (e *directoryEnd) replaceInTwoSteps() error {
	old := filepath.Join(e.temp, "old")
	if os.Rename(e.target, old) != nil {
		return moveUp(e.staged, e.target)
	}
	if err := os.Rename(e.staged, e.target); err != nil {
		return errors.Join(err, os.Rename(old, e.target))
	}
	return nil
}

// moveUp makes the files of staged those of target, so that target holds the old image or the new
// one at (almost) any moment.
func moveUp(staged, target string) error {
	entries, err := os.ReadDir(staged)
	if err != nil {
		return err
	}
	isNew := map[string]bool{}
	move := func(ofWhole bool) error {
		for _, entry := range entries {
			name := entry.Name()
			isNew[name] = true
			if (name == directoryManifest || strings.HasPrefix(name, directorySignatures)) != ofWhole {
				continue
			}
			if err := os.Rename(filepath.Join(staged, name), filepath.Join(target, name)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := move(false); err != nil {
		return err
	}
	if err := removeNamed(target, func(name string) bool { return strings.HasPrefix(name, directorySignatures) }); err != nil {
		return err
	}
	if err := move(true); err != nil {
		return err
	}
	return removeNamed(target, func(name string) bool { return !isNew[name] && !isTemp(name) })
}

func (e *directoryEnd) close() error {
	return errors.Join(e.plainEnd.close(), os.RemoveAll(e.temp))
}
