package main

import (
	"context"
	"errors"
	"strings"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// tag is the tag of everything.
const tag = "v1"

// A bench is two registries, and where the tools are. Neither registry refuses anything.
type bench struct {
	source, destination *registrytest.Registry
	bin, home           string
}

func newBench(bin, home string) *bench {
	return &bench{registrytest.New(registrytest.Options{}), registrytest.New(registrytest.Options{}), bin, home}
}

func (b *bench) close() {
	b.source.Close()
	b.destination.Close()
}

// push puts the example of k into the source.
func (b *bench) push(k kind) example {
	e := k.example()
	e.PushTo(b.source, k.name, tag, imagetest.Top, e.absent...)
	for t, name := range e.tags {
		e.PushTo(b.source, k.name, t, name)
	}
	for _, name := range e.beside {
		e.PushTo(b.source, k.name, "", name)
	}
	return e
}

// try runs copier, called name, on the example of k, and says what it left.
func (b *bench) try(ctx context.Context, k kind, e example, name string, copier func(context.Context, job) error) outcome {
	repo := k.name + "/" + name
	j := job{
		src: b.source.Host() + "/" + k.name + ":" + tag, dst: b.destination.Host() + "/" + repo + ":" + tag,
		srcHost: b.source.Host(), dstHost: b.destination.Host(),
		bin: b.bin, home: b.home,
	}
	err := copier(ctx, j)
	if err != nil {
		err = errors.New(b.plain(e, j, err.Error()))
	}
	return look(e, b.destination, repo, err)
}

// plain writes names for hosts and digests, so that a text is the same in every run.
func (b *bench) plain(e example, j job, text string) string {
	r := []string{j.src, "SRC", j.dst, "DST", j.srcHost, "SOURCE", j.dstHost, "DESTINATION"}
	for _, d := range append(e.Manifests(imagetest.Top), e.Blobs(imagetest.Top)...) {
		r = append(r, d.String(), "DIGEST("+e.Name(d)+")")
	}
	return strings.NewReplacer(r...).Replace(text)
}
