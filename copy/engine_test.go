package copy

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// An env is what engine tests run in: configuration that has nothing to do with the machine's, and a policy that accepts
// everything.
type env struct {
	t      testing.TB
	sys    *types.SystemContext
	policy *signature.PolicyContext
}

func newEnv(t testing.TB) *env {
	t.Helper()
	sys, _ := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	sys.ArchitectureChoice, sys.OSChoice = "amd64", "linux"
	e := &env{t: t, sys: sys}
	e.policy = e.newPolicy(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	return e
}

func (e *env) newPolicy(p *signature.Policy) *signature.PolicyContext {
	e.t.Helper()
	c, err := signature.NewPolicyContext(p)
	require.NoError(e.t, err)
	e.t.Cleanup(func() { require.NoError(e.t, c.Destroy()) })
	return c
}

// options returns options with the environment's configuration.
func (e *env) options(o Options) *Options {
	sys := *e.sys
	if o.SourceCtx == nil {
		o.SourceCtx = &sys
	}
	if o.DestinationCtx == nil {
		o.DestinationCtx = &sys
	}
	return &o
}

// copier returns a Copier for one copy with o, whose retries wait as long as a test can afford.
func (e *env) copier(o Options) *Copier {
	c := NewCopier(CopierOptions{
		MaxParallelDownloads: o.MaxParallelDownloads, Retries: RetryPolicy{BaseDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond},
	})
	e.t.Cleanup(func() { require.NoError(e.t, c.Close()) })
	return c
}

// image copies, and returns the report.
func (e *env) image(ctx context.Context, dest, src types.ImageReference, o Options) (*Report, error) {
	e.t.Helper()
	return e.imageWith(ctx, e.copier(o), dest, src, o)
}

// imageWith copies with a Copier, and returns the report.
func (e *env) imageWith(ctx context.Context, c *Copier, dest, src types.ImageReference, o Options) (*Report, error) {
	e.t.Helper()
	var r Report
	o.Report = &r
	copied, err := c.Image(ctx, e.policy, dest, src, e.options(o))
	if err == nil {
		require.NotEmpty(e.t, copied)
		require.Equal(e.t, "", r.Error)
	} else {
		require.Nil(e.t, copied)
		require.Equal(e.t, err.Error(), r.Error)
	}
	return &r, err
}

// registryRef is the reference of a repository and tag, or digest, at a test registry.
func registryRef(t testing.TB, r *registrytest.Registry, repo, ref string) types.ImageReference {
	t.Helper()
	sep := ":"
	if len(ref) > 7 && ref[:7] == "sha256:" {
		sep = "@"
	}
	named, err := reference.ParseNormalizedNamed(r.Host() + "/" + repo + sep + ref)
	require.NoError(t, err)
	dockerRef, err := docker.NewReference(named)
	require.NoError(t, err)
	return dockerRef
}

func layoutRef(t testing.TB, dir, tag string) types.ImageReference {
	t.Helper()
	ref, err := layout.NewReference(dir, tag)
	require.NoError(t, err)
	return ref
}

func platforms(filters ...string) []InstancePlatformFilter {
	parsed := make([]InstancePlatformFilter, len(filters))
	for i, f := range filters {
		p, err := ParsePlatformFilter(f)
		if err != nil {
			panic(err)
		}
		parsed[i] = p
	}
	return parsed
}
