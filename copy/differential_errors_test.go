package copy

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

func as[E error](err error) bool { _, ok := errors.AsType[E](err); return ok }

func code(codes ...errcode.ErrorCode) func(error) bool {
	return func(err error) bool {
		var coder errcode.ErrorCoder
		if !errors.As(err, &coder) {
			return false
		}
		for _, c := range codes {
			if coder.ErrorCode() == c {
				return true
			}
		}
		return false
	}
}

// errorChecks are what programs that use upstream ask its errors.
var errorChecks = map[string]func(error) bool{
	"layout.ImageNotFoundError":            as[layout.ImageNotFoundError],
	"archive.ImageNotFoundError":           as[ociarchive.ImageNotFoundError],
	"archive.ArchiveFileNotFoundError":     as[ociarchive.ArchiveFileNotFoundError],
	"directory.ErrNotContainerImageDir":    is(directory.ErrNotContainerImageDir),
	"docker.ErrUnauthorizedForCredentials": as[docker.ErrUnauthorizedForCredentials],
	"docker.ErrTooManyRequests":            is(docker.ErrTooManyRequests),
	"docker.UnexpectedHTTPStatusError":     as[docker.UnexpectedHTTPStatusError],
	"types.ManifestTypeRejectedError":      as[types.ManifestTypeRejectedError],
	"signature.PolicyRequirementError":     as[signature.PolicyRequirementError],
	"signature.InvalidSignatureError":      as[signature.InvalidSignatureError],
	"manifest unknown":                     code(v2.ErrorCodeManifestUnknown),
	"name unknown":                         code(v2.ErrorCodeNameUnknown),
	"blob unknown":                         code(v2.ErrorCodeBlobUnknown),
	"manifest invalid":                     code(v2.ErrorCodeManifestInvalid),
	"unauthorized":                         code(errcode.ErrorCodeUnauthorized),
	"denied":                               code(errcode.ErrorCodeDenied),
	"fs.ErrNotExist":                       is(fs.ErrNotExist),
	"context.Canceled":                     is(context.Canceled),
	"ECONNREFUSED":                         is(syscall.ECONNREFUSED),
	"*net.OpError":                         as[*net.OpError],
	"*url.Error":                           as[*url.Error],
	"io.EOF":                               is(io.EOF),
	"retryable":                            retryable,
}

// retryable decides like programs that try again: by the types along the way that Unwrap goes.
func retryable(err error) bool {
	switch e := err.(type) {
	case nil:
		return false
	case errcode.Error:
		return e.Code != errcode.ErrorCodeUnauthorized && e.Code != errcode.ErrorCodeDenied && e.Code != v2.ErrorCodeNameUnknown && e.Code != v2.ErrorCodeManifestUnknown
	case docker.UnexpectedHTTPStatusError:
		return e.StatusCode >= http.StatusBadGateway && e.StatusCode <= http.StatusGatewayTimeout
	case *url.Error:
		return e.Err == io.EOF || retryable(e.Err)
	case *net.OpError:
		return retryable(e.Err)
	case syscall.Errno:
		return e == syscall.ECONNREFUSED || e == syscall.ECONNRESET || e == syscall.ETIMEDOUT
	case net.Error:
		wraps, ok := e.(interface{ Unwrap() error })
		return e.Timeout() || ok && retryable(wraps.Unwrap())
	case interface{ Unwrap() error }:
		return retryable(e.Unwrap())
	}
	return false
}

