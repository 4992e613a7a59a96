package mirrorcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A bundleCreateCommand is mirror bundle create.
type bundleCreateCommand struct {
	env    *environment
	sel    selection
	access access
	out    output
	file   string
	since  string
}

func (c *bundleCreateCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create [flags] BUNDLE {IMAGE... | -f FILE}",
		Short: "Make a bundle of images in registries",
		Long: "Create copies images, the same platforms of each, into a new bundle: a directory, or one archive if BUNDLE ends in\n" +
			".tar. BUNDLE appears when it is complete; until then the work is in BUNDLE.partial, where the next run goes on after a\n" +
			"failure. With --since, configs and layers that an earlier bundle brought are left out.",
		Example: "  mirror bundle create --platform linux/amd64,linux/arm64 monday.tar docker://docker.io/library/alpine:3\n" +
			"  mirror bundle create --all --since monday.tar tuesday.tar docker://docker.io/library/alpine:3\n" +
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
	flags := cmd.Flags()
	flags.SortFlags = false
	c.sel.defineChoice(flags)
	c.sel.defineParallel(flags)
	flags.StringVarP(&c.file, "file", "f", "", "the images of a sync `FILE`, each with its own selection, instead of IMAGEs; the destinations in it are not looked at")
	flags.StringVar(&c.since, "since", "", "leave out the configs and layers that `BUNDLE` brought, or the bundles before it; a copy of its bundle.json will do")
	flags.BoolVar(&c.sel.options.DigestTags, "digest-tags", false, "carry what cosign's tags sha256-<hex>.sig, .att and .sbom name, for everything in the bundle")
	flags.Var(&referrerTypes{&c.sel.options}, "referrers",
		"carry what refers to anything in the bundle, such as SBOMs and signatures, and what refers to that; of artifact `TYPES` only, if some are named, separated by commas")
	flags.Lookup("referrers").NoOptDefVal = allReferrers
	c.out.define(flags, "what was done")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "print nothing but errors")
	c.access.defineEnds(flags, &c.access.source)
	c.access.defineSystem(flags)
	c.access.definePolicy(flags)
	return cmd
}

func (c *bundleCreateCommand) run(cmd *cobra.Command, args []string) error {
	c.env.sel = &c.sel
	for _, check := range []func() error{c.out.check, c.sel.check, c.access.check} {
		if err := check(); err != nil {
			return err
		}
	}
	images, err := c.parseImages(args[1:])
	if err != nil {
		return err
	}
	sys, _, err := c.access.systemContexts(c.env)
	if err != nil {
		return err
	}
	m, err := c.maker(args[0], sys)
	if err != nil {
		return err
	}
	defer m.close()
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	if c.file != "" {
		if images, err = c.imagesOfFile(ctx, m.copier, sys); err != nil {
			return orStopped(ctx, err)
		}
	}
	m.progress = c.env.startProgress(&c.out, len(images))
	defer m.progress.Close()
	if err := m.make(ctx, images); err != nil {
		return orStopped(ctx, err)
	}
	if err := m.publish(ctx, args[0]); err != nil {
		return orStopped(ctx, err)
	}
	m.progress.Close()
	return c.print(args[0], m)
}

func (c *bundleCreateCommand) print(path string, m *bundleMaker) error {
	switch {
	case c.out.json:
		return printJSON(c.env.stdout, m.record)
	case c.out.quiet:
		return nil
	}
	for _, i := range m.record.Images {
		note := ""
		if i.Digest != i.SourceDigest {
			note = " (stripped; " + shortDigest(i.SourceDigest) + " at the source)"
		}
		fmt.Fprintf(c.env.stdout, "%s  %s%s\n", i.Digest, i.Name, note)
	}
	_, err := fmt.Fprintf(c.env.stdout, "%s: %s, %s (%s), left out: %s (%s)\n", path, counted(len(m.record.Images), "image"),
		counted(m.carried, "blob"), copy.FormatBytes(m.carriedBytes), counted(m.left, "blob"), copy.FormatBytes(m.leftBytes))
	return err
}

// A namedImage is an image of a registry, and how it is copied.
type namedImage struct {
	ref     types.ImageReference
	name    reference.Named
	options copy.Options
	entry   *syncfile.Image // nil if it comes from the command line
}

