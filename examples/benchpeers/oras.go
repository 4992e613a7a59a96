package main

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// copyORAS is oras.Copy with the given concurrency, 0 for the default. Who raises the concurrency
// is taken to raise the number of kept connections too, which is 2 otherwise.
func copyORAS(ctx context.Context, j job, concurrency int) error {
	base := http.DefaultTransport.(*http.Transport).Clone()
	if concurrency > 0 {
		base.MaxIdleConns, base.MaxIdleConnsPerHost = 0, 256
	}
	transport, err := j.trust(base)
	if err != nil {
		return err
	}
	client := &auth.Client{Client: &http.Client{Transport: retry.NewTransport(transport)}, Cache: auth.NewCache()}
	repository := func(p place) (*remote.Repository, error) {
		r, err := remote.NewRepository(p.Host + "/" + p.Repo)
		if err != nil {
			return nil, err
		}
		r.PlainHTTP, r.Client = !j.TLS, client
		return r, nil
	}
	target := func(p place) (oras.Target, error) {
		if p.isLayout() {
			return oci.NewWithContext(ctx, p.Repo)
		}
		return repository(p)
	}
	to, err := target(j.Destination)
	if err != nil {
		return err
	}
	var source oras.ReadOnlyTarget
	if j.Platforms == nil {
		source, err = target(j.Source)
	} else {
		source, err = newStrippedTarget(ctx, j, repository)
	}
	if err != nil {
		return err
	}
	options := oras.CopyOptions{CopyGraphOptions: oras.CopyGraphOptions{Concurrency: concurrency}}
	_, err = oras.Copy(ctx, source, j.Source.Tag, to, j.Destination.Tag, options)
	return err
}

// strippedTarget is a repository whose list lacks the entries that are not wanted: oras.Copy has no
// option for that.
type strippedTarget struct {
	oras.ReadOnlyTarget
	list    imgspecv1.Descriptor
	content []byte
}

func newStrippedTarget(ctx context.Context, j job, open func(place) (*remote.Repository, error)) (*strippedTarget, error) {
	repository, err := open(j.Source)
	if err != nil {
		return nil, err
	}
	list, body, err := repository.FetchReference(ctx, j.Source.Tag)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	original, err := content.ReadAll(body, list)
	if err != nil {
		return nil, err
	}
	stripped, _, err := j.strip(original)
	if err != nil {
		return nil, err
	}
	list.Digest, list.Size = digest.FromBytes(stripped), int64(len(stripped))
	return &strippedTarget{repository, list, stripped}, nil
}

func (t *strippedTarget) Resolve(context.Context, string) (imgspecv1.Descriptor, error) {
	return t.list, nil
}

func (t *strippedTarget) Fetch(ctx context.Context, d imgspecv1.Descriptor) (io.ReadCloser, error) {
	if d.Digest == t.list.Digest {
		return io.NopCloser(bytes.NewReader(t.content)), nil
	}
	return t.ReadOnlyTarget.Fetch(ctx, d)
}