// TestErrorsLikeUpstreams fails in many ways, and asks both errors what programs ask upstream's. Where programs look for words, both have
// them.
func TestErrorsLikeUpstreams(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	always := func(a registrytest.Answer, method string, kind registrytest.Kind) registrytest.Options {
		return registrytest.Options{Script: registrytest.Only(registrytest.Matching(method, kind), func(int, *http.Request) registrytest.Answer { return a })}
	}
	registry := func(t *testing.T, o registrytest.Options) registryPlace {
		place := registryPlace{t, registrytest.Start(t, o), "app"}
		place.push(f, "v1", imagetest.Top)
		return place
	}
	from := func(o registrytest.Options, tag string) func(*testing.T) types.ImageReference {
		return func(t *testing.T) types.ImageReference { return registry(t, o).ref(tag) }
	}
	good := from(registrytest.Options{}, "v1")
	to := func(o registrytest.Options) func(*testing.T) types.ImageReference {
		return func(t *testing.T) types.ImageReference {
			return registryPlace{t, registrytest.Start(t, o), "new"}.ref("v1")
		}
	}
	inLayout := func(t *testing.T) types.ImageReference { return places["layout"](t).ref("v1") }
	nowhere := func(t *testing.T) types.ImageReference {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, listener.Close())
		return dockerRef(t, listener.Addr().String()+"/app:v1")
	}
	archive := func(t *testing.T, image string) types.ImageReference {
		c := newFixedCase(t, "", Options{})
		c.from, c.fixture, c.source = "oci-archive", f, imagetest.Top
		ref, err := ociarchive.NewReference(strings.TrimSuffix(c.newSource().StringWithinTransport(), ":v1"), image)
		require.NoError(t, err)
		return ref
	}
	dir := func(t *testing.T, path string) types.ImageReference {
		ref, err := directory.NewReference(path)
		require.NoError(t, err)
		return ref
	}
	fail := registrytest.Fail
	for name, c := range map[string]struct {
		src, dst func(*testing.T) types.ImageReference
		options  Options
		policy   signature.PolicyRequirement
		words    string // a pattern that both errors match
		finds    []string
	}{
		"no tag":        {src: from(registrytest.Options{}, "v2"), words: `initializing source docker://.*:v2:.*manifest unknown`, finds: []string{"manifest unknown"}},
		"no repository": {src: from(always(fail(404, "NAME_UNKNOWN", "repository name not known to registry"), "GET", registrytest.KindManifest), "v1"), words: "initializing source"},
		"no child": {src: func(t *testing.T) types.ImageReference {
			p := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
			p.push(f, "v1", imagetest.Top, "arm64")
			return p.ref("v1")
		}, options: Options{ImageListSelection: CopyAllImages}, finds: []string{"manifest unknown"}},
		"access denied":  {src: from(always(fail(403, "DENIED", "not you"), "GET", registrytest.KindManifest), "v1"), words: "initializing source .*not you", finds: []string{"denied"}},
		"no credentials": {src: from(registrytest.Options{Auth: &registrytest.Auth{}}, "v1"), words: "initializing source"},
		"no token":       {src: from(registrytest.Options{Auth: &registrytest.Auth{Bearer: true}}, "v1"), words: "initializing source"},
		"broken source":  {src: from(always(fail(500, "UNKNOWN", "broken"), "GET", registrytest.KindManifest), "v1"), words: "initializing source"},
		"a page":         {src: from(always(registrytest.FailHTML(404), "GET", registrytest.KindManifest), "v1"), words: "initializing source .*reading manifest v1 in .*StatusCode: 404"},
		"nobody there":   {src: nowhere, words: "initializing source .*connection refused", finds: []string{"ECONNREFUSED", "*net.OpError", "*url.Error", "retryable"}},
		"not with TLS":   {src: good, options: Options{SourceCtx: &types.SystemContext{}}, words: "server gave HTTP response to HTTPS client"},
		"no tag in layout": {src: func(t *testing.T) types.ImageReference {
			p := places["layout"](t)
			p.push(f, "v2", imagetest.Top)
			return p.ref("v1")
		}, finds: []string{"layout.ImageNotFoundError"}},
		"no layout":         {src: inLayout, finds: []string{"fs.ErrNotExist"}},
		"no tag in archive": {src: func(t *testing.T) types.ImageReference { return archive(t, "v2") }, finds: []string{"archive.ImageNotFoundError"}},
		"no archive": {src: func(t *testing.T) types.ImageReference {
			ref, err := ociarchive.NewReference(filepath.Join(t.TempDir(), "none"), "v1")
			require.NoError(t, err)
			return ref
		}, finds: []string{"archive.ArchiveFileNotFoundError"}},
		"no directory": {src: func(t *testing.T) types.ImageReference { return dir(t, filepath.Join(t.TempDir(), "none")) }, finds: []string{"fs.ErrNotExist"}},
		"no images": {src: good, dst: func(t *testing.T) types.ImageReference {
			d := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(d, "mine"), nil, 0o600))
			return dir(t, d)
		}, words: "initializing destination", finds: []string{"directory.ErrNotContainerImageDir"}},
		"no layer":            {src: from(always(fail(404, "BLOB_UNKNOWN", "blob unknown to registry"), "GET", registrytest.KindBlob), "v1")},
		"upload denied":       {src: good, dst: to(always(fail(403, "DENIED", "not you"), "", registrytest.KindUpload)), words: "not you", finds: []string{"denied"}},
		"manifest denied":     {src: good, dst: to(always(fail(403, "DENIED", "not you"), "PUT", registrytest.KindManifest)), words: "not you", finds: []string{"denied"}},
		"denied, handed over": {src: good, dst: to(always(fail(403, "DENIED", "not you"), "PUT", registrytest.KindManifest)), options: Options{ForceManifestMIMEType: manifest.MediaTypeDockerManifest}, words: "not you", finds: []string{"denied"}},
		"gone, handed over":   {src: from(always(registrytest.Fail(500, "UNKNOWN", "broken"), "GET", registrytest.KindBlob), "v1"), options: Options{ForceManifestMIMEType: manifest.MediaTypeDockerManifest}, finds: []string{"docker.UnexpectedHTTPStatusError"}},
		"manifest invalid":    {src: good, dst: to(always(fail(400, "MANIFEST_INVALID", "manifest invalid"), "PUT", registrytest.KindManifest)), options: Options{PreserveDigests: true}, words: "manifest invalid", finds: []string{"types.ManifestTypeRejectedError"}},
		"no such platform": {
			src: good, options: Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/mips")}, words: "no instances found for platform linux/mips",
		},
		"digests stay":          {src: good, options: Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"), SparseManifestListAction: StripSparseManifestList, PreserveDigests: true}, words: "Instructed to preserve digests"},
		"no such system":        {src: good, options: Options{SourceCtx: &types.SystemContext{OSChoice: "plan9"}}, words: "no image found in (manifest list|image index) for architecture .*, variant .*, OS .*"},
		"rejected":              {src: good, policy: signature.NewPRReject(), words: "Source image rejected: Running image docker://.*:v1 is rejected by policy", finds: []string{"signature.PolicyRequirementError"}},
		"rejected, handed over": {src: good, options: Options{OciEncryptLayers: &[]int{}}, policy: signature.NewPRReject(), words: "Source image rejected: Running image docker://.*:v1 is rejected by policy"},
		"a signature is wanted": {src: good, policy: must(signature.NewPRSignedByKeyData(signature.SBKeyTypeGPGKeys, []byte("key"), signature.NewPRMMatchExact())), words: "Source image rejected: A signature was required, but no signature exists"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newFixedCase(t, "", c.options)
			if c.policy != nil {
				d.e.policy = d.e.newPolicy(&signature.Policy{Default: signature.PolicyRequirements{c.policy}})
			}
			dst := c.dst
			if dst == nil {
				dst = inLayout
			}
			u, o := d.upstreamOptions(), d.e.options(d.options)
			if sys := c.options.SourceCtx; sys != nil {
				own := *d.e.sys
				own.DockerInsecureSkipTLSVerify = sys.DockerInsecureSkipTLSVerify
				if sys.OSChoice != "" {
					own.OSChoice, own.DockerInsecureSkipTLSVerify = sys.OSChoice, types.OptionalBoolTrue
				}
				u.SourceCtx, o.SourceCtx = &own, &own
			}
			src := c.src(t)
			_, theirs := upstream.Image(t.Context(), d.e.policy, dst(t), src, u)
			_, ours := Image(t.Context(), d.e.policy, dst(t), src, o)
			require.Error(t, theirs)
			require.Error(t, ours)
			for name, check := range errorChecks {
				if check(theirs) {
					assert.True(t, check(ours), "%s: upstream %v\nours %v", name, theirs, ours)
				}
			}
			assert.Equal(t, retryable(theirs), retryable(ours), "retryable: upstream %v\nours %v", theirs, ours)
			for _, found := range c.finds {
				assert.True(t, errorChecks[found](ours), "%s: %v", found, ours)
			}
			assert.Regexp(t, regexp.MustCompile(c.words), theirs.Error(), "upstream")
			assert.Regexp(t, regexp.MustCompile(c.words), ours.Error())
		})
	}
}
