package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// capabilitiesPath is where Quay, and registries like it, tell what they can do.
const capabilitiesPath = "/api/v1/registry/capabilities"

// maxCapabilities is how much of the answer is read.
const maxCapabilities = 64 << 10

// Announcement is what the registry says about sparse lists: in headers, if one of its answers had them, else in the answer to one
// request for its capabilities. The zero Announcement says nothing. It must be called after another request was answered.
func (d *Destination) Announcement(ctx context.Context) (Announcement, error) {
	if a := d.Announced(); a != (Announcement{}) {
		return a, nil
	}
	resp, err := d.repo.send(ctx, &request{
		method:   http.MethodGet,
		location: &url.URL{Scheme: d.repo.host.currentScheme(), Host: d.repo.host.registry, Path: capabilitiesPath},
	})
	if err != nil {
		return Announcement{}, err
	}
	defer discard(resp)
	return parseCapabilities(io.LimitReader(resp.Body, maxCapabilities))
}

func parseCapabilities(r io.Reader) (Announcement, error) {
	var answer struct {
		SparseManifests struct {
			Supported             *bool    `json:"supported"`
			RequiredArchitectures []string `json:"required_architectures"`
		} `json:"sparse_manifests"`
	}
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return Announcement{}, fmt.Errorf("reading the registry's capabilities: %w", err)
	}
	sparse := answer.SparseManifests
	if sparse.Supported == nil {
		return Announcement{}, nil
	}
	return Announcement{
		SparseManifests:       strconv.FormatBool(*sparse.Supported),
		RequiredArchitectures: strings.Join(sparse.RequiredArchitectures, ","),
	}, nil
}
