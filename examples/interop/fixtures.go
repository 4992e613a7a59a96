package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// makeFixtures lets cosign sign the lists of imagetest.SignedLists with the keys in
// testdata/signed, which it makes if they are not there, and saves what the registry then has.
func makeFixtures(ctx context.Context, out io.Writer) (err error) {
	b, err := newBench()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	for _, name := range []string{"cosign", "other"} {
		if err := b.keys(ctx, name); err != nil {
			return err
		}
	}
	reg := registrytest.New(registrytest.Options{})
	defer reg.Close()
	tags, bundles := string(imagetest.SignedTags), string(imagetest.SignedBundles)
	f := pushLists(reg, tags)
	pushLists(reg, bundles)
	if err := b.signTags(ctx, reg.Host()+"/"+tags, imagetest.SignedRepository, f, "v2", "arm64-v2", "nested"); err != nil {
		return err
	}
	if err := b.signBundles(ctx, reg.Host()+"/"+bundles, f, "v2", "nested"); err != nil {
		return err
	}
	for _, repo := range []string{tags, bundles} {
		if err := imagetest.SaveRepository(reg, repo, filepath.Join(signedDir(), repo)); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %d manifests\n", repo, len(reg.Manifests(repo)))
	}
	return nil
}

// keys puts a key pair of testdata/signed on the bench, or makes one and puts it there.
func (b bench) keys(ctx context.Context, name string) error {
	files := []string{name + ".key", name + ".pub"}
	for _, file := range files {
		err := copyFile(b.path(file), filepath.Join(signedDir(), file))
		if errors.Is(err, os.ErrNotExist) {
			return b.makeKeys(ctx, name, files)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b bench) makeKeys(ctx context.Context, name string, files []string) error {
	if err := b.cosign(ctx, []string{"generate-key-pair", "--output-key-prefix", name}); err != nil {
		return err
	}
	if err := os.MkdirAll(signedDir(), 0o755); err != nil {
		return err
	}
	for _, file := range files {
		if err := copyFile(filepath.Join(signedDir(), file), b.path(file)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
