package mirrorcmd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
)

// An expansion is what an image of the file stands for now, in this shard.
type expansion struct {
	copies []syncfile.Copy
	chosen
}

// A chosen says which tags of a repository an image takes beside those that it names.
type chosen struct {
	tags       []string
	digestTags int            // named after digests, which patterns do not take
	left       tagselect.Left // what patterns take, and bounds do not
	warnings   []string
}

// passedOver says what an image does not take although a pattern matches it.
func (c *chosen) passedOver(image *syncfile.Image) syncPassedOver {
	return syncPassedOver{
		Line: image.Line, Source: image.Source, DigestTags: c.digestTags, Older: c.left.Older, NoVersions: c.left.NoVersions,
	}
}

// copies returns the copies of an image, after listing tags, and reading when their images were
// made, if that is what it takes.
func (r *runner) copies(ctx context.Context, image *syncfile.Image) (found expansion, err error) {
	if image.Listed() {
		if found.chosen, err = r.choose(ctx, image); err != nil {
			return expansion{}, err
		}
	}
	if found.copies, err = image.Copies(found.tags); err != nil {
		return expansion{}, fmt.Errorf("%s: %w", image.Source, err)
	}
	found.copies = slices.DeleteFunc(found.copies, func(c syncfile.Copy) bool { return !r.flags.shard.has(syncfile.Key(c.Destination)) })
	return found, nil
}

// choose lists the tags of an image's source and chooses among them, whatever the shard. pushed are
// tags that there are, too: a registry may not list them so far.
func (r *runner) choose(ctx context.Context, image *syncfile.Image, pushed ...string) (found chosen, err error) {
	ref, err := parseReference("source", image.Source)
	if err != nil {
		return found, err
	}
	list, err := r.copier.Tags(ctx, ref, &copy.TagsOptions{SystemContext: r.sys.source})
	if err != nil {
		return found, err
	}
	logrus.Debugf("%s has %d tags, by %s", image.Source, len(list.Tags), list.Repository)
	matched, err := image.Tags.Match(slices.Concat(list.Tags, pushed))
	if err != nil {
		return found, fmt.Errorf("%s: %w", image.Source, err)
	}
	found.digestTags, found.warnings = len(matched.PassedOver), list.Warnings
	if found.tags, found.left, err = r.bounded(ctx, image, matched.Taken); err != nil {
		return chosen{}, err
	}
	if len(found.tags) == 0 && len(matched.Taken) > 0 {
		found.warnings = append(slices.Clone(found.warnings), fmt.Sprintf("%s (line %d): no image of the %s that patterns take was made since then", image.Source, image.Line, counted(len(matched.Taken), "tag")))
	}
	return found, nil
}

// bounded returns those of tags that are within the bounds of an image, and counts the others.
func (r *runner) bounded(ctx context.Context, image *syncfile.Image, tags []string) ([]string, tagselect.Left, error) {
	bounds := image.Tags.Bounds
	created, err := r.created(ctx, image, bounds.Candidates(tags))
	if err != nil {
		return nil, tagselect.Left{}, err
	}
	within, left, err := bounds.Choose(tags, created, r.env.now())
	if err != nil {
		return nil, tagselect.Left{}, fmt.Errorf("%s: %w; newest-by: created goes by the times of images", image.Source, err)
	}
	return within, left, nil
}

// timesAtOnce is how many tags are asked at the same time for when their images were made.
const timesAtOnce = 8

// created returns when the images of tags were made. All are known: what cannot be read, and what
// no image says, is an error.
func (r *runner) created(ctx context.Context, image *syncfile.Image, tags []string) (map[string]time.Time, error) {
	options := naming.CreatedOptions{SystemContext: image.SourceContext(r.sys.source), Platforms: image.Platforms()}
	created, err := askEach(ctx, timesAtOnce, tags, func(tag string) (time.Time, error) {
		c, err := image.CopyOf(tag)
		if err != nil {
			return time.Time{}, err
		}
		return r.copier.Registries().Created(ctx, c.Source, &options)
	})
	if err != nil {
		return nil, err
	}
	silent := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return !created[tag].IsZero() })
	if len(silent) > 0 {
		return nil, fmt.Errorf("%s: %d of %s do not say when they were made, or state a time that builds take which can be repeated; the first is %s: exclude-tags leaves them out, and newest-by: version needs no times",
			image.Source, len(silent), counted(len(tags), "image"), silent[0])
	}
	return created, nil
}

// takes reports whether an image takes a tag that was pushed, within its bounds. Other tags are
// looked at only if it takes them to know what the newest are.
func (r *runner) takes(ctx context.Context, image *syncfile.Image, tag string) (bool, error) {
	if image.Tags == nil || !image.Tags.Bounds.Any() || slices.Contains(image.Tags.Names, tag) || !image.Wants(tag) {
		return image.Wants(tag), nil
	}
	if image.Tags.Bounds.Newest == 0 {
		within, _, err := r.bounded(ctx, image, []string{tag})
		return len(within) > 0, err
	}
	found, err := r.choose(ctx, image, tag)
	return slices.Contains(found.tags, tag), err
}