// parseImages parses the images of the command line. They share a selection.
func (c *bundleCreateCommand) parseImages(args []string) ([]namedImage, error) {
	if stray := changed(c.sel.flags, append([]string{"all", "digest-tags", "referrers"}, append(selectors, listFlags...)...)); c.file != "" && len(stray) > 0 {
		return nil, misusef("%s has no effect together with --file, which says it for each image", dashed(stray))
	}
	var images []namedImage
	for _, arg := range args {
		ref, err := parseReference("IMAGE", arg)
		if err != nil {
			return nil, err
		}
		images = append(images, namedImage{ref: ref, options: c.sel.options})
	}
	return withNames(images)
}

// imagesOfFile returns the images of the sync file, after listing tags if that is what it takes.
func (c *bundleCreateCommand) imagesOfFile(ctx context.Context, copier *copy.Copier, sys *types.SystemContext) ([]namedImage, error) {
	reader := &syncRun{syncCommand: &syncCommand{env: c.env}, copier: copier, sys: [2]*types.SystemContext{sys, nil}}
	file, err := reader.read(c.file)
	if err != nil {
		return nil, err
	}
	var images []namedImage
	for _, entry := range file.Images {
		found, err := reader.copies(ctx, entry)
		if err != nil {
			return nil, err
		}
		for _, w := range found.warnings {
			logrus.Warn(printable(w))
		}
		if found.passedOver > 0 {
			logrus.Warnf("%s (line %d): %s named after digests passed over", entry.Source, entry.Line, counted(found.passedOver, "tag"))
		}
		options := entry.Options
		options.MaxParallelDownloads = cmp.Or(options.MaxParallelDownloads, c.sel.options.MaxParallelDownloads)
		options.RemoveSignatures = options.RemoveSignatures || c.sel.options.RemoveSignatures
		for _, one := range found.copies {
			images = append(images, namedImage{ref: one.Source, options: options, entry: entry})
		}
	}
	return withNames(images)
}

// withNames fills in the names. All images are in registries: what their place is on the other side follows from their names.
func withNames(images []namedImage) ([]namedImage, error) {
	seen := map[string]bool{}
	for i := range images {
		ref := images[i].ref
		if ref.Transport().Name() != "docker" {
			return nil, misusef("IMAGE %q is in no registry: bundles are made of docker:// references", transports.ImageName(ref))
		}
		name := ref.DockerReference()
		if seen[name.String()] {
			return nil, misusef("IMAGE %q is given twice", transports.ImageName(ref))
		}
		seen[name.String()] = true
		images[i].name = name
	}
	return images, nil
}

// A bundleMaker makes one bundle. See bundle_fill.go for what it does with an image.
type bundleMaker struct {
	c        *bundleCreateCommand
	copier   *copy.Copier // lists tags, and plans
	sys      *types.SystemContext
	policy   *signature.Policy
	dir      bundleDir // BUNDLE.partial
	shared   *registry.Shared
	earlier  map[digest.Digest]bundleBlob // what earlier bundles brought
	reading  *semaphore.Weighted          // counts blobs that are read
	progress *copy.Overview               // may be nil
	sigs     types.ImageDestination       // nil until there is a signature to store

	bundleState
}

func (c *bundleCreateCommand) maker(path string, sys *types.SystemContext) (*bundleMaker, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, misusef("%s exists already: a bundle is made once; take another name", path)
	}
	policy, err := c.access.signaturePolicy(sys)
	if err != nil {
		return nil, err
	}
	limits := c.access.times.options()
	limits.MaxParallelDownloads = c.sel.options.MaxParallelDownloads
	m := &bundleMaker{
		c: c, copier: copy.NewCopier(limits), shared: c.access.times.shared(), sys: sys, policy: policy,
		dir: bundleDir(filepath.Clean(path) + ".partial"), earlier: map[digest.Digest]bundleBlob{},
	}
	m.reading = semaphore.NewWeighted(int64(c.sel.options.MaxParallelDownloads))
	m.record.Schema = bundleSchema
	m.record.Images = []bundleImage{}
	m.blobs = map[digest.Digest]bundleBlob{}
	m.documents = map[digest.Digest]bool{}
	m.busy = map[digest.Digest]chan struct{}{}
	if c.since != "" {
		before, err := readRecord(c.since)
		if err != nil {
			return nil, misusef("--since: %w", err)
		}
		m.record.Since, m.record.SinceName = before.ID, nameOfBundle(c.since)
		for _, b := range before.Blobs {
			m.earlier[b.Digest] = b
		}
	}
	return m, nil
}

