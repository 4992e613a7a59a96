package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	lists "github.com/sparsecopy/sparsecopy/manifest"
)

// maxReferrersPages is how many pages of referrers are read.
const maxReferrersPages = 1000

var (
	_ endpoint.ReferrerSource      = (*Source)(nil)
	_ endpoint.TagLister           = (*Source)(nil)
	_ endpoint.ReferrerDestination = (*Destination)(nil)
)

// Referrers implements endpoint.ReferrerSource: by the referrers API, and by the referrers tag (OCI
// distribution specification v1.1, "Listing Referrers"). A registry with the API has to list what
// the tag lists ("Enabling the Referrers API"), and so nobody but a client that does not ask for
// the API, as notation 1.2 and 1.3, writes the tag there; but what the API answers may be older:
// Quay's is up to a minute old (quay/quay 6510). Both are asked at the same time.
func (s *Source) Referrers(ctx context.Context, d digest.Digest, artifactType string) ([]imgspecv1.Descriptor, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d, err)
	}
	var all []imgspecv1.Descriptor
	var besides error // of the tag, where the API has answered
	err := s.fromEndpoints(ctx, func(r *repository, rt *retrier) (err error) {
		byTag, done := r.askTagMeanwhile(ctx, *rt, d)
		defer done()
		var api bool
		all, api, err = r.referrers(ctx, rt, d, artifactType, byTag)
		if err == nil && api {
			all, besides = r.alsoTagged(ctx, all, byTag)
		}
		return r.unlessHidden(ctx, err)
	})
	var none *noReferrers
	if errors.As(err, &none) {
		return nil, nil
	}
	return all, cmp.Or(err, besides)
}

// Referrers implements endpoint.ReferrerDestination: by the API, or by the tag where there is none.
func (d *Destination) Referrers(ctx context.Context, subject digest.Digest, artifactType string) ([]imgspecv1.Descriptor, error) {
	if err := subject.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", subject, err)
	}
	rt := d.shared.newRetrier()
	byTag := func() ([]imgspecv1.Descriptor, error) { return d.repo.referrersByTag(ctx, rt, subject) }
	all, _, err := d.repo.referrers(ctx, rt, subject, artifactType, byTag)
	var none *noReferrers
	if errors.As(err, &none) {
		return nil, nil
	}
	return all, err
}

// Tagged implements endpoint.ReferrerSource.
func (s *Source) Tagged(ctx context.Context, tag string) (doc endpoint.Document, err error) {
	err = s.fromEndpoints(ctx, func(r *repository, rt *retrier) (err error) {
		doc, err = r.taggedOnce(ctx, rt, tag)
		return r.unlessHidden(ctx, err)
	})
	return doc, err
}

// taggedOnce is tagged, which a source calls once for a tag, as it reads what the reference names
// once: attachments and signatures are looked for in the same tags.
func (r *repository) taggedOnce(ctx context.Context, rt *retrier, tag string) (endpoint.Document, error) {
	ask := func() (endpoint.Document, error) { return r.tagged(ctx, rt, tag) }
	if r.asked == nil {
		return ask()
	}
	return r.asked.once(ctx, tag, ask, func(err error) bool { return err == nil || r.saysNotFound(err) })
}

// tagged reads what a tag names, unless that is kept still.
func (r *repository) tagged(ctx context.Context, rt *retrier, tag string) (endpoint.Document, error) {
	if doc, told, err := r.unchanged(ctx, rt, tag); told {
		return doc, err
	}
	doc, err := r.read(ctx, rt, tag)
	switch {
	case err == nil && !isObject(doc.Bytes):
		err = &noManifest{fmt.Sprintf("%s/%s:%s", r.host.Name, r.name, tag), doc.MediaType}
	case err == nil:
		r.kept.keep(tag, doc)
	case r.kept != nil && r.saysNotFound(err):
		r.kept.keepNamed(tag, "")
	}
	return doc, err
}

// noManifest is endpoint.ErrUnknown: a tag was answered by something else than a manifest, such as
// the page of a user interface.
type noManifest struct{ tag, mediaType string }

func (e *noManifest) Error() string {
	return fmt.Sprintf("%v: %s: the answer is no manifest but %q", endpoint.ErrUnknown, e.tag, e.mediaType)
}
func (e *noManifest) Is(target error) bool { return target == endpoint.ErrUnknown }

