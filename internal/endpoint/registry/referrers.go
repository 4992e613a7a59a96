package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	lists "github.com/sparsecopy/sparsecopy/manifest"
)

// maxReferrersPages is how many pages of referrers are read: a registry that gives one a page still comes to an end with MaxReferrers.
const maxReferrersPages = endpoint.MaxReferrers

var (
	_ endpoint.ReferrerSource      = (*Source)(nil)
	_ endpoint.ReferrerDestination = (*Destination)(nil)
)

// Referrers implements endpoint.ReferrerSource: by the referrers API, or by the referrers tag where the registry has no API (OCI
// distribution specification v1.1, "Listing Referrers").
func (s *Source) Referrers(ctx context.Context, d digest.Digest) ([]imgspecv1.Descriptor, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d, err)
	}
	var all []imgspecv1.Descriptor
	err := s.fromEndpoints(ctx, func(r *repository, rt *retrier) (err error) {
		all, err = r.referrers(ctx, rt, d)
		return err
	})
	if !lacksReferrersAPI(err) {
		return all, err
	}
	doc, err := s.Tagged(ctx, endpoint.ReferrersTag(d))
	if errors.Is(err, endpoint.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseReferrers(d, doc.Bytes)
}

// lacksReferrersAPI says whether err is the answer of a registry that does not know the referrers API.
func lacksReferrersAPI(err error) bool {
	var e *endpoint.RegistryError
	return errors.As(err, &e) && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed)
}

// Tagged implements endpoint.ReferrerSource.
func (s *Source) Tagged(ctx context.Context, tag string) (endpoint.Document, error) {
	return s.fetch(ctx, tag)
}

// referrers reads all pages of the referrers of d.
func (r *repository) referrers(ctx context.Context, rt *retrier, d digest.Digest) ([]imgspecv1.Descriptor, error) {
	var all []imgspecv1.Descriptor
	next := &request{method: http.MethodGet, path: "referrers/" + d.String(), header: http.Header{"Accept": {imgspecv1.MediaTypeImageIndex}}}
	for range maxReferrersPages {
		var page []imgspecv1.Descriptor
		var following *url.URL
		err := r.retry(ctx, rt, func() (err error) {
			page, following, err = r.referrersPage(ctx, next, d)
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(all) > endpoint.MaxReferrers {
			return nil, &endpoint.ReferrersLimitError{Subject: d, What: fmt.Sprintf("more than %d", endpoint.MaxReferrers)}
		}
		if following == nil {
			return withoutRepeats(all), nil
		}
		next = &request{method: http.MethodGet, location: following, header: next.header}
	}
	return nil, &endpoint.ReferrersLimitError{Subject: d, What: fmt.Sprintf("more than %d pages", maxReferrersPages)}
}

// referrersPage reads one page, and says where the next one is, nil if there is none.
func (r *repository) referrersPage(ctx context.Context, rq *request, d digest.Digest) ([]imgspecv1.Descriptor, *url.URL, error) {
	resp, err := r.send(ctx, rq)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	content, err := readManifest(resp)
	if err != nil {
		return nil, nil, err
	}
	page, err := parseReferrers(d, content)
	if err != nil {
		return nil, nil, err
	}
	following, err := r.nextPage(resp)
	return page, following, err
}

// nextPage is where the Link header says that the next page is (RFC 8288). Another host than the registry's own is refused.
func (r *repository) nextPage(resp *http.Response) (*url.URL, error) {
	for _, header := range resp.Header.Values("Link") {
		for link := range strings.SplitSeq(header, ",") {
			target, parameters, ok := strings.Cut(strings.TrimSpace(link), ";")
			if !ok || !isNext(parameters) {
				continue
			}
			target = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(target), "<"), ">")
			next, err := resp.Request.URL.Parse(target)
			if err != nil || !r.host.owns(next) {
				return nil, fmt.Errorf("%s: the answer has no usable link to the next page", cleanURL(resp.Request.URL))
			}
			return next, nil
		}
	}
	return nil, nil
}

