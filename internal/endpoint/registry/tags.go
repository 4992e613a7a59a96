package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// Limits on what registries list.
const (
	maxTagPage      = 64 << 20 // bytes of a page: some registries put all tags into one
	maxTags         = 1 << 20  // of a repository
	maxEmptyPages   = 3        // in a row, if the last one says that more follow
	maxShownTags    = 5        // of those that a warning is about
	maxShortTagPage = 4 << 20  // bytes of a page where only some pages are to be read
)

// A TagList is what a registry lists as the tags of a repository.
type TagList struct {
	// Tags are in the registry's order, each once. All of them are valid.
	Tags []string
	// Repository is the one that was asked: registries.conf may have sent the question elsewhere.
	Repository string
	// Warnings say what was left out.
	Warnings []string
}

// Tags lists the tags of the repository that ref names; the tag or digest of ref does not matter.
// With asDestination it is asked where copies to ref are written, else where they are read from: in
// the places, and in the order, that registries.conf says, until one answers. A mirror that lists
// none has not answered. sh is what the requests share with others, nil for nothing.
//
// An error that wraps endpoint.ErrNotFound says that there is definitely no such repository.
func Tags(ctx context.Context, ref types.ImageReference, asDestination bool, sys *types.SystemContext, sh *Shared) (*TagList, error) {
	name, err := named(ref)
	if err != nil {
		return nil, err
	}
	name = reference.TrimNamed(name)
	if err := checkBlocked(name, sys); err != nil {
		return nil, err
	}
	if sh == nil {
		sh = &Shared{}
		defer func() { _ = sh.Close() }()
	}
	s := &Source{ref: ref, shared: sh, stats: &counters{}}
	if asDestination {
		repo, err := pushRepository(name, sys, sh, s.stats)
		if err != nil {
			return nil, err
		}
		s.endpoints = []physical{{ref: name, repo: repo}}
	} else if s.endpoints, err = pullSources(name, sys, sh, s.stats); err != nil {
		return nil, err
	}
	own := s.endpoints[len(s.endpoints)-1].repo
	var list *TagList
	err = s.fromEndpoints(ctx, func(r *repository, rt *retrier) (err error) {
		list, err = r.tags(ctx, rt, allTagPages)
		if err == nil && len(list.Tags) == 0 && r != own {
			return errors.New("it lists no tags")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	list.Repository = s.endpoints[s.current.Load()].ref.Name()
	return list, nil
}

// DigestTags implements endpoint.TagLister. What any of several endpoints has can be read: their
// lists are one. A mirror that does not list its tags is passed over; but not if only some pages
// are wanted: then there is another way to find out, and no patience. A list that lacks the tag by
// which the source was opened is an error: it ends early, or is somebody else's.
func (s *Source) DigestTags(ctx context.Context, pages int) ([]string, error) {
	limit := allTagPages
	if pages > 0 {
		limit = tagLimit{pages, maxShortTagPage}
	}
	known := map[string]bool{}
	tagged, ok := s.ref.DockerReference().(reference.NamedTagged)
	listed := !ok || s.top.Digest == ""
	for i, e := range s.endpoints {
		rt := s.shared.newRetrier()
		own := i+1 == len(s.endpoints)
		if pages > 0 || !own {
			rt.policy.Attempts = min(rt.policy.Attempts, attemptsOfOneOfSeveral)
		}
		list, err := e.repo.tags(ctx, rt, limit)
		switch {
		case own && pages == 0 && !ok && s.top.Digest != "" && endpoint.SaysNameUnknown(err):
			continue // it has what was read by its digest, and so no tags
		case err != nil && (own || ctx.Err() != nil || pages > 0 && !e.repo.saysNotFound(err)):
			return nil, e.repo.wrapNotFound(err)
		case err != nil:
			logrus.Debugf("Listing the tags of %s: %v", e.ref.Name(), err)
			continue
		}
		for _, tag := range list.Tags {
			listed = listed || tag == tagged.Tag()
			if digesttag.Stem(tag) != "" {
				known[tag] = true
			}
		}
	}
	if !listed {
		return nil, fmt.Errorf("the list of tags lacks %s, which is there", tagged.Tag())
	}
	return slices.Collect(maps.Keys(known)), nil
}

// A tagLimit is what is read of a list of tags: a list that has more is an
// *endpoint.LongTagListError.
type tagLimit struct {
	pages int
	bytes int // of a page
}

// allTagPages bounds what is read if nobody can do without.
var allTagPages = tagLimit{math.MaxInt, maxTagPage}

// tags reads all pages within a limit. No number of tags is asked for: a registry that does not
// know pages then sends everything, and one that does says where the next page is, whatever the
// size that it prefers.
func (r *repository) tags(ctx context.Context, rt *retrier, limit tagLimit) (*TagList, error) {
	var (
		list    = &TagList{}
		known   = map[string]bool{} // tags, valid or not
		pages   = map[string]bool{} // URLs
		invalid []string
		empty   int
		read    int // pages
	)
	for next := (&request{method: http.MethodGet, path: "tags/list"}); next != nil; {
		var page tagPage
		err := r.retry(ctx, rt, func() (err error) {
			page, err = r.tagPage(ctx, next, limit)
			return err
		})
		if err != nil {
			return nil, err
		}
		rt.reset()
		if read++; read >= limit.pages && page.next != nil {
			return nil, &endpoint.LongTagListError{URL: ocihttp.CleanURL(page.next), What: fmt.Sprintf("%d pages", limit.pages)}
		}
		pages[page.url.String()] = true
		invalid = append(invalid, page.others...)
		empty++
		for _, tag := range page.tags {
			if known[tag] {
				continue
			}
			known[tag], empty = true, 0
			if tagSyntax().MatchString(tag) {
				list.Tags = append(list.Tags, tag)
			} else {
				invalid = append(invalid, tag)
			}
		}
		switch {
		case page.next == nil:
			next = nil
		case pages[page.next.String()]:
			return nil, fmt.Errorf("%s: the list of tags leads back to a page that was read already", ocihttp.CleanURL(page.next))
		case empty >= maxEmptyPages:
			return nil, fmt.Errorf("%s: the list of tags goes on after %d pages with nothing new", ocihttp.CleanURL(page.next), empty)
		case len(known) > maxTags:
			return nil, fmt.Errorf("%s: the repository has more than the limit of %d tags", ocihttp.CleanURL(page.next), maxTags)
		default:
			pages[page.next.String()] = true // also if that redirects
			next = &request{method: http.MethodGet, location: page.next}
		}
	}
	if len(invalid) > 0 {
		list.Warnings = append(list.Warnings, fmt.Sprintf("%s lists %s, skipped", r.host.Name+"/"+r.name, quotedTags(invalid)))
	}
	return list, nil
}

// quotedTags is what a warning says about texts that are no tags.
func quotedTags(all []string) string {
	var shown []string
	for _, tag := range all[:min(len(all), maxShownTags)] {
		shown = append(shown, fmt.Sprintf("%.140q", tag))
	}
	text := strings.Join(shown, ", ")
	if more := len(all) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if len(all) == 1 {
		return text + ", which is no valid tag"
	}
	return text + ", which are no valid tags"
}

// tagSyntax is what the OCI distribution specification v1.1 allows, section "Pulling manifests".
var tagSyntax = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`) })

// tagPage is one page of a list of tags.
type tagPage struct {
	url    *url.URL // that it came from
	tags   []string
	others []string // elements that are no texts
	next   *url.URL // nil for the last one
}

// tagPage reads a page once. OCI distribution specification v1.1, section "Listing Tags".
func (r *repository) tagPage(ctx context.Context, rq *request, limit tagLimit) (tagPage, error) {
	resp, err := r.send(ctx, rq)
	if err != nil {
		return tagPage{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit.bytes)+1))
	if err != nil {
		return tagPage{}, err
	}
	from := ocihttp.CleanURL(resp.Request.URL)
	if len(content) > limit.bytes {
		return tagPage{}, &endpoint.LongTagListError{URL: from, What: fmt.Sprintf("the limit of %d bytes", limit.bytes)}
	}
	page := tagPage{url: resp.Request.URL}
	if page.tags, page.others, err = parseTags(content); err != nil {
		return tagPage{}, fmt.Errorf("%s: %w", from, err)
	}
	page.next, err = r.linkedPage(resp)
	return page, err
}

var errNoTagList = errors.New("the answer is no list of tags")

// parseTags reads the answer of a registry; others are the elements that are no texts. A list that
// is null or left out is an empty one if the answer names the repository; anything else that is no
// list is not taken for an empty one.
func parseTags(content []byte) (tags, others []string, err error) {
	var answer struct {
		Name *string         `json:"name"`
		Tags json.RawMessage `json:"tags"`
	}
	if err := json.Unmarshal(content, &answer); err != nil || answer.Name == nil && answer.Tags == nil {
		return nil, nil, errNoTagList
	}
	if answer.Tags == nil {
		return nil, nil, nil
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(answer.Tags, &elements); err != nil {
		return nil, nil, errNoTagList
	}
	for _, e := range elements {
		var tag *string
		if err := json.Unmarshal(e, &tag); err != nil || tag == nil {
			others = append(others, string(e))
			continue
		}
		tags = append(tags, *tag)
	}
	return tags, others, nil
}
