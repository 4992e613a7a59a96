package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// copyFloor copies with as little as possible: a GET, a POST and a PUT for each blob, the GET and
// the POST at the same time; no question whether anything is there, no retries, no authentication,
// no policy. Every digest is verified. As many blobs are in flight as with sparsecopy's defaults:
// over as many connections of HTTP/1.1, or over one of HTTP/2.
//
// Only if it is told that there may be nothing to do, it compares what the tags of both sides name
// first, by a HEAD at each, at the same time.
func copyFloor(ctx context.Context, jobs []job, http2 bool) error {
	client, err := floorClient(jobs[0], http2)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(imagesAtOnce)
	slots := semaphore.NewWeighted(largeAtOnce * largeWeight)
	for _, j := range jobs {
		group.Go((&floorCopy{job: j, ctx: ctx, client: client, slots: slots}).list)
	}
	return group.Wait()
}

// floorClient returns a client with as many connections of HTTP/1.1 as it takes, or one of HTTP/2.
func floorClient(j job, http2 bool) (*http.Client, error) {
	transport, err := j.trust(&http.Transport{Protocols: new(http.Protocols), MaxIdleConnsPerHost: 256, DisableCompression: true})
	if err != nil {
		return nil, err
	}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	return &http.Client{Transport: transport}, nil
}

// What sparsecopy has in flight by default.
const (
	imagesAtOnce = 32
	largeAtOnce  = 32        // blobs
	largeWeight  = 2         // that is, of the small ones there are as many more
	small        = 256 << 10 // bytes, at most, of a small one
)

type floorCopy struct {
	job
	ctx    context.Context
	client *http.Client
	slots  *semaphore.Weighted // for all blobs in flight
	files  *layoutFiles        // where everything goes; nil if that is a registry
}

// list copies everything.
func (f *floorCopy) list() error {
	if f.UpToDate && f.same() {
		return nil
	}
	original, err := f.manifest(f.Source.Tag)
	if err != nil {
		return err
	}
	content, list, err := f.strip(original)
	if err != nil {
		return err
	}
	images, _ := errgroup.WithContext(f.ctx)
	for _, d := range list.Manifests {
		images.Go(func() error { return f.image(d) })
	}
	if err := images.Wait(); err != nil {
		return err
	}
	return f.putManifest(f.Destination.Tag, imgspecv1.MediaTypeImageIndex, content)
}

// same reports whether the tags of both sides are known to name the same.
func (f *floorCopy) same() bool {
	there := make(chan digest.Digest, 1)
	go func() { there <- f.top(f.Destination) }()
	source := f.top(f.Source)
	return <-there == source && source != ""
}

// top is what a tag names; "" if that is not known.
func (f *floorCopy) top(p place) digest.Digest {
	resp, err := f.do(http.MethodHead, f.url(p, "manifests/"+p.Tag), nil, http.Header{"Accept": {accept}})
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	return digest.Digest(resp.Header.Get("Docker-Content-Digest"))
}

// image copies a child of the list.
func (f *floorCopy) image(d imgspecv1.Descriptor) error {
	content, err := f.manifest(d.Digest.String())
	if err != nil {
		return err
	}
	if digest.FromBytes(content) != d.Digest {
		return fmt.Errorf("the source's %s has another digest", d.Digest)
	}
	var m imgspecv1.Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return err
	}
	blobs, _ := errgroup.WithContext(f.ctx)
	for _, b := range append(m.Layers, m.Config) {
		weight := int64(largeWeight)
		if b.Size <= small {
			weight = 1
		}
		if err := f.slots.Acquire(f.ctx, weight); err != nil {
			break // another blob has failed
		}
		blobs.Go(func() error {
			defer f.slots.Release(weight)
			return f.blob(b)
		})
	}
	if err := errors.Join(blobs.Wait(), f.ctx.Err()); err != nil {
		return err
	}
	return f.putManifest(d.Digest.String(), d.MediaType, content)
}

// blob copies a blob. No two images of the workloads share one.
func (f *floorCopy) blob(b imgspecv1.Descriptor) error {
	if f.files != nil {
		return f.blobFile(b)
	}
	type started struct {
		location *url.URL
		err      error
	}
	upload := make(chan started, 1)
	go func() {
		location, err := f.startUpload()
		upload <- started{location, err}
	}()
	resp, err := f.do(http.MethodGet, f.url(f.Source, "blobs/"+b.Digest.String()), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	to := <-upload
	if to.err != nil {
		return to.err
	}
	query := to.location.Query()
	query.Set("digest", b.Digest.String())
	to.location.RawQuery = query.Encode()
	verifier := b.Digest.Verifier()
	content := &sized{io.TeeReader(resp.Body, verifier), b.Size}
	stored, err := f.do(http.MethodPut, to.location.String(), content, nil)
	if err != nil {
		return err
	}
	if !verifier.Verified() {
		return fmt.Errorf("the source's blob %s has another digest", b.Digest)
	}
	return drain(stored)
}

// startUpload returns where to send a blob.
func (f *floorCopy) startUpload() (*url.URL, error) {
	resp, err := f.do(http.MethodPost, f.url(f.Destination, "blobs/uploads/"), nil, nil)
	if err != nil {
		return nil, err
	}
	location, err := resp.Location()
	return location, errors.Join(err, drain(resp))
}

// accept are the types of the workloads' documents.
const accept = imgspecv1.MediaTypeImageIndex + ", " + imgspecv1.MediaTypeImageManifest

func (f *floorCopy) manifest(ref string) ([]byte, error) {
	resp, err := f.do(http.MethodGet, f.url(f.Source, "manifests/"+ref), nil, http.Header{"Accept": {accept}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

func (f *floorCopy) putManifest(ref, mediaType string, content []byte) error {
	if f.files != nil {
		return f.files.putManifest(ref, mediaType, content)
	}
	resp, err := f.do(http.MethodPut, f.url(f.Destination, "manifests/"+ref), &sized{bytes.NewReader(content), int64(len(content))},
		http.Header{"Content-Type": {mediaType}})
	if err != nil {
		return err
	}
	return drain(resp)
}

func (f *floorCopy) url(p place, path string) string {
	scheme := "http"
	if f.TLS {
		scheme = "https"
	}
	return scheme + "://" + p.Host + "/v2/" + p.Repo + "/" + path
}

// sized is the body of a request.
type sized struct {
	io.Reader
	size int64
}

// do sends a request. Every answer but success is an error.
func (f *floorCopy) do(method, url string, body *sized, header http.Header) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		content = body
	}
	req, err := http.NewRequestWithContext(f.ctx, method, url, content)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	if body != nil {
		req.ContentLength = body.size
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		resp.Body.Close()
		return nil, fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	return resp, nil
}

// drain reads an answer that nobody needs to its end, so that its connection can be used again.
func drain(resp *http.Response) error {
	_, err := io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}
