package mirrorcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/bundle"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
)

// A bundleCreateCommand is mirror bundle create.
type bundleCreateCommand struct {
	env     *environment
	sel     selection
	access  access
	out     output
	file    string
	since   string
	allTags bool
	from    fromFlags
}

func (c *bundleCreateCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "create [flags] BUNDLE {IMAGE... | -f FILE}",
		Short: "Make a bundle of images in registries",
		Long: "Create copies images, the same platforms of each, into a new bundle: a directory, or one archive if BUNDLE ends in\n" +
			".tar. BUNDLE appears when it is complete; until then the work is in BUNDLE.partial, where the next run goes on after a\n" +
			"failure. With --since, configs and layers that an earlier bundle brought are left out.",
		Example: "  mirror bundle create --platform linux/amd64,linux/arm64 monday.tar docker://docker.io/library/alpine:3\n" +
			"  mirror bundle create --all --since monday.tar tuesday.tar docker://docker.io/library/alpine:3\n" +
			"  mirror bundle create --all --all-tags app.tar docker://registry.example/team/app\n" +
			"  mirror bundle create -f images.yaml images.tar",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 || c.file == "" && len(args) < 2:
				return misusef("mirror bundle create takes BUNDLE and at least one IMAGE, or -f, and %d arguments were given; see mirror bundle create --help", len(args))
			case c.file != "" && len(args) > 1:
				return misusef("IMAGE and --file exclude each other")
			}
			return nil
		},
		RunE: c.run,
	}
}

func (c *bundleCreateCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	c.sel.defineChoice(flags)
	flags.Var(count{&c.sel.options.MaxParallelDownloads}, "parallel", parallelHelp+libraryParallel)
	flags.StringVarP(&c.file, "file", "f", "", "the images of a sync `FILE`, whose keys mirror sync --help lists, each with its own selection, instead of IMAGEs; the destinations in it are not looked at")
	c.from.define(flags)
	flags.BoolVar(&c.allTags, "all-tags", false, "each IMAGE is a repository, docker://HOST/NAME, and stands for all of its tags, but for those that are named after digests (see --digest-tags)")
	flags.StringVar(&c.since, "since", "", "leave out the configs and layers that `BUNDLE` brought, or the bundles before it; a copy of its bundle.json will do")
	flags.Var(&digestTags{&c.sel.options}, "digest-tags",
		"carry what tags name that are named after the digest of anything in the bundle: cosign's tags sha256-<hex>.sig, .att and .sbom; or those with any suffix (all), for which all tags are listed")
	flags.Lookup("digest-tags").NoOptDefVal = cosignTags
	flags.Var(&referrerTypes{&c.sel.options}, "referrers",
		"carry what refers to anything in the bundle, such as SBOMs and signatures, and what refers to that; of artifact `TYPES` only, if some are named, separated by commas")
	flags.Lookup("referrers").NoOptDefVal = allReferrers
	flags.Var(&referrersSource{options: &c.sel.options}, "referrers-source", referrersSourceHelp)
	c.out.define(flags, "what was done")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "print nothing but errors")
	c.access.defineEnds(flags, &c.access.source, &c.access.referrers)
	c.access.defineSystem(flags)
	c.access.definePolicy(flags)
}

func (c *bundleCreateCommand) run(cmd *cobra.Command, args []string) error {
	c.env.sel = &c.sel
	if err := checkAll(c.out.check, c.sel.check, c.access.check, c.checkFrom); err != nil {
		return err
	}
	if c.sel.options.AttachOriginal && c.sel.options.SparseManifestListAction != copy.StripSparseManifestList {
		return misusef("--%s needs --sparse strip: in bundles, lists are kept otherwise, and a list that is kept is the original", transform.AttachOriginal)
	}
	images, repositories, err := c.parseImages(args[1:])
	if err != nil {
		return err
	}
	sys, err := c.access.systemContexts(c.env)
	if err != nil {
		return err
	}
	policy, err := c.access.policyContext(sys.source)
	if err != nil {
		return err
	}
	defer func() { _ = policy.Destroy() }()
	w, err := c.writer(args[0])
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }() // it only had files
	limits := c.env.limits(&c.access)
	limits.MaxParallelDownloads = c.sel.options.MaxParallelDownloads
	m := &bundleMaker{c: c, copier: copy.NewCopier(limits), sys: sys, policy: policy, bundle: w}
	defer func() { _ = m.copier.Close() }() // closes connections that nobody uses any more
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	switch {
	case c.file != "":
		images, err = c.imagesOfFile(ctx, m.copier, sys.source)
	case c.allTags:
		images, err = c.imagesOfRepositories(ctx, m.copier, sys.source, repositories)
	}
	if err != nil {
		return orStopped(ctx, err)
	}
	m.progress = c.env.startProgress(&c.out, len(images))
	defer m.progress.Close()
	if err := m.copy(ctx, images); err != nil {
		return orStopped(ctx, err)
	}
	summary, err := w.Publish(ctx)
	if err != nil {
		return orStopped(ctx, err)
	}
	m.progress.Close()
	return c.print(args[0], summary)
}

