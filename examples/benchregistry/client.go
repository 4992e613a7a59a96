package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

const (
	repository = "bench/image"
	atOnce     = 6 // blobs and manifests under way
)

// A content is a blob or a manifest.
type content struct {
	descriptor imgspecv1.Descriptor // of bytes
	bytes      []byte
}

// newContent hashes the bytes: nobody has to while time is measured.
func newContent(mediaType string, b []byte) content {
	return content{imgspecv1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}, b}
}

// An image is a list with everything that it names.
type image struct {
	blobs, manifests []content
	list             content
}

var architectures = []string{"amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "mips64le"}

// newImage makes an image whose layers cannot be compressed, and are the same each time.
func newImage(platforms, layers, layerSize int) *image {
	random := rand.NewChaCha8([32]byte{})
	img := &image{}
	var index imgspecv1.Index
	index.Versioned, index.MediaType = specs.Versioned{SchemaVersion: 2}, imgspecv1.MediaTypeImageIndex
	for _, architecture := range architectures[:platforms] {
		m := imgspecv1.Manifest{Versioned: index.Versioned, MediaType: imgspecv1.MediaTypeImageManifest}
		config := newContent(imgspecv1.MediaTypeImageConfig, fmt.Appendf(nil, `{"architecture":%q,"os":"linux"}`, architecture))
		m.Config = config.descriptor
		img.blobs = append(img.blobs, config)
		for range layers {
			b := make([]byte, layerSize)
			_, _ = random.Read(b) // never fails
			layer := newContent(imgspecv1.MediaTypeImageLayer, b)
			m.Layers = append(m.Layers, layer.descriptor)
			img.blobs = append(img.blobs, layer)
		}
		manifest := marshal(m.MediaType, m)
		img.manifests = append(img.manifests, manifest)
		d := manifest.descriptor
		d.Platform = &imgspecv1.Platform{OS: "linux", Architecture: architecture}
		index.Manifests = append(index.Manifests, d)
	}
	img.list = marshal(index.MediaType, index)
	return img
}

func marshal(mediaType string, v any) content {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of strings and numbers
	}
	return newContent(mediaType, b)
}

// A client asks as container tools do: whether a blob is there, an upload in three requests.
type client struct {
	base string
	http *http.Client
}

func newClient(base string) *client {
	return &client{base, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce, DisableCompression: true}}}
}

func (c *client) push(ctx context.Context, img *image) error {
	if err := each(ctx, img.blobs, c.pushBlob); err != nil {
		return err
	}
	if err := each(ctx, img.manifests, c.pushManifest); err != nil {
		return err
	}
	return c.put(ctx, "latest", img.list)
}

// pull fetches everything by digest, but the list, and hashes it.
func (c *client) pull(ctx context.Context, img *image) error {
	if err := c.fetch(ctx, "manifests/latest", img.list); err != nil {
		return err
	}
	err := each(ctx, img.manifests, func(ctx context.Context, m content) error {
		return c.fetch(ctx, "manifests/"+m.descriptor.Digest.String(), m)
	})
	if err != nil {
		return err
	}
	return each(ctx, img.blobs, func(ctx context.Context, b content) error {
		return c.fetch(ctx, "blobs/"+b.descriptor.Digest.String(), b)
	})
}

func each(ctx context.Context, all []content, f func(context.Context, content) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, one := range all {
		group.Go(func() error { return f(ctx, one) })
	}
	return group.Wait()
}

func (c *client) pushManifest(ctx context.Context, m content) error {
	return c.put(ctx, m.descriptor.Digest.String(), m)
}

func (c *client) put(ctx context.Context, reference string, m content) error {
	_, err := c.do(ctx, http.MethodPut, "/v2/"+repository+"/manifests/"+reference, m.descriptor.MediaType, m.bytes, http.StatusCreated)
	return err
}

func (c *client) pushBlob(ctx context.Context, b content) error {
	d := b.descriptor.Digest.String()
	if _, err := c.do(ctx, http.MethodHead, "/v2/"+repository+"/blobs/"+d, "", nil, http.StatusNotFound); err != nil {
		return err
	}
	location, err := c.do(ctx, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", "", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	location, err = c.do(ctx, http.MethodPatch, location, "application/octet-stream", b.bytes, http.StatusAccepted)
	if err != nil {
		return err
	}
	u, err := url.Parse(location)
	if err != nil {
		return err
	}
	query := u.Query()
	query.Set("digest", d)
	u.RawQuery = query.Encode()
	_, err = c.do(ctx, http.MethodPut, u.String(), "", nil, http.StatusCreated)
	return err
}

// do sends a request, and returns the Location of the answer, which must have the given status.
func (c *client) do(ctx context.Context, method, location, mediaType string, body []byte, status int) (string, error) {
	resp, err := c.send(ctx, method, location, mediaType, body)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("%s %s: %s %s", method, location, resp.Status, text)
	}
	return resp.Header.Get("Location"), err
}

func (c *client) send(ctx context.Context, method, location, mediaType string, body []byte) (*http.Response, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+u.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if mediaType != "" {
		r.Header.Set("Content-Type", mediaType)
	}
	r.Header.Set("Accept", imgspecv1.MediaTypeImageIndex+", "+imgspecv1.MediaTypeImageManifest)
	return c.http.Do(r)
}

// fetch gets what must be want.
func (c *client) fetch(ctx context.Context, path string, want content) error {
	resp, err := c.send(ctx, http.MethodGet, "/v2/"+repository+"/"+path, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	hash := digest.Canonical.Digester()
	n, err := io.Copy(hash.Hash(), resp.Body)
	if err == nil && (n != int64(len(want.bytes)) || hash.Digest() != want.descriptor.Digest) {
		err = errors.New(path + " is not what was pushed")
	}
	return err
}
