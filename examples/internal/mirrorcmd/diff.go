package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/examples/internal/difference"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// The exit statuses of mirror diff are those of diff(1).
const (
	StatusDifferent = 1 // there are differences, which were printed
	StatusTrouble   = 2 // what is to be compared could not be read, or the command line is wrong
)

// errDifferent is how Run learns that there are differences.
var errDifferent = errors.New("there are differences")

// A diffCommand is mirror diff.
type diffCommand struct {
	env      *environment
	access   access
	out      output
	subset   bool
	deep     bool
	attached bool
}

func (c *diffCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "diff [flags] A B",
		Short: "Say what differs between two lists, or two repositories",
		Long: "Diff compares what A and B name: the entries of lists by their platforms, what of these is there, configs and layers of\n" +
			"images that differ, and what is attached to all of it. It says if one list is the other with whole entries taken out.\n" +
			"A and B are references, or repositories docker://HOST/NAME without a tag: then all tags are compared, by their digests,\n" +
			"and what differs is looked at. Each is asked itself, and not its mirrors of registries.conf. Layers are not read.\n\n" +
			"The exit status is 0 if there is no difference, 1 if there is one, and 2 if something could not be read.",
		Example: "  mirror diff docker://docker.io/library/alpine:3 docker://registry.example/alpine:3\n" +
			"  mirror diff --subset docker://docker.io/library/alpine docker://registry.example/alpine",
		Args: takes(2, "A and B"),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := c.run(cmd, args)
			if err == nil || errors.Is(err, errDifferent) || isMisuse(err) {
				return err
			}
			return &statusError{StatusTrouble, err}
		},
	}
}

func (c *diffCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&c.subset, "subset", false, "what B lacks is no difference: tags, entries of lists, images, and what is attached")
	flags.BoolVar(&c.deep, "deep", false, "of repositories, look at what tags with the same digest at both sides name, too")
	flags.BoolVar(&c.attached, "attached", true, "compare what is attached: referrers, and digest tags")
	c.out.define(flags, "the differences")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "print nothing but errors")
	c.access.defineEnds(flags, &c.access.source, &c.access.dest)
}

// A diffSide is A or B.
type diffSide struct {
	prefix  string // of its flags
	text    string
	ref     types.ImageReference
	options copy.ReadOptions
}

// at is a side for another reference there.
func (s diffSide) at(ref types.ImageReference) diffSide {
	s.ref = ref
	return s
}

// failed puts a failure into the words of the side.
func (s diffSide) failed(err error) error {
	return atEnd(s.prefix, s.text, withoutSide(err)) // which speaks of a destination
}

func (c *diffCommand) run(cmd *cobra.Command, args []string) error {
	if err := checkAll(c.out.check, c.access.check); err != nil {
		return err
	}
	args, err := c.access.withTransports(args)
	if err != nil {
		return err
	}
	a, b, err := c.sides(args)
	if err != nil {
		return err
	}
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	copier := copy.NewCopier(c.env.limits(&c.access))
	defer func() { _ = copier.Close() }() // closes connections that nobody uses any more
	d := &differ{diffCommand: c, copier: copier, registries: copier.Registries()}
	report := &difference.Report{A: args[0], B: args[1]}
	if isRepository(args[0]) {
		err = d.repositories(ctx, a, b, report)
	} else {
		report.Images = []difference.Image{{}}
		err = d.images(ctx, a, b, c.attached, &report.Images[0])
	}
	if err != nil {
		return orStopped(ctx, err)
	}
	report.Conclude()
	if err := c.print(report); err != nil {
		return err
	}
	if report.Same || c.subset && report.Subset {
		return nil
	}
	return errDifferent
}

