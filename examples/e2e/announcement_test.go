package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestAnnouncedAndRefusedAfterAll copies to registries that announce that they take sparse lists,
// and do not.
func TestAnnouncedAndRefusedAfterAll(t *testing.T) {
	for name, policy := range map[string]registrytest.ListPolicy{
		"strict": registrytest.Distribution3, "requires more than it says": registrytest.RequireArchitectures("arm64"), "Quay": registrytest.Quay, "zot": registrytest.Zot,
	} {
		t.Run(name, func(t *testing.T) {
			f := threePlatforms()
			source := newSource(t, f)
			var dst *registrytest.Registry
			t.Cleanup(func() { retire(dst.Host()) })
			dst = registrytest.Start(t, registrytest.Options{ListPolicy: policy, Announce: &registrytest.Announcement{Sparse: true}})
			ref := "docker://" + dst.Host() + "/" + repo + ":" + tag

			r := mirror(t, "copy", "--platform", "linux/amd64", source, ref)
			r.failed("400 Bad Request", "sparse")
			imagetest.CheckUnchanged(t, dst, repo, tag, "")

			r = mirror(t, "copy", "--platform", "linux/amd64", "--sparse", "auto", source, ref).done()
			assert.Contains(t, r.stdout, "stripped, because the destination refused the sparse list")
			imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: tag, Fixture: f, Present: []string{"amd64"}, Absent: []string{"arm64", "ppc64le", imagetest.Top}})
			assert.Equal(t, 2, dst.Count(registrytest.Is(http.MethodGet, registrytest.KindOther)), "asked once by each command")
		})
	}
}

// TestAskedOnce copies to many tags of a registry, at the same time and one after the other, with
// one Copier.
func TestAskedOnce(t *testing.T) {
	f := threePlatforms()
	source := newSource(t, f)
	for name, hide := range map[string]bool{"announced": announced, "hidden": hidden} {
		t.Run(name, func(t *testing.T) {
			dst := newPlace(t, on("amd64"), hide)
			copier := copy.NewCopier(copy.CopierOptions{})
			defer func() { assert.NoError(t, copier.Close()) }()
			var group errgroup.Group
			for i := range 8 {
				group.Go(func() error { return copyAMD64(t, copier, source, dst.ref(fmt.Sprint(i))) })
			}
			require.NoError(t, group.Wait())
			require.NoError(t, copyAMD64(t, copier, source, dst.ref(tag)))
			assert.Equal(t, []string{"GET " + sparseregistry.CapabilitiesPath}, dst.asked())
		})
	}
}

// TestNotAskedInVain copies what is not sparse, or is stripped anyway.
func TestNotAskedInVain(t *testing.T) {
	f := threePlatforms()
	source := newSource(t, f)
	dst := newPlace(t, on("amd64"), announced)
	mirror(t, "copy", "--platform", "linux/arm64", "--sparse", "strip", source, dst.ref("stripped")).done()
	mirror(t, "copy", "--all", source, dst.ref("all")).done()
	mirror(t, "copy", "--override-os", "linux", "--override-arch", "amd64", source, dst.ref("image")).done()
	assert.Empty(t, dst.asked())
}

// copyAMD64 copies through the library: the command must not run twice at the same time.
func copyAMD64(t *testing.T, copier *copy.Copier, source, destination string) error {
	srcRef, err := alltransports.ParseImageName(source)
	if err != nil {
		return err
	}
	destRef, err := alltransports.ParseImageName(destination)
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer func() { _ = policy.Destroy() }() // does nothing for this policy
	amd64, err := copy.ParsePlatformFilter("linux/amd64")
	if err != nil {
		return err
	}
	sys := &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}
	_, err = copier.Image(t.Context(), policy, destRef, srcRef, &copy.Options{
		SourceCtx: sys, DestinationCtx: sys,
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: []copy.InstancePlatformFilter{amd64},
	})
	return err
}

// TestChildrenWithoutPlatform are what registries announce nothing about: whether they are required
// is found out by writing.
func TestChildrenWithoutPlatform(t *testing.T) {
	f := imagetest.New()
	f.Layer("base", imagetest.File("etc/motd", "hello\n"))
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("base"))
	f.Image("plain", imagetest.NoPlatform(), imagetest.Layers("base"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "plain"))
	source := newSource(t, f)

	optional := on("amd64")
	optional.OptionalWithoutPlatform = true
	plain := f.Digest("plain").String()
	for name, c := range map[string]struct {
		policy  manifest.SparsePolicy
		hide    bool
		refused string // with these words; "" if it is not
	}{
		"required":                    {on("amd64"), announced, "the destination requires the instance " + plain[:len("sha256:")+12] + " (no platform)"},
		"required, and not announced": {on("amd64"), hidden, "Required manifest " + plain + " without platform not found"},
		"optional":                    {optional, announced, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dst := newPlace(t, c.policy, c.hide)
			r := mirror(t, "copy", "--platform", "linux/amd64", source, dst.ref(tag))
			if c.refused != "" {
				r.failed(c.refused, "--sparse auto")
				dst.checkUnknown(tag)
				return
			}
			r.done()
			dst.check(imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f, Only: true, Present: []string{"amd64"}, Absent: []string{"plain"}})
		})
	}
}