// writer begins the bundle at path.
func (c *bundleCreateCommand) writer(path string) (*bundle.Writer, error) {
	w, err := bundle.Create(path, &bundle.CreateOptions{Since: c.since})
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, misusef("%s exists already: a bundle is made once; take another name", path)
	case err != nil:
		return nil, misusef("--since: %w", err)
	}
	return w, nil
}

func (c *bundleCreateCommand) print(path string, made *bundle.Summary) error {
	switch {
	case c.out.json:
		return printJSON(c.env.stdout, made.Record)
	case c.out.quiet:
		return nil
	}
	for _, i := range made.Record.Images {
		note := ""
		if i.Digest != i.SourceDigest {
			note = " (stripped; " + shortDigest(i.SourceDigest) + " at the source)"
		}
		fmt.Fprintf(c.env.stdout, "%s  %s%s\n", i.Digest, i.Name, note)
	}
	_, err := fmt.Fprintf(c.env.stdout, "%s: %s, %s (%s), left out: %s (%s)\n", path, counted(len(made.Record.Images), "image"),
		counted(made.Carried, "blob"), copy.FormatBytes(made.CarriedBytes), counted(made.Left, "blob"), copy.FormatBytes(made.LeftBytes))
	return err
}

// A namedImage is an image of a registry, and how it is copied.
type namedImage struct {
	ref     types.ImageReference
	tag     string // "" for none: one that is read by its digest may have both
	name    reference.Named
	options copy.Options
	entry   *syncfile.Image // nil if it comes from the command line
}

// parseImages parses the images of the command line, or the repositories whose tags are images.
// They share a selection.
func (c *bundleCreateCommand) parseImages(args []string) (images []namedImage, repositories []reference.Named, err error) {
	if stray := changed(c.sel.flags, append([]string{"all", "single", "platformless-entries", "digest-tags", "referrers", "referrers-source", "all-tags"}, append(selectors, listFlags...)...)); c.file != "" && len(stray) > 0 {
		return nil, nil, misusef("%s has no effect together with --file, which says it for each image", dashed(stray))
	}
	if c.allTags {
		repositories, err = c.parseRepositories(args)
		return nil, repositories, err
	}
	for _, arg := range args {
		arg, err := c.access.withTransport("IMAGE", arg)
		if err != nil {
			return nil, nil, err
		}
		ref, err := parseReference("IMAGE", arg)
		if err != nil {
			return nil, nil, err
		}
		tag := tagIn(ref.DockerReference())
		if pinned := syncfile.PinnedIn(arg); pinned != nil {
			tag = tagIn(pinned)
		}
		images = append(images, namedImage{ref: ref, tag: tag, options: c.sel.options})
	}
	images, err = withNames(images)
	return images, nil, err
}

// checkFrom checks the flags about another tool's file. Its images need no destinations here.
func (c *bundleCreateCommand) checkFrom() error {
	given := changed(c.from.flags, append(conversionFlags(), "from"))
	switch {
	case len(given) > 0 && c.file == "":
		return misusef("%s %s --file", dashed(given), needs(given))
	case c.from.flags.Changed("to"):
		return misusef("--to has no effect on a bundle: destinations are not looked at")
	case c.from.format != nil && c.from.format.NeedsTo:
		c.from.options.To = "docker://bundle.invalid/{registry}/{repository}"
	}
	return c.from.check()
}

