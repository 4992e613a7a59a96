package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

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
	forms := map[imagetest.SignedForm]func(context.Context, string, *imagetest.Fixture) error{
		imagetest.SignedTags: b.signTags, imagetest.SignedBundles: b.signBundles,
	}
	for form, sign := range forms {
		repo := string(form)
		f := pushLists(reg, repo)
		if err := sign(ctx, reg.Host()+"/"+repo, f); err != nil {
			return err
		}
		if err := imagetest.SaveRepository(reg, repo, filepath.Join(signedDir(), repo)); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %d manifests\n", repo, len(reg.Manifests(repo)))
	}
	return nil
}

// pushLists puts the lists into a repository, unsigned.
func pushLists(reg *registrytest.Registry, repo string) *imagetest.Fixture {
	f := imagetest.SignedLists()
	f.PushTo(reg, repo, "v1", imagetest.Top)
	f.PushTo(reg, repo, "v2", "v2")
	f.PushTo(reg, repo, "nested", "nested")
	return f
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

// signTags signs the lists, and every image, in the format of tags.
func (b bench) signTags(ctx context.Context, repo string, f *imagetest.Fixture) error {
	options := []string{"--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false", "--yes"}
	sign := slices.Concat([]string{"sign"}, options, []string{"--sign-container-identity", imagetest.SignedRepository})
	at := func(list string) string { return repo + "@" + f.Digest(list).String() }
	predicate, err := b.predicate()
	if err != nil {
		return err
	}
	return b.cosign(ctx,
		slices.Concat(sign, []string{"--recursive", at(imagetest.Top)}),
		slices.Concat(sign, []string{at("v2"), at("arm64-v2"), at("nested"), at("inner")}),
		slices.Concat([]string{"attest"}, options, predicate, []string{at(imagetest.Top)}))
}

// signBundles signs the lists, as cosign does since version 3 if nothing else is asked for.
func (b bench) signBundles(ctx context.Context, repo string, f *imagetest.Fixture) error {
	options := []string{"--key", "cosign.key", "--signing-config", "signing-config.json", "--yes"}
	at := func(list string) string { return repo + "@" + f.Digest(list).String() }
	predicate, err := b.predicate()
	if err != nil {
		return err
	}
	return b.cosign(ctx,
		[]string{"signing-config", "create", "--out", "signing-config.json"}, // no service at all: nothing leaves the machine
		slices.Concat([]string{"sign"}, options, []string{at(imagetest.Top), at("v2"), at("nested"), at("inner")}),
		slices.Concat([]string{"attest"}, options, predicate, []string{at(imagetest.Top)}))
}

// predicate writes the predicate of an attestation, and returns the options that name it.
func (b bench) predicate() ([]string, error) {
	err := os.WriteFile(b.path("predicate.json"), []byte(`{"builder":"none"}`), 0o644)
	return []string{"--type", "custom", "--predicate", "predicate.json"}, err
}
