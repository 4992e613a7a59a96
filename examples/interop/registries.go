package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // the storage
	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// A kind is a registry of the field. All of them refuse lists that name what is not there.
type kind struct {
	name string
	make func(context.Context) http.Handler
}

var kinds = []kind{
	{"distribution 3.1.2 (no referrers API)", distribution},
	{"ociserver (referrers API)", func(context.Context) http.Handler { return ociserver.New(ocimem.New(), nil) }},
	{"go-containerregistry 0.22.1 (referrers API)", func(context.Context) http.Handler {
		return ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true))
	}},
}

func distribution(ctx context.Context) http.Handler {
	config := &configuration.Configuration{
		Storage: configuration.Storage{"inmemory": {}},
		Catalog: configuration.Catalog{MaxEntries: 1000},
		Tags:    configuration.Tags{MaxTags: 1000},
	}
	config.Validation.Manifests.Indexes.Platforms = "all"
	return handlers.NewApp(ctx, config)
}

// serve serves a registry on a free port of 127.0.0.1 until ctx ends, and returns its address.
func serve(ctx context.Context, handler http.Handler) (host string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(listener) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return listener.Addr().String(), nil
}