// sides parses A and B.
func (c *diffCommand) sides(args []string) (a, b diffSide, err error) {
	if isRepository(args[0]) != isRepository(args[1]) {
		return a, b, misusef("one of A and B names a repository, which stands for all of its tags, and the other an image: give both a tag, or none")
	}
	if c.deep && !isRepository(args[0]) {
		return a, b, misusef("--deep has no effect on two references: what they name is always looked at")
	}
	a, b = diffSide{prefix: "src", text: args[0]}, diffSide{prefix: "dest", text: args[1]}
	if a.ref, err = parseReference("A", args[0]); err != nil {
		return a, b, err
	}
	if b.ref, err = parseReference("B", args[1]); err != nil {
		return a, b, err
	}
	sys, err := c.access.systemContexts(c.env)
	a.options = copy.ReadOptions{SystemContext: sys.source, Side: copy.DestinationSide} // which is asked itself
	b.options = copy.ReadOptions{SystemContext: sys.destination, Side: copy.DestinationSide}
	return a, b, err
}

// isRepository reports whether a reference names a repository of a registry, and no image of it.
func isRepository(text string) bool {
	name, ok := strings.CutPrefix(text, "docker://")
	if !ok {
		return false
	}
	named, err := reference.ParseNormalizedNamed(name)
	return err == nil && reference.IsNameOnly(named)
}

// A differ asks both sides.
type differ struct {
	*diffCommand
	copier     *copy.Copier
	registries *naming.Registries
}

// maxDiffs is how many tags are compared at the same time.
const maxDiffs = 8

