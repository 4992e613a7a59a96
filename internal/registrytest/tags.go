package registrytest

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
)

// tags serves the list of tags, in lexical order.
func (x *exchange) tags() {
	if x.req.Method != http.MethodGet {
		x.notAllowed()
		return
	}
	if x.second && x.req.Header.Get("Authorization") != "" {
		x.refuse(http.StatusBadRequest, Error{Code: "UNSUPPORTED", Message: "no credentials are wanted here"})
		return
	}
	own := x.Tags(x.route.repo)
	if !slices.Contains(x.Repos(), x.route.repo) || x.opts.UnknownWithoutTags && len(own) == 0 {
		x.refuse(http.StatusNotFound, Error{Code: "NAME_UNKNOWN", Message: "repository name not known to registry"})
		return
	}
	tags := slices.Concat(own, x.opts.ListedTags)
	if x.opts.ListsCache {
		tags = slices.DeleteFunc(tags, digesttag.Is)
	}
	page := x.page(slices.Sorted(slices.Values(tags)))
	if page == nil {
		page = []string{}
	}
	x.json(http.StatusOK, "application/json", map[string]any{"name": x.route.repo, "tags": page})
}

// page is the part of sorted keys that the query asks for (n, last; section "Listing Tags"). If
// more come, it sets the Link header.
func (x *exchange) page(keys []string) []string {
	q := x.req.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(keys, last)
		if found {
			i++
		}
		keys = keys[i:]
	}
	n := len(keys)
	if x.opts.PageSize > 0 {
		n = min(n, x.opts.PageSize)
	}
	if asked, err := strconv.Atoi(q.Get("n")); err == nil && asked >= 0 {
		n = min(n, asked)
	}
	if n > 0 && n < len(keys) {
		q.Set("last", keys[n-1])
	} else {
		q = nil
	}
	x.link(q)
	return keys[:n]
}
