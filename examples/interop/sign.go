package main

import (
	"context"
	"os"
	"slices"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// pushLists puts the lists of imagetest.SignedLists into a repository, unsigned.
func pushLists(reg *registrytest.Registry, repo string) *imagetest.Fixture {
	f := imagetest.SignedLists()
	f.PushTo(reg, repo, "v1", imagetest.Top)
	f.PushTo(reg, repo, "v2", "v2")
	f.PushTo(reg, repo, "nested", "nested")
	return f
}

// signTags signs v1, with its images, and what is named besides in a repository, in the format of
// tags. The signatures say that they are made for identity, or for the repository if that is "".
func (b bench) signTags(ctx context.Context, repo, identity string, f *imagetest.Fixture, named ...string) error {
	options := []string{"--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false", "--yes"}
	sign := append([]string{"sign"}, options...)
	if identity != "" {
		sign = append(sign, "--sign-container-identity", identity)
	}
	predicate, err := b.predicate()
	if err != nil {
		return err
	}
	top := references(repo, f, imagetest.Top)
	return b.cosign(ctx,
		slices.Concat(sign, []string{"--recursive"}, top),
		slices.Concat(sign, references(repo, f, named...)),
		slices.Concat([]string{"attest"}, options, predicate, top))
}

// signBundles signs v1 and what is named besides in a repository, as cosign does since version 3 if
// nothing else is asked for.
func (b bench) signBundles(ctx context.Context, repo string, f *imagetest.Fixture, named ...string) error {
	options := []string{"--key", "cosign.key", "--signing-config", "signing-config.json", "--yes"}
	predicate, err := b.predicate()
	if err != nil {
		return err
	}
	top := references(repo, f, imagetest.Top)
	return b.cosign(ctx,
		[]string{"signing-config", "create", "--out", "signing-config.json"}, // no service at all: nothing leaves the machine
		slices.Concat([]string{"sign"}, options, top, references(repo, f, named...)),
		slices.Concat([]string{"attest"}, options, predicate, top))
}

// references are those of documents in a repository, by their digests.
func references(repo string, f *imagetest.Fixture, names ...string) (references []string) {
	for _, d := range f.Digests(names...) {
		references = append(references, repo+"@"+d.String())
	}
	return references
}

// predicate writes the predicate of an attestation, and returns the options that name it.
func (b bench) predicate() ([]string, error) {
	err := os.WriteFile(b.path("predicate.json"), []byte(`{"builder":"none"}`), 0o644)
	return []string{"--type", "custom", "--predicate", "predicate.json"}, err
}