// Tagged implements endpoint.ReferrerDestination.
func (d *Destination) Tagged(ctx context.Context, tag string) (doc endpoint.Document, err error) {
	doc, err = d.repo.tagged(ctx, d.shared.newRetrier(), tag)
	return doc, d.repo.wrapNotFound(err)
}

// noReferrersAPI is the answer of a registry that does not know the referrers API.
type noReferrersAPI struct{ err error }

func (e *noReferrersAPI) Error() string { return "no referrers API: " + e.err.Error() }
func (e *noReferrersAPI) Unwrap() error { return e.err }

// noReferrers is the answer of a registry that has neither the referrers API nor the referrers tag.
type noReferrers struct{ err error }

func (e *noReferrers) Error() string { return e.err.Error() }
func (e *noReferrers) Unwrap() error { return e.err }

// saysNoReferrersAPI reports whether err, the failure to read the first page, is the answer of a
// registry that does not know the referrers API: 404, according to the specification. With some
// codes that hides what nobody may see.
func saysNoReferrersAPI(err error) bool {
	return says404(err)
}

// hintsAtNoReferrersAPI reports whether err may be what some registries, and proxies before them,
// say instead.
func hintsAtNoReferrersAPI(err error) bool {
	e := answered(err)
	if e == nil {
		return errors.Is(err, errNoIndex)
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented:
		return true
	}
	return false
}

// firstReferrersPage calls read for the first page. The error is a *noReferrersAPI if the registry
// does not know the referrers API: it says so, leads elsewhere, or hints at it twice, and has, but
// for a plain 404, never known better about this repository.
func (r *repository) firstReferrersPage(read func() error) error {
	err := read()
	if hintsAtNoReferrersAPI(err) && !r.hasReferrersAPI.Load() {
		err = read()
	}
	var elsewhere *ledElsewhere
	switch {
	case err == nil:
		r.hasReferrersAPI.Store(true)
		return nil
	case saysNoReferrersAPI(err), (hintsAtNoReferrersAPI(err) || errors.As(err, &elsewhere)) && !r.hasReferrersAPI.Load():
		return &noReferrersAPI{err}
	}
	return err
}

// errNoIndex is about an answer that is something else than the list of referrers, such as the page
// of a user interface.
var errNoIndex = errors.New("the answer is no index")

// ledElsewhere says that a registry has led a question to another server, which has something else
// than an answer. What that server says about itself, such as that it is busy, is no reason to ask
// again. To errors.Is it is endpoint.ErrUnknown if there was no answer at all.
type ledElsewhere struct {
	answer string
	mute   bool // there was none, which is what answer says
}

func (e *ledElsewhere) Error() string {
	return "the registry leads to another server, and there: " + e.answer
}
func (e *ledElsewhere) Is(target error) bool { return e.mute && target == endpoint.ErrUnknown }

// referrers lists the referrers of d, by the API, which api says, or by the tag, which byTag reads.
// It fails with *noReferrers if there is neither, and with an *endpoint.NotListableError if the tag
// is no list of referrers: another endpoint may have one.
func (r *repository) referrers(
	ctx context.Context, rt *retrier, d digest.Digest, artifactType string, byTag func() ([]imgspecv1.Descriptor, error),
) (all []imgspecv1.Descriptor, api bool, err error) {
	all, err = r.referrersByAPI(ctx, rt, d, artifactType)
	var none *noReferrersAPI
	if !errors.As(err, &none) {
		return all, true, err
	}
	all, err = byTag()
	switch {
	case r.saysNotFound(err) && errors.Is(none, endpoint.ErrUnknown):
		return nil, false, none // who did not answer may know some
	case r.saysNotFound(err):
		return nil, false, &noReferrers{err}
	}
	return all, false, err
}

// referrersByTag lists the referrers of d that the referrers tag lists.
func (r *repository) referrersByTag(ctx context.Context, rt *retrier, d digest.Digest) ([]imgspecv1.Descriptor, error) {
	doc, err := r.tagged(ctx, rt, endpoint.ReferrersTag(d))
	if err != nil {
		return nil, err
	}
	if err := listsReferrers(d, doc); err != nil {
		return nil, err
	}
	all, err := parseReferrers(d, doc.Bytes)
	for i := range all {
		all[i].ArtifactType = "" // clients wrote it, and some write that of something else
	}
	return all, err
}

