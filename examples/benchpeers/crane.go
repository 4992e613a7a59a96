package main

import (
	"context"
	"net/http"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// copyCrane is crane.Copy with the given number of jobs, 0 for the default of the library.
func copyCrane(ctx context.Context, j job, jobs int) error {
	transport, err := j.trust(remote.DefaultTransport.(*http.Transport).Clone())
	if err != nil {
		return err
	}
	if j.Platforms != nil {
		return copyCraneIndex(ctx, j, jobs, transport)
	}
	options := []crane.Option{crane.WithContext(ctx), crane.WithTransport(transport)}
	if !j.TLS {
		options = append(options, crane.Insecure)
	}
	if jobs > 0 {
		options = append(options, crane.WithJobs(jobs))
	}
	return crane.Copy(j.Source.String(), j.Destination.String(), options...)
}

// copyCraneIndex does what the command "crane index filter" does.
func copyCraneIndex(ctx context.Context, j job, jobs int, transport http.RoundTripper) error {
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(transport)}
	if jobs > 0 {
		options = append(options, remote.WithJobs(jobs))
	}
	var naming []name.Option
	if !j.TLS {
		naming = append(naming, name.Insecure)
	}
	from, err := name.ParseReference(j.Source.String(), naming...)
	if err != nil {
		return err
	}
	to, err := name.ParseReference(j.Destination.String(), naming...)
	if err != nil {
		return err
	}
	list, err := remote.Index(from, options...)
	if err != nil {
		return err
	}
	return remote.WriteIndex(to, mutate.RemoveManifests(list, func(d v1.Descriptor) bool {
		return d.Platform == nil || !j.wants(d.Platform.OS, d.Platform.Architecture)
	}), options...)
}
