package copytest

import (
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/copy"
)

// Auto are options that copy some platforms, and leave it to the registry whether the list is
// stripped.
func Auto(filters ...string) copy.Options {
	return copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: Platforms(filters...), SparseManifestListAction: copy.AutoSparseManifestList,
	}
}

// UpstreamFilters are filters as upstream has them.
func UpstreamFilters(filters []copy.InstancePlatformFilter) []upstream.InstancePlatformFilter {
	var all []upstream.InstancePlatformFilter
	for _, f := range filters {
		all = append(all, upstream.InstancePlatformFilter{OS: f.OS, Architecture: f.Architecture})
	}
	return all
}

// Platforms parses platform filters. It panics if one is none.
func Platforms(filters ...string) []copy.InstancePlatformFilter {
	parsed := make([]copy.InstancePlatformFilter, len(filters))
	for i, f := range filters {
		p, err := copy.ParsePlatformFilter(f)
		if err != nil {
			panic(err)
		}
		parsed[i] = p
	}
	return parsed
}

// Followers are options that ask for everything that is attached.
func Followers() copy.Options {
	return copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true}
}
