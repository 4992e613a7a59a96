package others

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/scheme/reg"
	"github.com/regclient/regclient/types/platform"
	"github.com/regclient/regclient/types/ref"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// A client is another library that speaks to registries. Its functions take hosts of registries
// without TLS, and mean repo and tag.
type client interface {
	// copy copies all that the tag names from one registry to the other.
	copy(ctx context.Context, to, from string) error
	// copyAttached copies what refers to it, too.
	copyAttached(ctx context.Context, to, from string) error
	// pull copies all that the tag names into a new layout in dir; with an architecture, what it
	// names for that.
	pull(ctx context.Context, dir, from, architecture string) error
	// referrers returns the digests of what refers to d, sorted.
	referrers(ctx context.Context, at string, d digest.Digest) ([]digest.Digest, error)
}

var clients = map[string]client{"oras-go": orasClient{}, "regclient": regClient{}}

type orasClient struct{}

// orasTransport is not that of all: each httptest.Server that is closed closes the connections of
// http.DefaultTransport, which may be about to be used.
var orasTransport = retry.NewTransport(http.DefaultTransport.(*http.Transport).Clone())

func (orasClient) repository(host string) (*remote.Repository, error) {
	repository, err := remote.NewRepository(host + "/" + repo)
	if err == nil {
		repository.PlainHTTP = true
		repository.Client = &auth.Client{Client: &http.Client{Transport: orasTransport}}
	}
	return repository, err
}

func (c orasClient) copy(ctx context.Context, to, from string) error {
	src, dst, err := c.repositories(to, from)
	if err != nil {
		return err
	}
	_, err = oras.Copy(ctx, src, tag, dst, tag, oras.DefaultCopyOptions)
	return err
}

func (c orasClient) copyAttached(ctx context.Context, to, from string) error {
	src, dst, err := c.repositories(to, from)
	if err != nil {
		return err
	}
	_, err = oras.ExtendedCopy(ctx, src, tag, dst, tag, oras.DefaultExtendedCopyOptions)
	return err
}

func (c orasClient) repositories(to, from string) (src, dst *remote.Repository, err error) {
	src, srcErr := c.repository(from)
	dst, dstErr := c.repository(to)
	return src, dst, errors.Join(srcErr, dstErr)
}

func (c orasClient) pull(ctx context.Context, dir, from, architecture string) error {
	src, err := c.repository(from)
	if err != nil {
		return err
	}
	dst, err := oci.NewWithContext(ctx, dir)
	if err != nil {
		return err
	}
	options := oras.DefaultCopyOptions
	if architecture != "" {
		options.WithTargetPlatform(&imgspecv1.Platform{OS: "linux", Architecture: architecture})
	}
	_, err = oras.Copy(ctx, src, tag, dst, tag, options)
	return err
}

func (c orasClient) referrers(ctx context.Context, at string, d digest.Digest) (all []digest.Digest, err error) {
	repository, err := c.repository(at)
	if err != nil {
		return nil, err
	}
	subject, err := repository.Resolve(ctx, d.String())
	if err != nil {
		return nil, err
	}
	err = repository.Referrers(ctx, subject, "", func(page []imgspecv1.Descriptor) error {
		for _, referrer := range page {
			all = append(all, referrer.Digest)
		}
		return nil
	})
	return sortedDigests(all), err
}

type regClient struct{}

// to returns a client for these hosts.
func (regClient) to(hosts ...string) *regclient.RegClient {
	options := []regclient.Opt{regclient.WithRegOpts(reg.WithDelay(time.Millisecond, time.Millisecond))}
	for _, host := range hosts {
		options = append(options, regclient.WithConfigHost(config.Host{Name: host, Hostname: host, TLS: config.TLSDisabled}))
	}
	return regclient.New(options...)
}

func (c regClient) copy(ctx context.Context, to, from string) error {
	return c.between(ctx, c.to(to, from), to+"/"+repo+":"+tag, from+"/"+repo+":"+tag)
}

func (c regClient) copyAttached(ctx context.Context, to, from string) error {
	return c.between(ctx, c.to(to, from), to+"/"+repo+":"+tag, from+"/"+repo+":"+tag, regclient.ImageWithReferrers())
}

func (c regClient) pull(ctx context.Context, dir, from, architecture string) error {
	rc, source := c.to(from), from+"/"+repo+":"+tag
	if architecture != "" {
		src, err := ref.New(source)
		if err != nil {
			return err
		}
		image, err := rc.ManifestHead(ctx, src, regclient.WithManifestPlatform(platform.Platform{OS: "linux", Architecture: architecture}),
			regclient.WithManifestRequireDigest())
		if err != nil {
			return err
		}
		source = from + "/" + repo + "@" + image.GetDescriptor().Digest.String()
	}
	return c.between(ctx, rc, "ocidir://"+dir+":"+tag, source)
}

func (regClient) between(ctx context.Context, rc *regclient.RegClient, to, from string, options ...regclient.ImageOpts) error {
	dst, dstErr := ref.New(to)
	src, err := ref.New(from)
	if err := errors.Join(err, dstErr); err != nil {
		return err
	}
	err = rc.ImageCopy(ctx, src, dst, options...)
	return errors.Join(err, rc.Close(ctx, dst), rc.Close(ctx, src))
}

func (c regClient) referrers(ctx context.Context, at string, d digest.Digest) (all []digest.Digest, err error) {
	subject, err := ref.New(at + "/" + repo + "@" + d.String())
	if err != nil {
		return nil, err
	}
	list, err := c.to(at).ReferrerList(ctx, subject)
	for _, referrer := range list.Descriptors {
		all = append(all, referrer.Digest)
	}
	return sortedDigests(all), err
}

func sortedDigests(all []digest.Digest) []digest.Digest {
	return slices.SortedFunc(slices.Values(all), cmp.Compare[digest.Digest])
}