func (m *bundleMaker) close() {
	if m.sigs != nil {
		_ = m.sigs.Close() // it only had files
	}
	_ = m.shared.Close() // as the Copier, closes connections that nobody uses any more
	_ = m.copier.Close()
}

// imagesAtOnce is how many images of a bundle are worked on at the same time.
const imagesAtOnce = 4

// manifestsAtOnce is how many manifests of one image are. Blobs have a limit of their own.
const manifestsAtOnce = 8

// make fills the bundle's directory.
func (m *bundleMaker) make(ctx context.Context, images []namedImage) error {
	if err := os.MkdirAll(string(m.dir), 0o755); err != nil {
		return err
	}
	if err := m.clearSignatures(); err != nil {
		return err
	}
	return inParallel(ctx, imagesAtOnce, images, func(ctx context.Context, image namedImage) error {
		defer m.progress.ImageDone()
		err := m.image(ctx, image)
		if image.entry != nil && isOther(image.entry, err) {
			return nil // the file says that it is left out
		}
		if err != nil {
			return fmt.Errorf("%s: %w", image.name, err)
		}
		return nil
	})
}

// clearSignatures removes what a run that failed has left: each run reads all signatures again.
func (m *bundleMaker) clearSignatures() error { return os.RemoveAll(m.dir.path(signatureDir)) }

// image copies one image, with what belongs to it.
func (m *bundleMaker) image(ctx context.Context, image namedImage) error {
	plan, err := m.plan(ctx, image)
	if err != nil {
		return err
	}
	for _, v := range plan.Void {
		logrus.Warnf("%s: void: %s", image.name, printable(v))
	}
	for _, w := range append(missingWarnings(plan), plan.Warnings...) {
		logrus.Warnf("%s: %s", image.name, printable(w))
	}
	src, err := openSource(ctx, image.ref, m.sys, m.shared)
	if err != nil {
		return atEnd("src", "opening", err)
	}
	defer src.Close() // nothing was written
	t := &bundleTask{m: m, src: src, plan: plan, options: &image.options, depth: map[digest.Digest]int{}, name: image.name.String(), repository: image.name.Name()}
	return t.run(ctx)
}

// plan asks the policy about an image, and plans the copy as to a place that takes everything as it is.
func (m *bundleMaker) plan(ctx context.Context, image namedImage) (*copy.Plan, error) {
	elsewhere, err := docker.ParseReference("//registry.invalid/image") // leaves layers with URLs where they are, and wants the others compressed
	if err != nil {
		return nil, err
	}
	plan, err := m.planTo(ctx, image, elsewhere)
	if _, unfit := errors.AsType[*copy.OptionsError](err); err == nil && plan.Way == copy.Native || err != nil && !unfit {
		return plan, err
	}
	here, err := directory.NewReference(m.dir.path("image")) // takes all layers as they are, and wants them there
	if err != nil {
		return nil, err
	}
	plan, err = m.planTo(ctx, image, here)
	if err == nil && plan.Way != copy.Native {
		err = fmt.Errorf("it cannot be carried as it is: %s", plan.WayReason)
	}
	return plan, err
}

// planTo plans the copy to a place, which is not opened.
func (m *bundleMaker) planTo(ctx context.Context, image namedImage, place types.ImageReference) (*copy.Plan, error) {
	policy, err := signature.NewPolicyContext(m.policy)
	if err != nil {
		return nil, err
	}
	defer func() { _ = policy.Destroy() }()
	options := image.options
	options.SourceCtx = m.sys
	options.Referrers, options.ReferrerTypes, options.DigestTags, options.KeepVoid = copy.NoReferrers, nil, false, false // see bundleTask.attached
	prepared, err := m.copier.Prepare(ctx, policy, place, image.ref, &options)
	if err != nil {
		return nil, err
	}
	plan := prepared.Plan()
	return plan, prepared.Close()
}