func isNext(parameters string) bool {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "rel") && strings.EqualFold(strings.Trim(value, `"`), "next") {
			return true
		}
	}
	return false
}

// parseReferrers reads the index that lists the referrers of d.
func parseReferrers(d digest.Digest, content []byte) ([]imgspecv1.Descriptor, error) {
	list, err := lists.Parse(content, imgspecv1.MediaTypeImageIndex)
	if err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", d, err)
	}
	instances := list.Instances()
	if len(instances) > endpoint.MaxReferrers {
		return nil, &endpoint.ReferrersLimitError{Subject: d, What: fmt.Sprintf("%d, more than %d", len(instances), endpoint.MaxReferrers)}
	}
	all := make([]imgspecv1.Descriptor, len(instances))
	for i, in := range instances {
		all[i] = imgspecv1.Descriptor{
			MediaType: in.MediaType, Digest: in.Digest, Size: in.Size, ArtifactType: in.ArtifactType, Annotations: in.Annotations,
		}
	}
	return withoutRepeats(all), nil
}

func withoutRepeats(all []imgspecv1.Descriptor) []imgspecv1.Descriptor {
	seen := map[digest.Digest]bool{}
	return slices.DeleteFunc(all, func(desc imgspecv1.Descriptor) bool {
		before := seen[desc.Digest]
		seen[desc.Digest] = true
		return before
	})
}

// Tag implements endpoint.ReferrerDestination.
func (d *Destination) Tag(ctx context.Context, tag string) (digest.Digest, error) {
	header, err := d.headManifest(ctx, tag)
	if err != nil {
		return "", err
	}
	stated := digest.Digest(header.Get("Docker-Content-Digest"))
	if err := stated.Validate(); err != nil {
		return "", fmt.Errorf("tag %s: the answer states no digest: %w", tag, endpoint.ErrNotFound)
	}
	return stated, nil
}

// PutTag implements endpoint.ReferrerDestination.
func (d *Destination) PutTag(ctx context.Context, tag string, doc endpoint.Document) error {
	return d.putManifest(ctx, doc, tag)
}

// PutReferrers implements endpoint.ReferrerDestination. A registry with the referrers API has seen the subjects in the manifests; in any
// other, the referrers tag is brought up to date: what it lists stays.
func (d *Destination) PutReferrers(ctx context.Context, subject digest.Digest, referrers []imgspecv1.Descriptor) error {
	if len(referrers) == 0 || d.repo.host.referrersAPI.Load() {
		return nil
	}
	_, err := d.repo.referrers(ctx, d.shared.newRetrier(), subject)
	if err == nil {
		d.repo.host.referrersAPI.Store(true)
		return nil
	}
	if !lacksReferrersAPI(err) {
		return fmt.Errorf("looking for the referrers API: %w", err)
	}
	return d.mergeReferrersTag(ctx, subject, referrers)
}

func (d *Destination) mergeReferrersTag(ctx context.Context, subject digest.Digest, referrers []imgspecv1.Descriptor) error {
	tag := endpoint.ReferrersTag(subject)
	old, err := d.manifestAt(ctx, tag)
	if err != nil && !errors.Is(err, endpoint.ErrNotFound) {
		return err
	}
	merged, changed, err := endpoint.MergeReferrers(old.Bytes, referrers)
	if err != nil {
		return fmt.Errorf("referrers tag %s: %w", tag, err)
	}
	if !changed {
		return nil
	}
	return d.putManifest(ctx, endpoint.Document{
		Digest: digest.FromBytes(merged), MediaType: imgspecv1.MediaTypeImageIndex, Bytes: merged,
	}, tag)
}

// manifestAt reads what a tag of the destination names.
func (d *Destination) manifestAt(ctx context.Context, tag string) (doc endpoint.Document, err error) {
	err = d.repo.retry(ctx, d.shared.newRetrier(), func() (err error) {
		doc, err = d.repo.manifest(ctx, tag)
		return err
	})
	return doc, wrapNotFound(err)
}
