package registrytest

import (
	"net/http"
	"strconv"
	"strings"
)

// SetAnnouncement replaces what the registry says about sparse lists; nil is for nothing. It must
// not change afterwards.
func (r *Registry) SetAnnouncement(a *Announcement) { r.announcement.Store(a) }

// announced is what the registry says to this request; nil for nothing.
func (x *exchange) announced() *Announcement {
	a := x.announcement.Load()
	if a == nil || a.More == nil {
		return a
	}
	repo := x.req.URL.Query().Get("repository")
	if own := a.More.Repositories[repo]; own != nil && x.mayPull(repo) {
		return own
	}
	return a
}

// ping serves GET /v2/.
func (x *exchange) ping() {
	if x.req.Method != http.MethodGet && x.req.Method != http.MethodHead {
		x.notAllowed()
		return
	}
	if a := x.announced(); a != nil {
		header := x.w.Header()
		header.Set("X-Sparse-Manifest-Support", strconv.FormatBool(a.Sparse))
		header.Set("X-Required-Architectures", strings.Join(a.Architectures, ","))
		if a.Widening {
			header.Set("X-Sparse-Manifest-Widening", "true")
		}
		if a.More != nil {
			header.Set("X-Required-Platforms", strings.Join(a.More.Platforms, ","))
			header.Set("X-Required-Without-Platform", strconv.FormatBool(a.More.WithoutPlatform))
		}
	}
	x.json(http.StatusOK, "application/json", struct{}{})
}

// capabilities serves GET /api/v1/registry/capabilities, without credentials; 404 unless the
// registry announces itself.
func (x *exchange) capabilities() {
	a := x.announced()
	switch {
	case a == nil:
		x.refuse(http.StatusNotFound, Error{Code: "UNSUPPORTED", Message: "no such endpoint"})
	case x.req.Method != http.MethodGet && x.req.Method != http.MethodHead:
		x.notAllowed()
	default:
		sparse := map[string]any{"supported": a.Sparse, "required_architectures": neverNull(a.Architectures)}
		if a.Widening {
			sparse["widening"] = true
		}
		if a.More != nil {
			sparse["required_platforms"] = neverNull(a.More.Platforms)
			sparse["required_without_platform"] = a.More.WithoutPlatform
		}
		x.json(http.StatusOK, "application/json", map[string]any{"sparse_manifests": sparse})
	}
}

func neverNull(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
