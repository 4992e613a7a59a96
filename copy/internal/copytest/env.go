package copytest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// NewAttachmentsEnv is NewEnv with sigstore attachments.
func NewAttachmentsEnv(t testing.TB) *Env {
	e := NewEnv(t)
	require.NoError(t, os.WriteFile(filepath.Join(e.Sys.RegistriesDirPath, "default.yaml"), []byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o600))
	return e
}

// NewCopier returns a Copier that is closed at the end of the test.
func NewCopier(t testing.TB, options copy.CopierOptions) *copy.Copier {
	c := copy.NewCopier(options)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// An Env is what engine tests run in: configuration that has nothing to do with the machine's, and
// a policy that accepts everything.
type Env struct {
	T      testing.TB
	Sys    *types.SystemContext
	Policy *signature.PolicyContext
}

// NewEnv returns an environment in directories of its own.
func NewEnv(t testing.TB) *Env {
	t.Helper()
	sys, _ := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	sys.ArchitectureChoice, sys.OSChoice = "amd64", "linux"
	e := &Env{T: t, Sys: sys}
	e.Policy = e.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	return e
}

// NewPolicy returns a policy context that is destroyed at the end of the test.
func (e *Env) NewPolicy(p *signature.Policy) *signature.PolicyContext {
	e.T.Helper()
	c, err := signature.NewPolicyContext(p)
	require.NoError(e.T, err)
	e.T.Cleanup(func() { require.NoError(e.T, c.Destroy()) })
	return c
}

// Options returns options with the environment's configuration.
func (e *Env) Options(o copy.Options) *copy.Options {
	sys := *e.Sys
	if o.SourceCtx == nil {
		o.SourceCtx = &sys
	}
	if o.DestinationCtx == nil {
		o.DestinationCtx = &sys
	}
	return &o
}

// Copier returns a Copier for one copy with o, whose retries wait as long as a test can afford.
func (e *Env) Copier(o copy.Options) *copy.Copier {
	c := copy.NewCopier(copy.CopierOptions{
		MaxParallelDownloads: o.MaxParallelDownloads, Retries: copy.RetryPolicy{BaseDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond},
	})
	e.T.Cleanup(func() { require.NoError(e.T, c.Close()) })
	return c
}

// Image copies, and returns the report.
func (e *Env) Image(ctx context.Context, dest, src types.ImageReference, o copy.Options) (*copy.Report, error) {
	e.T.Helper()
	return e.ImageWith(ctx, e.Copier(o), dest, src, o)
}

// ImageWith copies with a Copier, and returns the report.
func (e *Env) ImageWith(ctx context.Context, c *copy.Copier, dest, src types.ImageReference, o copy.Options) (*copy.Report, error) {
	e.T.Helper()
	var r copy.Report
	o.Report = &r
	copied, err := c.Image(ctx, e.Policy, dest, src, e.Options(o))
	if err == nil {
		require.NotEmpty(e.T, copied)
		require.Equal(e.T, "", r.Error)
	} else {
		require.Nil(e.T, copied)
		require.Equal(e.T, err.Error(), r.Error)
	}
	return &r, err
}

// WithAccount is a copy of the environment's configuration with credentials.
func (e *Env) WithAccount(username, password string) *types.SystemContext {
	sys := *e.Sys
	sys.DockerAuthConfig = &types.DockerAuthConfig{Username: username, Password: password}
	return &sys
}

func (e *Env) Tags(t *testing.T, r *registrytest.Registry, side copy.Side) (*copy.TagList, error) {
	t.Helper()
	return copy.Tags(t.Context(), RegistryRef(t, r, "app", "whatever"), &copy.TagsOptions{SystemContext: e.Sys, Side: side})
}
