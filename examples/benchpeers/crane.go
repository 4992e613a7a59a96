package main

import (
	"context"
	"net/http"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// copyCrane is crane.Copy with the given number of jobs, 0 for the default of the library.
func copyCrane(ctx context.Context, j job, jobs int) error {
	transport, err := j.trust(remote.DefaultTransport.(*http.Transport).Clone())
	if err != nil {
		return err
	}
	if j.Platforms != nil || j.Destination.isLayout() {
		return newCraneList(ctx, j, jobs, transport).copy()
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

// craneList is a list that the command crane does not just copy.
type craneList struct {
	job
	naming  []name.Option
	options []remote.Option
}

func newCraneList(ctx context.Context, j job, jobs int, transport http.RoundTripper) *craneList {
	l := &craneList{job: j, options: []remote.Option{remote.WithContext(ctx), remote.WithTransport(transport)}}
	if jobs > 0 {
		l.options = append(l.options, remote.WithJobs(jobs))
	}
	if !j.TLS {
		l.naming = append(l.naming, name.Insecure)
	}
	return l
}

// copy does what the command "crane index filter" does, or "crane pull --format=oci" into a layout.
func (l *craneList) copy() error {
	from, err := name.ParseReference(l.Source.String(), l.naming...)
	if err != nil {
		return err
	}
	list, err := remote.Index(from, l.options...)
	if err != nil {
		return err
	}
	if l.Destination.isLayout() {
		return l.pull(list)
	}
	to, err := name.ParseReference(l.Destination.String(), l.naming...)
	if err != nil {
		return err
	}
	return remote.WriteIndex(to, mutate.RemoveManifests(list, func(d v1.Descriptor) bool {
		return d.Platform == nil || !l.wants(d.Platform.OS, d.Platform.Architecture)
	}), l.options...)
}

func (l *craneList) pull(list v1.ImageIndex) error {
	files, err := layout.Write(l.Destination.Repo, empty.Index)
	if err != nil {
		return err
	}
	return files.AppendIndex(list, layout.WithAnnotations(map[string]string{imgspecv1.AnnotationRefName: l.Destination.Tag}))
}
