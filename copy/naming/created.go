package naming

import (
	"context"
	"slices"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/platform"
)

// CreatedOptions are the choices of Created. The zero value is useful, and so is a nil
// *CreatedOptions.
type CreatedOptions struct {
	// SystemContext is the configuration; nil means the defaults.
	SystemContext *types.SystemContext
	// Platforms say which images of a list count: those that one of them matches, and none that
	// excludes. Without one that selects, all count that are not excluded.
	Platforms []plan.InstancePlatformFilter
}

// Created returns when the image that ref names was made, as its config states it, or, for an
// artifact, or where the config states nothing, the annotation org.opencontainers.image.created.
// For a list, it is the time of the newest of its images that count; of all if none does. The time
// is zero if nothing states any, and where what is stated is before 2013, when there were no
// images: builds that can be repeated have such times.
//
// A source is read where registries.conf says. With a CopierOptions.Cache, a tag that still names
// what it did costs one HEAD and nothing else.
func (r *Registries) Created(ctx context.Context, ref types.ImageReference, options *CreatedOptions) (time.Time, error) {
	if options == nil {
		options = &CreatedOptions{}
	}
	src, _, err := access.OpenSource(ctx, ref, options.SystemContext, r.shared)
	if err != nil {
		return time.Time{}, failure.New(failure.Opening, failure.SourceSide, transports.ImageName(ref), err)
	}
	defer src.Close() // nothing was written
	created, err := inspect.Created(ctx, src, semaphore.NewWeighted(imagesAtOnce), countedBy(options.Platforms))
	if err != nil {
		return time.Time{}, failure.New("asking for the age of", failure.SourceSide, transports.ImageName(ref), err)
	}
	return created, nil
}

// imagesAtOnce is how many images of a list Created reads at the same time.
const imagesAtOnce = 4

// countedBy returns what reports whether images for a platform count.
func countedBy(filters []plan.InstancePlatformFilter) func(*imgspecv1.Platform) bool {
	excludes := func(f plan.InstancePlatformFilter) bool { return f.Exclude }
	include := slices.DeleteFunc(slices.Clone(filters), excludes)
	return func(p *imgspecv1.Platform) bool {
		matches := func(f plan.InstancePlatformFilter) bool { return platform.Pattern(f).Matches(p) }
		return (len(include) == 0 || slices.ContainsFunc(include, matches)) &&
			!slices.ContainsFunc(filters, func(f plan.InstancePlatformFilter) bool { return excludes(f) && matches(f) })
	}
}
