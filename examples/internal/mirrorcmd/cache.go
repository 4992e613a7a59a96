package mirrorcmd

import (
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/cache"
)

// caching are the flags that say where manifests and signatures of sources are kept between runs.
// The zero value, of commands that read no source, keeps nothing.
type caching struct {
	defined bool
	dir     string
	none    bool
}

func (c *caching) define(flags *pflag.FlagSet) {
	c.defined = true
	flags.StringVar(&c.dir, "cache-dir", "", "keep manifests and signatures of sources in `DIR`, so that what has not changed is not read again (default: mirror, where this user's caches are)")
	flags.BoolVar(&c.none, "no-cache", false, "keep nothing of sources, and use nothing that is kept")
}

// open returns the cache, nil for none. That there is no place for one where nobody has named it is
// no error.
func (c *caching) open() (copy.DocumentCache, error) {
	switch {
	case c.none && c.dir != "":
		return nil, misusef("--cache-dir and --no-cache exclude each other")
	case c.none, !c.defined:
		return nil, nil
	case c.dir != "":
		kept, err := cache.Directory(c.dir, 0)
		if err != nil {
			return nil, misusef("--cache-dir: %w", err)
		}
		return kept, nil
	}
	kept, err := ofThisUser()
	if err != nil {
		logrus.Debugf("Nothing of sources is kept: %v; --cache-dir names another place", err)
		return nil, nil
	}
	return kept, nil
}

// ofThisUser is the cache in the directory that the user has for caches.
func ofThisUser() (copy.DocumentCache, error) {
	dir := os.Getenv("XDG_CACHE_HOME")
	if !filepath.IsAbs(dir) { // XDG Base Directory Specification: such a path is ignored
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return nil, err
		}
	}
	return cache.Directory(filepath.Join(dir, "mirror"), 0)
}
