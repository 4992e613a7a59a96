package mirrorcmd

import (
	"context"
	"errors"
	"slices"

	"go.podman.io/image/v5/transports"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// listsAtOnce is how many repositories are asked for their tags at the same time.
const listsAtOnce = 8

// An expandedFile is what a file stands for now, in one shard.
type expandedFile struct {
	todo       []syncfile.Copy
	images     []syncImage // of todo, then those whose tags could not be listed, which have failed
	passedOver []syncPassedOver
	warnings   []string
}

// expand finds out what is to be copied: this shard's part of the file, with the tags that match
// now. The error is about the file, or context.Cause.
func (r *runner) expand(ctx context.Context) (expandedFile, error) {
	mine := r.images()
	found := make([]expansion, len(mine))
	errs := make([]error, len(mine))
	eachOf(ctx, listsAtOnce, len(mine), func(i int) { found[i], errs[i] = r.copies(ctx, mine[i]) })
	var (
		all    expandedFile
		failed []syncImage
		lines  = map[string]int{}
	)
	if err := context.Cause(ctx); err != nil {
		return all, err
	}
	for i, image := range mine {
		if errs[i] != nil {
			failed = append(failed, r.notExpanded(image, errs[i]))
		}
		if over := found[i].passedOver(image); over.any() {
			all.passedOver = append(all.passedOver, over)
		}
		all.warnings = append(all.warnings, found[i].warnings...)
		for _, c := range found[i].copies {
			name := transports.ImageName(c.Destination)
			if line, twice := lines[name]; twice {
				return all, misusef("%s:%d: %s is the destination of the image in line %d too", r.fileName, image.Line, name, line)
			}
			lines[name] = image.Line
			all.todo = append(all.todo, c)
			all.images = append(all.images, newEntry(c))
		}
	}
	all.images = append(all.images, failed...)
	return all, nil
}

// notExpanded is an image of which it cannot be found out what it stands for, in a report.
func (r *runner) notExpanded(image *syncfile.Image, err error) syncImage {
	entry := syncImage{Line: image.Line, Source: image.Source, Status: imageFailed, Error: r.env.explain(err)}
	if held, ok := errors.AsType[*copy.RateLimitError](err); ok {
		entry.Status, entry.PostponedUntil = imagePostponed, held.Until.UTC()
	}
	return entry
}

// repositories are the keys of what copies write to, sorted.
func repositories(copies []syncfile.Copy) []string {
	var keys []string
	for _, c := range copies {
		keys = append(keys, syncfile.Key(c.Destination))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
