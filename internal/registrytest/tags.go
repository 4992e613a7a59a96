package registrytest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// tags serves the list of tags, in lexical order.
func (x *exchange) tags() {
	if x.req.Method != http.MethodGet {
		x.notAllowed()
		return
	}
	if !slices.Contains(x.Repos(), x.route.repo) {
		x.refuse(http.StatusNotFound, Error{Code: "NAME_UNKNOWN", Message: "repository name not known to registry"})
		return
	}
	page := x.page(x.Tags(x.route.repo))
	if page == nil {
		page = []string{}
	}
	x.json(http.StatusOK, "application/json", map[string]any{"name": x.route.repo, "tags": page})
}

// page is the part of sorted keys that the query asks for (n, last; section "Listing Tags"). If more come, it sets the
// Link header.
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
		next := url.URL{Path: x.req.URL.Path, RawQuery: q.Encode()}
		x.w.Header().Set("Link", "<"+x.location(next.String())+`>; rel="next"`)
	}
	return keys[:n]
}
