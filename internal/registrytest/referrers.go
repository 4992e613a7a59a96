package registrytest

import (
	"encoding/json"
	"net/http"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// referrers serves the list of manifests whose subject is the given one (section "Listing
// Referrers").
func (x *exchange) referrers() {
	if status := x.opts.ReferrersPage; status != 0 {
		if x.second {
			FailHTML(status).write(x)
			return
		}
		x.w.Header().Set("Location", x.secondURL()+x.req.URL.Path)
		x.w.WriteHeader(http.StatusSeeOther)
		return
	}
	if x.opts.NoReferrers {
		x.absent(Error{Code: "UNSUPPORTED", Message: "no such endpoint"})
		return
	}
	if x.req.Method != http.MethodGet {
		x.notAllowed()
		return
	}
	subject, err := digest.Parse(x.route.ref)
	if err != nil {
		x.refuse(http.StatusBadRequest, Error{Code: "DIGEST_INVALID", Message: err.Error()})
		return
	}
	artifactType := x.req.URL.Query().Get("artifactType")
	if x.opts.Referrers == ReferrersBare || x.opts.Referrers == ReferrersOfConfigs {
		artifactType = ""
	}
	found := map[string]imgspecv1.Descriptor{}
	if x.opts.Referrers != ReferrersStale {
		found = x.findReferrers(subject, artifactType)
	}
	if x.opts.Referrers == ReferrersBare {
		x.json(http.StatusOK, "text/plain; charset=utf-8", map[string]any{"schemaVersion": 2, "manifests": bare(found, x.page(sortedKeys(found)))})
		return
	}
	index := imgspecv1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex,
		Manifests: []imgspecv1.Descriptor{},
	}
	for _, d := range x.page(sortedKeys(found)) {
		index.Manifests = append(index.Manifests, found[d])
	}
	if artifactType != "" {
		x.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	mediaType := imgspecv1.MediaTypeImageIndex
	if x.opts.Referrers == ReferrersJSON {
		mediaType = "application/json; charset=utf-8"
	}
	x.json(http.StatusOK, mediaType, index)
}

// bare returns descriptors of the given digests that say no more than they must, nil if there are
// none.
func bare(found map[string]imgspecv1.Descriptor, digests []string) []any {
	var entries []any
	for _, d := range digests {
		entries = append(entries, map[string]any{
			"mediaType": found[d].MediaType, "digest": found[d].Digest, "size": found[d].Size, "annotations": nil,
		})
	}
	return entries
}

// findReferrers returns descriptors by their digests.
func (x *exchange) findReferrers(subject digest.Digest, artifactType string) map[string]imgspecv1.Descriptor {
	manifests := view(x.Registry, x.route.repo, func(r *repository) map[digest.Digest]storedManifest {
		all := make(map[digest.Digest]storedManifest, len(r.manifests))
		for d, m := range r.manifests {
			all[d] = m
		}
		return all
	})
	found := map[string]imgspecv1.Descriptor{}
	for d, m := range manifests {
		var doc document
		if json.Unmarshal(m.bytes, &doc) != nil || doc.Subject == nil || doc.Subject.Digest != subject {
			continue
		}
		desc := imgspecv1.Descriptor{
			MediaType: m.mediaType, Digest: d, Size: int64(len(m.bytes)),
			ArtifactType: doc.ArtifactType, Annotations: doc.Annotations,
		}
		if (desc.ArtifactType == "" || x.opts.Referrers == ReferrersOfConfigs) && doc.Config != nil {
			desc.ArtifactType = doc.Config.MediaType
		}
		if artifactType == "" || artifactType == desc.ArtifactType {
			found[d.String()] = desc
		}
	}
	return found
}