// askTagMeanwhile begins to read what the referrers tag of d lists, with a copy of the retrier, and
// returns a function that waits for the answer, which may be called again, and one that ends it.
func (r *repository) askTagMeanwhile(ctx context.Context, rt retrier, d digest.Digest) (byTag func() ([]imgspecv1.Descriptor, error), done func()) {
	ctx, cancel := context.WithCancel(ctx)
	answered := make(chan struct{})
	var listed []imgspecv1.Descriptor
	var err error
	go func() {
		defer close(answered)
		listed, err = r.referrersByTag(ctx, &rt, d)
	}()
	byTag = func() ([]imgspecv1.Descriptor, error) {
		<-answered
		return listed, err
	}
	return byTag, func() {
		cancel()
		<-answered
	}
}

// alsoTagged returns what the API lists with what the tag lists besides. An error that wraps
// endpoint.ErrUnknown says that there was no answer for the tag.
func (r *repository) alsoTagged(
	ctx context.Context, listed []imgspecv1.Descriptor, byTag func() ([]imgspecv1.Descriptor, error),
) ([]imgspecv1.Descriptor, error) {
	tagged, err := byTag()
	var notList *endpoint.NotListableError
	var page *noManifest
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case r.saysNotFound(r.unlessHidden(ctx, err)), errors.As(err, &notList), errors.As(err, &page):
		return listed, nil
	case err != nil:
		return listed, &tagUnanswered{err}
	}
	return withoutRepeats(append(listed, tagged...)), nil
}

// tagUnanswered is endpoint.ErrUnknown: the API has listed referrers, and the tag, which may list
// more, has not been read.
type tagUnanswered struct{ err error }

func (e *tagUnanswered) Error() string        { return "the referrers tag beside the API: " + e.err.Error() }
func (e *tagUnanswered) Unwrap() error        { return e.err }
func (e *tagUnanswered) Is(target error) bool { return target == endpoint.ErrUnknown }

// listsReferrers is endpoint.ListsReferrers.
func listsReferrers(d digest.Digest, doc endpoint.Document) error {
	parsing.Lock()
	defer parsing.Unlock()
	return endpoint.ListsReferrers(d, doc)
}

// referrersByAPI reads all pages of the referrers of d. The error is a *noReferrersAPI if there are
// none.
func (r *repository) referrersByAPI(ctx context.Context, rt *retrier, d digest.Digest, artifactType string) ([]imgspecv1.Descriptor, error) {
	list := &referrersList{of: d, pages: map[string]bool{}}
	next := &request{method: http.MethodGet, path: "referrers/" + d.String(), homeOnly: true, header: http.Header{"Accept": {imgspecv1.MediaTypeImageIndex}}}
	if artifactType != "" {
		next.query = "artifactType=" + url.QueryEscape(artifactType)
	}
	for {
		var page []byte
		var following *url.URL
		read := func() error {
			return r.retry(ctx, rt, func() (err error) {
				page, following, err = r.referrersPage(ctx, next)
				return err
			})
		}
		var err error
		if len(list.pages) == 0 {
			err = r.firstReferrersPage(read)
		} else {
			err = read()
		}
		if err != nil {
			return nil, err
		}
		if err := list.add(page, following); err != nil {
			return nil, err
		}
		if following == nil {
			return withoutRepeats(list.all), nil
		}
		next = &request{method: http.MethodGet, location: following, homeOnly: true, header: next.header}
	}
}

// A referrersList collects pages within the limits.
type referrersList struct {
	of    digest.Digest
	all   []imgspecv1.Descriptor
	bytes int             // of all pages
	pages map[string]bool // where the next ones were said to be
}

func (l *referrersList) add(page []byte, following *url.URL) error {
	if l.bytes += len(page); l.bytes > endpoint.MaxReferrersBytes {
		return l.limit("more than %d bytes of pages", endpoint.MaxReferrersBytes)
	}
	found, err := parseReferrers(l.of, page)
	if err != nil {
		return err
	}
	if l.all = append(l.all, found...); len(l.all) > endpoint.MaxReferrers {
		return l.limit("more than %d", endpoint.MaxReferrers)
	}
	target := ""
	if following != nil {
		target = following.String()
	}
	if l.pages[target] {
		return l.limit("page after page is the same, %s", ocihttp.CleanURL(following))
	}
	if l.pages[target] = true; len(l.pages) > maxReferrersPages {
		return l.limit("more than %d pages", maxReferrersPages)
	}
	return nil
}

