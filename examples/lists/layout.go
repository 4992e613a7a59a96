package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// load puts what a tool left into the repository of the same name.
func load(reg *registrytest.Registry, repo string) error {
	return imagetest.LoadRepository(reg, repo, filepath.Join(layoutsDir(), repo))
}

// loadAll loads every repository, and returns their names.
func loadAll(reg *registrytest.Registry) (repos []string, err error) {
	dirs, err := os.ReadDir(layoutsDir())
	for _, dir := range dirs {
		err = errors.Join(err, load(reg, dir.Name()))
		repos = append(repos, dir.Name())
	}
	slices.Sort(repos)
	return repos, err
}
