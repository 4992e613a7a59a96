package mirrorcmd

import (
	"context"
	"fmt"
	"slices"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/transports"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// listsAtOnce is how many repositories are asked for their tags at the same time.
const listsAtOnce = 8

// eachOf calls f with the numbers below n, up to limit at the same time. When ctx ends, it calls f
// no more.
func eachOf(ctx context.Context, limit uint, n int, f func(i int)) {
	var group errgroup.Group
	group.SetLimit(int(limit))
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			f(i)
			return nil
		})
	}
	_ = group.Wait()
}

// expand finds out what is to be copied: this shard's part of the file, with the tags that match
// now. An image whose tags cannot be listed has failed. The error is about the file.
func (s *syncRun) expand(ctx context.Context) error {
	var mine []*syncfile.Image
	for _, image := range s.file.Images {
		if key, same := image.Repository(); !same || s.shard.has(key) {
			mine = append(mine, image)
		}
	}
	found := make([]expansion, len(mine))
	errs := make([]error, len(mine))
	eachOf(ctx, listsAtOnce, len(mine), func(i int) { found[i], errs[i] = s.copies(ctx, mine[i]) })
	if err := context.Cause(ctx); err != nil {
		return err
	}
	lines := map[string]int{}
	var failed []syncImage
	for i, image := range mine {
		if errs[i] != nil {
			failed = append(failed, syncImage{
				Line: image.Line, Source: image.Source, Status: imageFailed, Error: s.env.explain(errs[i]),
			})
		}
		if n := found[i].passedOver; n > 0 {
			s.report.PassedOver = append(s.report.PassedOver, syncPassedOver{Line: image.Line, Source: image.Source, DigestTags: n})
		}
		s.report.Warnings = append(s.report.Warnings, found[i].warnings...)
		for _, c := range found[i].copies {
			if !s.shard.has(syncfile.Key(c.Destination)) {
				continue
			}
			name := transports.ImageName(c.Destination)
			if line, twice := lines[name]; twice {
				return misusef("%s:%d: %s is the destination of the image in line %d too", s.report.File, image.Line, name, line)
			}
			lines[name] = image.Line
			s.todo = append(s.todo, c)
			s.report.Images = append(s.report.Images, syncImage{Line: image.Line, Source: transports.ImageName(c.Source), Destination: name})
		}
	}
	s.report.Images = append(s.report.Images, failed...)
	return nil
}

// An expansion is what an image of the file stands for now.
type expansion struct {
	copies     []syncfile.Copy
	passedOver int // tags that are named after digests, which patterns do not take
	warnings   []string
}

// copies returns the copies of an image, after listing tags if that is what it takes.
func (s *syncRun) copies(ctx context.Context, image *syncfile.Image) (found expansion, err error) {
	var listed []string
	if image.Tags != nil && image.Tags.Listed() {
		ref, err := parseReference("source", image.Source)
		if err != nil {
			return found, err
		}
		list, err := s.copier.Tags(ctx, ref, &copy.TagsOptions{SystemContext: s.sys.source})
		if err != nil {
			return found, err
		}
		logrus.Debugf("%s has %d tags, by %s", image.Source, len(list.Tags), list.Repository)
		listed, found.warnings = list.Tags, list.Warnings
	}
	if found.copies, found.passedOver, err = image.Copies(listed); err != nil {
		return expansion{}, fmt.Errorf("%s: %w", image.Source, err)
	}
	return found, nil
}

// repositories are the keys of what is written to, sorted.
func (s *syncRun) repositories() []string {
	var keys []string
	for _, c := range s.todo {
		keys = append(keys, syncfile.Key(c.Destination))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
