package registrytest

import (
	"net/http"
	"strconv"
	"strings"
)

// SetAnnouncement replaces what the registry says about sparse lists; nil is for nothing. It must
// not change afterwards.
func (r *Registry) SetAnnouncement(a *Announcement) { r.announcement.Store(a) }

// ping serves GET /v2/.
func (x *exchange) ping() {
	if x.req.Method != http.MethodGet && x.req.Method != http.MethodHead {
		x.notAllowed()
		return
	}
	if a := x.announcement.Load(); a != nil {
		x.w.Header().Set("X-Sparse-Manifest-Support", strconv.FormatBool(a.Sparse))
		x.w.Header().Set("X-Required-Architectures", strings.Join(a.Architectures, ","))
		if a.Widening {
			x.w.Header().Set("X-Sparse-Manifest-Widening", "true")
		}
	}
	x.json(http.StatusOK, "application/json", struct{}{})
}

// capabilities serves GET /api/v1/registry/capabilities, without credentials; 404 unless the
// registry announces itself.
func (x *exchange) capabilities() {
	a := x.announcement.Load()
	switch {
	case a == nil:
		x.refuse(http.StatusNotFound, Error{Code: "UNSUPPORTED", Message: "no such endpoint"})
	case x.req.Method != http.MethodGet && x.req.Method != http.MethodHead:
		x.notAllowed()
	default:
		archs := a.Architectures
		if archs == nil {
			archs = []string{}
		}
		sparse := map[string]any{"supported": a.Sparse, "required_architectures": archs}
		if a.Widening {
			sparse["widening"] = true
		}
		x.json(http.StatusOK, "application/json", map[string]any{"sparse_manifests": sparse})
	}
}
