package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// maxConfig is the number of bytes of a config that are read for its platform.
const maxConfig = 4 << 20

// ReadPlatform returns the platform that the config of an image states, an empty one if it states
// none; nil for artifacts, whose configs are not read, and for what is no config.
func ReadPlatform(
	ctx context.Context, image *manifest.Image, open func(endpoint.Blob) endpoint.Opener,
) (*imgspecv1.Platform, error) {
	if image.IsArtifact() {
		return nil, nil
	}
	config := endpoint.BlobsOf(image)[0]
	if config.Size > maxConfig {
		return nil, fmt.Errorf("config %s: it has %d bytes, more than %d", config.Digest, config.Size, maxConfig)
	}
	r, err := open(config)(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var p imgspecv1.Platform
	if json.Unmarshal(b, &p) != nil {
		return nil, nil
	}
	return &p, nil
}

// statedPlatform returns the platform of a single image for people, "" if its config states none,
// or, as attestations do, that it is unknown.
func statedPlatform(ctx context.Context, src endpoint.Source, doc endpoint.Document) (string, error) {
	image, err := parseImage(doc)
	if err != nil || image == nil || image.Config.Size > maxConfig {
		return "", err
	}
	p, err := ReadPlatform(ctx, image, func(config endpoint.Blob) endpoint.Opener {
		failed := func(err error) error { return fmt.Errorf("config %s: %w", config.Digest, err) }
		return func(ctx context.Context) (io.ReadCloser, error) {
			stream, err := src.Blob(ctx, config)
			if err != nil {
				return nil, failed(err)
			}
			return endpoint.Verified(stream, config, nil, failed), nil
		}
	})
	if err != nil || p == nil || p.OS == "" || p.OS == "unknown" {
		return "", err
	}
	return platform.Format(p), nil
}