// imagesOfFile returns the images of the sync file, after listing tags if that is what it takes.
func (c *bundleCreateCommand) imagesOfFile(ctx context.Context, copier *copy.Copier, sys *types.SystemContext) ([]namedImage, error) {
	reader := &runner{env: c.env, copier: copier, sys: contexts{source: sys}}
	file, err := reader.env.readSyncFile(c.file, &c.from)
	if err != nil {
		return nil, err
	}
	c.access.registries.use(file)
	var images []namedImage
	for _, entry := range file.Images {
		found, err := reader.copies(ctx, entry)
		if err != nil {
			return nil, err
		}
		for _, w := range found.warnings {
			logrus.Warn(printable(w))
		}
		if over := found.passedOver(entry); over.DigestTags > 0 {
			logrus.Warnf("passed over: %s", over.text())
		}
		options := entry.Options
		options.MaxParallelDownloads = cmp.Or(options.MaxParallelDownloads, c.sel.options.MaxParallelDownloads)
		options.RemoveSignatures = options.RemoveSignatures || c.sel.options.RemoveSignatures
		for _, one := range found.copies {
			options.ReferrersFrom = one.ReferrersFrom
			images = append(images, namedImage{ref: one.Source, tag: one.Tag, options: options, entry: entry})
		}
	}
	return withNames(images)
}

// withNames fills in the names. All images are in registries: what their place is on the other side
// follows from their names.
func withNames(images []namedImage) ([]namedImage, error) {
	seen := map[string]bool{}
	for i := range images {
		ref := images[i].ref
		if ref.Transport().Name() != "docker" {
			return nil, misusef("IMAGE %q is in no registry: bundles are made of docker:// references", transports.ImageName(ref))
		}
		name := ref.DockerReference()
		if images[i].tag != "" { // under which it is loaded, then
			tagged, err := reference.WithTag(reference.TrimNamed(name), images[i].tag)
			if err != nil {
				return nil, err
			}
			name = tagged
		}
		if seen[name.String()] {
			return nil, misusef("IMAGE %q is given twice", transports.ImageName(ref))
		}
		seen[name.String()] = true
		images[i].name = name
	}
	return images, nil
}

// imagesAtOnce is how many images of a bundle are worked on at the same time.
const imagesAtOnce = 4

// A bundleMaker copies images into a bundle.
type bundleMaker struct {
	c        *bundleCreateCommand
	copier   *copy.Copier
	sys      contexts
	policy   *signature.PolicyContext
	bundle   *bundle.Writer
	progress *copy.Overview // may be nil
}

// copy copies images until one fails.
func (m *bundleMaker) copy(ctx context.Context, images []namedImage) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(imagesAtOnce)
	for _, image := range images {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return m.image(ctx, image)
		})
	}
	return group.Wait()
}

// image copies one image, with what belongs to it.
func (m *bundleMaker) image(ctx context.Context, image namedImage) error {
	defer m.progress.ImageDone()
	destination, err := m.bundle.Reference(image.name)
	if err != nil {
		return err
	}
	var report copy.Report
	options := image.options
	options.SourceCtx, options.Report, options.Overview = m.sys.source, &report, m.progress
	if image.entry != nil {
		options.SourceCtx = image.entry.SourceContext(m.sys.source)
	}
	options.ReferrersFrom = reachedBy(options.ReferrersFrom, m.sys.referrers)
	_, err = m.copier.Image(ctx, m.policy, destination, image.ref, &options)
	if image.entry != nil && isOther(image.entry, err) {
		return nil // the file says that it is left out
	}
	warnings := warningsOf(&report)
	if err == nil {
		warnings = append(warnings, sparseWarnings(report.Plan)...)
	}
	for _, w := range warnings {
		logrus.Warnf("%s: %s", image.name, printable(w))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", image.name, err)
	}
	return nil
}

// warningsOf says what a bundle would not have, or may lack, of an image.
func warningsOf(report *copy.Report) []string {
	if report.Plan == nil {
		return report.Warnings
	}
	var warnings []string
	for _, v := range report.Void {
		warnings = append(warnings, "void: "+v)
	}
	return slices.Concat(warnings, missingWarnings(report.Plan), report.Warnings)
}

// sparseWarnings says that not every registry will take the list of a plan, if it is sparse.
func sparseWarnings(plan *copy.Plan) []string {
	absent := map[digest.Digest]bool{}
	eachList(plan.List, func(l *copy.ListPlan) {
		for _, d := range l.Absent {
			absent[d] = true
		}
	})
	if len(absent) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the list names %s that the bundle does not have, and a registry that wants all of them will refuse it; --sparse strip makes one that every registry takes", counted(len(absent), "manifest"))}
}