// repositories compares all tags of two repositories.
func (d *differ) repositories(ctx context.Context, a, b diffSide, report *difference.Report) error {
	var tags [2]map[string]digest.Digest
	group, groupCtx := errgroup.WithContext(ctx)
	for i, side := range []diffSide{a, b} {
		group.Go(func() (err error) {
			tags[i], err = d.tags(groupCtx, side)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, i := range difference.Tags(tags[0], tags[1]) {
		switch {
		case !naming.IsDigestTag(i.Tag):
			report.Images = append(report.Images, i)
		case d.attached:
			report.AttachedTags = append(report.AttachedTags, difference.Attachment{What: i.Tag, State: i.State, A: i.A, B: i.B})
		}
	}
	group, groupCtx = errgroup.WithContext(ctx)
	group.SetLimit(maxDiffs)
	for i := range report.Images {
		image := &report.Images[i]
		if image.State != difference.Changed && (image.State != difference.Same || !d.deep) {
			continue
		}
		group.Go(func() error {
			at, err := tagged(a, image.Tag)
			if err != nil {
				return err
			}
			to, err := tagged(b, image.Tag)
			if err != nil {
				return err
			}
			return d.images(groupCtx, at, to, d.deep && d.attached, image)
		})
	}
	return group.Wait()
}

// tagged is the image of a repository with a tag.
func tagged(s diffSide, tag string) (diffSide, error) {
	ref, err := parseReference("A or B", s.text+":"+tag)
	return s.at(ref), err
}

// tags returns what the tags of a repository name.
func (d *differ) tags(ctx context.Context, s diffSide) (map[string]digest.Digest, error) {
	list, err := d.registries.Tags(ctx, s.ref, &naming.TagsOptions{SystemContext: s.options.SystemContext, Side: s.options.Side})
	if err != nil {
		return nil, s.failed(err)
	}
	found := make([]digest.Digest, len(list.Tags))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxDiffs)
	for i, tag := range list.Tags {
		if naming.IsDigestTag(tag) && !d.attached {
			continue
		}
		group.Go(func() error {
			at, err := tagged(s, tag)
			if err != nil {
				return err
			}
			found[i], err = d.registries.Digest(groupCtx, at.ref, &naming.Options{SystemContext: s.options.SystemContext, Side: s.options.Side})
			if errors.Is(err, copy.ErrNotFound) {
				return nil // it was removed meanwhile
			}
			if err != nil {
				return s.failed(err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	tags := map[string]digest.Digest{}
	for i, tag := range list.Tags {
		if found[i] != "" {
			tags[tag] = found[i]
		}
	}
	return tags, nil
}

// images compares what two references name.
func (d *differ) images(ctx context.Context, a, b diffSide, attached bool, to *difference.Image) error {
	var sides [2]difference.Side
	var warnings [2][]string
	group, groupCtx := errgroup.WithContext(ctx)
	for i, side := range []diffSide{a, b} {
		group.Go(func() (err error) {
			sides[i], warnings[i], err = d.read(groupCtx, side, attached)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	left, right := sides[0].Found, sides[1].Found
	to.Compared, to.A, to.B = true, left.Digest, right.Digest
	to.State = difference.Changed
	if to.A == to.B {
		to.State = difference.Same
	}
	to.Entries, to.Attached = difference.Entries(left, right), difference.Attachments(sides[0], sides[1])
	to.Warnings = append(warnings[0], warnings[1]...)
	if to.State == difference.Same {
		return nil
	}
	return d.related(ctx, a, b, sides, to)
}

// read reads what a reference names, and what is attached to all of it.
func (d *differ) read(ctx context.Context, s diffSide, attached bool) (difference.Side, []string, error) {
	found, err := d.copier.Inspect(ctx, s.ref, &s.options)
	if err != nil {
		return difference.Side{}, nil, s.failed(err)
	}
	if !attached {
		return difference.Side{Found: found}, nil, nil
	}
	all, err := d.registries.AttachedToEach(ctx, s.ref, difference.Present(found), &naming.Options{SystemContext: s.options.SystemContext, Side: s.options.Side})
	if err != nil {
		return difference.Side{}, nil, fmt.Errorf("%w; --attached=false leaves out what is attached", s.failed(err))
	}
	return difference.Side{Found: found, Attached: all.Attached}, all.Warnings, nil
}

// related says whether one side is what mirrors make of the other.
func (d *differ) related(ctx context.Context, a, b diffSide, sides [2]difference.Side, to *difference.Image) error {
	left, right := sides[0].Found, sides[1].Found
	switch {
	case difference.IsPartOf(right, left):
		to.Relation = difference.BEntry
	case difference.IsPartOf(left, right):
		to.Relation = difference.AEntry
	}
	if left.Image != nil || right.Image != nil {
		return nil
	}
	original, err := d.copier.ReadManifest(ctx, a.ref, &a.options)
	if err != nil {
		return a.failed(err)
	}
	other, err := d.copier.ReadManifest(ctx, b.ref, &b.options)
	if err != nil {
		return b.failed(err)
	}
	nested := func(wanted digest.Digest) ([]byte, error) { return d.nested(ctx, wanted, a, b) }
	_, why := manifest.StrippedFrom(other.Bytes, original.Bytes, nested)
	if why == nil {
		to.Relation = difference.BStripped
		return nil
	}
	if _, err := manifest.StrippedFrom(original.Bytes, other.Bytes, nested); err == nil {
		to.Relation = difference.AStripped
		return nil
	}
	to.Why = why.Error()
	return nil
}

// nested reads a list that is nested in one of either side.
func (d *differ) nested(ctx context.Context, wanted digest.Digest, sides ...diffSide) ([]byte, error) {
	err := fmt.Errorf("%s is at no registry", wanted)
	for _, s := range sides {
		ref, parseErr := digested(s, wanted)
		if parseErr != nil {
			continue
		}
		doc, readErr := d.copier.ReadManifest(ctx, ref, &s.options)
		if readErr == nil {
			return doc.Bytes, nil
		}
		err = readErr
	}
	return nil, err
}

// digested is a reference to something else in the repository of a side.
func digested(s diffSide, wanted digest.Digest) (types.ImageReference, error) {
	named := s.ref.DockerReference()
	if named == nil || !strings.HasPrefix(s.text, "docker://") {
		return nil, errors.New("no repository of a registry")
	}
	return parseReference("A or B", "docker://"+named.Name()+"@"+wanted.String())
}