func (l *referrersList) limit(format string, args ...any) error {
	return &endpoint.ReferrersLimitError{Subject: l.of, What: fmt.Sprintf(format, args...)}
}

// referrersPage reads one page, and says where the next one is, nil if there is none.
func (r *repository) referrersPage(ctx context.Context, rq *request) ([]byte, *url.URL, error) {
	resp, err := r.send(ctx, rq)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	content, err := readManifest(resp)
	if err != nil {
		return nil, nil, err
	}
	// Some registries declare another type: the content says what it is.
	if mt, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); lists.TypeOf(content, mt) != imgspecv1.MediaTypeImageIndex {
		err = fmt.Errorf("%s: %w but %q", ocihttp.CleanURL(resp.Request.URL), errNoIndex, mt)
		if r.host.Elsewhere(resp.Request.URL) {
			err = &ledElsewhere{answer: err.Error()}
		}
		return nil, nil, err
	}
	following, err := r.nextPage(resp)
	return content, following, err
}

// nextPage is where the Link header says that the next page is, nil if there is none. Another host
// than the registry's own is refused.
func (r *repository) nextPage(resp *http.Response) (*url.URL, error) {
	next, err := r.linkedPage(resp)
	if err == nil && next != nil && !r.host.Owns(next) {
		return nil, fmt.Errorf("%s: the answer has no usable link to the next page", ocihttp.CleanURL(resp.Request.URL))
	}
	return next, err
}

// parsing lets one list of referrers be parsed at a time: as long as it is, it takes many times its
// size.
var parsing sync.Mutex

// parseReferrers reads an index that lists referrers of d. What it returns does not hold on to
// content.
func parseReferrers(d digest.Digest, content []byte) ([]imgspecv1.Descriptor, error) {
	parsing.Lock()
	defer parsing.Unlock()
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
			MediaType: strings.Clone(in.MediaType), Digest: digest.Digest(strings.Clone(in.Digest.String())), Size: in.Size,
			ArtifactType: strings.Clone(in.ArtifactType),
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

// PutReferrers implements endpoint.ReferrerDestination. A repository with the referrers API has
// seen the subjects in the manifests; in any other, also of the same registry, the referrers tag is
// brought up to date: what it lists stays.
func (d *Destination) PutReferrers(ctx context.Context, subject digest.Digest, referrers []imgspecv1.Descriptor) error {
	if len(referrers) == 0 || d.repo.host.referrersAPI.holds(d.repo.name, d.shared.now()) {
		return nil
	}
	_, err := d.repo.referrersByAPI(ctx, d.shared.newRetrier(), subject, "")
	var limit *endpoint.ReferrersLimitError
	if err == nil || errors.As(err, &limit) {
		d.repo.host.referrersAPI.note(d.repo.name, d.shared.now())
		return nil
	}
	var none *noReferrersAPI
	if !errors.As(err, &none) {
		return fmt.Errorf("looking for the referrers API: %w", err)
	}
	tag, there := endpoint.ReferrersTag(subject), false
	err = d.UpdateTag(ctx, tag, func(old endpoint.Document) (endpoint.Document, error) {
		if there = old.Digest != ""; there {
			if err := listsReferrers(subject, old); err != nil {
				return old, err
			}
		}
		merged, err := endpoint.WithReferrers(old, referrers)
		if err != nil {
			return old, fmt.Errorf("referrers tag %s: %w", tag, err)
		}
		return merged, nil
	})
	if no := answered(err); no != nil && no.Status == http.StatusBadRequest && there {
		return fmt.Errorf("%w; what the tag %s lists already stays, also what is not there any more", err, tag)
	}
	return err
}

// UpdateTag implements endpoint.ReferrerDestination.
func (d *Destination) UpdateTag(ctx context.Context, tag string, update func(endpoint.Document) (endpoint.Document, error)) error {
	done, err := d.shared.tags.Take(ctx, d.repo.host.Name+"/"+d.repo.name+":"+tag)
	if err != nil {
		return err
	}
	defer done()
	old, err := d.Tagged(ctx, tag)
	if err != nil && !errors.Is(err, endpoint.ErrNotFound) {
		return err
	}
	updated, err := update(old)
	if err != nil || updated.Digest == old.Digest {
		return err
	}
	return d.putManifest(ctx, updated, tag)
}

// Flush implements endpoint.ReferrerDestination: everything is visible already.
func (d *Destination) Flush(context.Context) error { return nil }
