package main

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/scheme/reg"
	"github.com/regclient/regclient/types/manifest"
	"github.com/regclient/regclient/types/ref"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// regsyncParallel is regsync's setting "parallel".
const regsyncParallel = 32

// regsync does what the command "regsync once" does for steps of the type "image" with "parallel:
// 32", by the library that it is made of: all images are compared at the same time, by a HEAD at
// each side, and those that differ are copied, at most 32 at the same time. requests is its setting
// "reqConcurrent" for both registries, 0 for the default of the library, which is 3.
//
// Of the command it lacks the start, its file, and a look for docker's credentials.
func regsync(ctx context.Context, jobs []job, requests int64) error {
	s := &regsyncRun{client: newRegclient(jobs[0], requests), copies: semaphore.NewWeighted(regsyncParallel)}
	group, ctx := errgroup.WithContext(ctx)
	for _, j := range jobs {
		group.Go(func() error { return s.image(ctx, j) })
	}
	return group.Wait()
}

func newRegclient(j job, requests int64) *regclient.RegClient {
	options := []regclient.Opt{regclient.WithSlog(slog.New(slog.NewTextHandler(io.Discard, nil)))}
	if j.TLS {
		options = append(options, regclient.WithRegOpts(reg.WithCertDirs([]string{j.CertsDir})))
	}
	for _, host := range []string{j.Source.Host, j.Destination.Host} {
		h := config.Host{Name: host, ReqConcurrent: requests}
		if !j.TLS {
			h.TLS = config.TLSDisabled
		}
		options = append(options, regclient.WithConfigHost(h))
	}
	return regclient.New(options...)
}

// copyRegctl does what the command "regctl image copy" does for a whole image, by the library that
// it is made of.
func copyRegctl(ctx context.Context, j job) (err error) {
	client := newRegclient(j, 0)
	source, err := j.Source.regclientReference()
	if err != nil {
		return err
	}
	destination, err := j.Destination.regclientReference()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close(ctx, destination)) }()
	return client.ImageCopy(ctx, source, destination)
}

func (p place) regclientReference() (ref.Ref, error) {
	if p.isLayout() {
		return ref.Ref{Scheme: "ocidir", Path: p.Repo, Tag: p.Tag}, nil
	}
	return ref.New(p.String())
}

// regsyncRun is one run.
type regsyncRun struct {
	client *regclient.RegClient
	copies *semaphore.Weighted // of those under way
}

func (s *regsyncRun) image(ctx context.Context, j job) (err error) {
	source, err := ref.New(j.Source.String())
	if err != nil {
		return err
	}
	destination, err := ref.New(j.Destination.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.client.Close(ctx, destination)) }()
	from, err := s.client.ManifestHead(ctx, source, regclient.WithManifestRequireDigest())
	if err != nil {
		return err
	}
	to, err := s.client.ManifestHead(ctx, destination, regclient.WithManifestRequireDigest())
	if err == nil && manifest.GetDigest(from) == manifest.GetDigest(to) {
		return nil
	}
	if err := s.copies.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.copies.Release(1)
	return s.client.ImageCopy(ctx, source, destination)
}