// publish writes the record and makes the bundle appear.
func (m *bundleMaker) publish(ctx context.Context, path string) error {
	if err := m.finish(); err != nil {
		return err
	}
	if !isArchive(path) {
		return os.Rename(string(m.dir), path)
	}
	if err := m.dir.pack(ctx, path); err != nil {
		return err
	}
	return os.RemoveAll(string(m.dir))
}

// A bundleTask is the work for one image.
type bundleTask struct {
	m                *bundleMaker
	src              endpoint.Source
	plan             *copy.Plan
	options          *copy.Options
	name, repository string

	manifests []digest.Digest       // of everything that was put into the bundle for it
	changed   []digest.Digest       // lists at the source that the bundle has with other digests
	depth     map[digest.Digest]int // of what is attached: 1 if it is to something of the image itself
}

func (t *bundleTask) run(ctx context.Context) error {
	entry := bundleImage{Name: t.name, SourceDigest: t.src.Top().Digest, Digest: t.plan.Digest}
	wanted := t.plan.Copies
	if t.plan.Image != nil {
		wanted = []digest.Digest{t.plan.Digest}
	}
	if err := inParallel(ctx, manifestsAtOnce, wanted, func(ctx context.Context, d digest.Digest) error {
		doc, err := t.src.Manifest(ctx, d)
		if err != nil {
			return atEnd("src", "manifest "+d.String(), err)
		}
		return t.manifest(ctx, doc)
	}); err != nil {
		return err
	}
	t.manifests = append(t.manifests, wanted...)
	var mediaType string
	var size int64
	if t.plan.Image != nil {
		mediaType, size = t.plan.Image.MediaType, t.plan.Image.Size
	} else {
		entry.SourceDigest, mediaType, size = t.plan.List.Digest, t.plan.List.MediaType, t.plan.List.ResultSize
		if err := t.lists(ctx, &entry); err != nil {
			return err
		}
	}
	if err := t.signatures(ctx); err != nil {
		return err
	}
	if err := t.attached(ctx, &entry); err != nil {
		return err
	}
	if n := len(entry.Absent); n > 0 {
		logrus.Warnf("%s: the list names %s that the bundle does not have, and a registry that wants all of them will refuse it; --sparse strip makes one that every registry takes", t.name, counted(n, "manifest"))
	}
	t.m.add(entry, mediaType, size)
	return nil
}

// lists writes the lists as they are to be, nested ones first.
func (t *bundleTask) lists(ctx context.Context, entry *bundleImage) error {
	var all []*copy.ListPlan
	eachList(t.plan.List, func(l *copy.ListPlan) { all = append(all, l) })
	for _, l := range slices.Backward(all) {
		doc, err := t.src.Manifest(ctx, l.Digest)
		if err != nil {
			return atEnd("src", "list "+l.Digest.String(), err)
		}
		if len(l.Edits) > 0 {
			t.changed = append(t.changed, l.Digest)
			if doc, err = edited(doc, l); err != nil {
				return err
			}
		}
		if err := t.m.document(doc); err != nil {
			return err
		}
		t.manifests = append(t.manifests, doc.Digest)
		for _, d := range l.Absent {
			if !slices.Contains(entry.Absent, d) {
				entry.Absent = append(entry.Absent, d)
			}
		}
	}
	return nil
}

// edited makes the list that the plan wants of the one at the source.
func edited(doc endpoint.Document, l *copy.ListPlan) (endpoint.Document, error) {
	list, err := manifest.Parse(doc.Bytes, l.MediaType)
	if err != nil {
		return doc, err
	}
	if err := list.EditInstances(l.Edits); err != nil {
		return doc, err
	}
	content, err := list.Serialize()
	if err != nil {
		return doc, err
	}
	if l.Result.Algorithm().FromBytes(content) != l.Result {
		return doc, errors.New("list " + l.Digest.String() + " is not what the plan said")
	}
	return endpoint.Document{Digest: l.Result, MediaType: l.MediaType, Bytes: content}, nil
}
