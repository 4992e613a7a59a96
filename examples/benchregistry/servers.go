package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the storage
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	plain  = "distribution"
	sparse = "sparse-registry"
)

// servers are what is measured. start returns the URL, and leaves the server running.
var servers = []struct {
	name  string
	start func(storage string) (url string, err error)
}{
	{plain, startPlain},
	{sparse, startSparse},
}

// quiet keeps distribution's log away: what is not there is a line of it.
func quiet() {
	logrus.SetLevel(logrus.ErrorLevel)
	logrus.SetOutput(io.Discard)
}

// startOf is how a server is started; nil if none has that name.
func startOf(name string) func(storage string) (string, error) {
	for _, s := range servers {
		if s.name == name {
			return s.start
		}
	}
	return nil
}

func startPlain(storage string) (string, error) {
	config := &configuration.Configuration{Storage: configuration.Storage{
		"filesystem": {"rootdirectory": storage}, "delete": {"enabled": true},
	}}
	config.HTTP.Secret = "secret"
	config.Validation.Manifests.Indexes.Platforms = "none"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	app := handlers.NewApp(context.Background(), config)
	go func() { _ = http.Serve(listener, app) }() //nolint:gosec // on loopback, until the process ends
	return "http://" + listener.Addr().String(), nil
}

// startSparse has the policy on and writes the log that a server has, to nowhere.
func startSparse(storage string) (string, error) {
	server, err := sparseserver.Start(sparseserver.Config{
		Address: "127.0.0.1:0", Storage: storage, MetricsAddress: "127.0.0.1:0",
		Policies: sparseregistry.Policies{Default: manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64"}}},
		Log:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return "", err
	}
	return server.URL(), nil
}
