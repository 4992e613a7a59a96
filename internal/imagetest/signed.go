package imagetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A SignedForm is how cosign attached its signatures to the lists of SignedLists: the name of an
// OCI layout in testdata/signed.
type SignedForm string

const (
	SignedTags    SignedForm = "tags"    // tags: sha256-<hex>.sig and sha256-<hex>.att
	SignedBundles SignedForm = "bundles" // referrers: sigstore bundles
)

// SignedRepository is what the signatures in the form of tags say that they were made for. Bundles
// say nothing of the kind.
const SignedRepository = "registry.example/team/app"

// SignedLists makes the lists that are signed in testdata/signed:
//   - Top, tagged v1: eight platforms, as Platforms(8, 1, 100) makes them
//   - v2, tagged v2: the same, but for the image of arm64, which is arm64-v2
//   - nested, tagged nested: [amd64, inner, s390x], and inner is [arm64, arm/v7]
func SignedLists() *Fixture {
	f := Platforms(8, 1, 100)
	f.Layer("arm64-v2.0", File("etc/version", "2\n"))
	f.Image("arm64-v2", Platform("linux/arm64"), Layers("arm64-v2.0"))
	f.List("v2", Entries("amd64", "arm64-v2", "arm/v7", "ppc64le", "s390x", "riscv64", "386", "arm/v6"))
	f.List("inner", Entries("arm64", "arm/v7"))
	f.List("nested", Entries("amd64", "inner", "s390x"))
	return f
}

// PushSigned puts the lists of SignedLists into a repository of an in-process registry, as cosign
// left them: signed in the given forms, all of them in the same repository.
func PushSigned(reg *registrytest.Registry, repo string, forms ...SignedForm) {
	for _, form := range forms {
		if err := LoadRepository(reg, repo, SignedFile(string(form))); err != nil {
			fail("signed lists: %v", err)
		}
	}
}

// SignedFile is the path of a file in testdata/signed. Files there are cosign.key and cosign.pub,
// the key pair of the publisher, who signed everything, and other.key and other.pub, of somebody
// else, who signed nothing. The private keys have the empty passphrase.
func SignedFile(name string) string {
	path, err := inTestdata(filepath.Join("signed", name))
	if err != nil {
		fail("%v", err)
	}
	return path
}

// inTestdata looks for a file in the directory testdata at the top of the checkout, which is above
// the directory where a test runs.
func inTestdata(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, "testdata", name)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no directory above has testdata/%s", name)
		}
		dir = parent
	}
}
