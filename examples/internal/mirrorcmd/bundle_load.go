package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/bundle"
)

// A bundleLoadCommand is mirror bundle load.
type bundleLoadCommand struct {
	env      *environment
	access   access
	out      output
	prefixes []rewrite
	dryRun   bool
	parallel uint
	// childTags lets children that are added to a list which is there be kept by tags.
	childTags bool
}

func (c *bundleLoadCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "load [flags] BUNDLE REGISTRY[/PREFIX]",
		Short: "Copy the images of a bundle into a registry",
		Long: "Load copies every image of a bundle to where its name leads: docker.io/library/alpine:3 goes to\n" +
			"REGISTRY/PREFIX/library/alpine:3. --prefix gives names another place. Digests stay what they are in the bundle; a tag\n" +
			"is made when everything else is there. What is there already is not sent again.",
		Example: "  mirror bundle load monday.tar registry.example/mirror\n" +
			"  mirror bundle load --prefix docker.io/library=base --prefix quay.io=quay monday.tar registry.example",
		Args: takes(2, "BUNDLE and REGISTRY"),
		RunE: c.run,
	}
}

func (c *bundleLoadCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&listValue[rewrite]{to: &c.prefixes, parse: parseRewrite, typeName: "FROM=TO"}, "prefix",
		"images whose names begin with FROM, host included, go to TO and the rest of their names, below REGISTRY/PREFIX; the longest FROM wins; may be repeated")
	flags.BoolVar(&c.dryRun, "dry-run", false, "say where each image would go, and write nothing")
	flags.Var(count{&c.parallel}, "parallel", parallelHelp+libraryParallel)
	flags.BoolVar(&c.childTags, "widened-child-tags", false,
		"give each image that is added to a list which the registry has already a tag, sha256-<hex>.child, if the registry would collect it otherwise (Quay), instead of failing")
	c.out.define(flags, "what was done")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "print nothing but errors")
	c.access.defineEnds(flags, &c.access.dest)
	c.access.definePolicy(flags)
	c.access.uploads.define(flags)
}

// A rewrite gives names that begin with from another beginning.
type rewrite struct{ from, to string }

func parseRewrite(s string) (rewrite, error) {
	from, to, found := strings.Cut(s, "=")
	if !found || from == "" {
		return rewrite{}, fmt.Errorf("%q is not FROM=TO", s)
	}
	return rewrite{strings.TrimSuffix(from, "/"), strings.Trim(to, "/")}, nil
}

// loadingSchema names the JSON form of what load did.
const loadingSchema = "sparsecopy.bundle-load/v1"

// A loading says what load did.
type loading struct {
	Schema string        `json:"schema"` // loadingSchema
	Bundle digest.Digest `json:"bundle"` // its ID
	Images []loadedImage `json:"images"`
}

type loadedImage struct {
	Name        string        `json:"name"`
	Destination string        `json:"destination"`
	Digest      digest.Digest `json:"digest"`
	Written     bool          `json:"written"` // false if it was there already, or failed, or in a dry run
	Signatures  int           `json:"signatures,omitempty"`
	Attached    int           `json:"attached,omitempty"`
	Warnings    []string      `json:"warnings,omitempty"`
	Error       string        `json:"error,omitempty"`
}

func (c *bundleLoadCommand) run(cmd *cobra.Command, args []string) error {
	c.env.loads = true
	if err := checkAll(c.out.check, c.access.check); err != nil {
		return err
	}
	if strings.Contains(strings.TrimPrefix(args[1], "docker://"), "://") {
		return misusef("REGISTRY %q is no registry: write HOST[:PORT][/PREFIX]", args[1])
	}
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	l := &bundleLoader{c: c, target: strings.TrimSuffix(strings.TrimPrefix(args[1], "docker://"), "/")}
	var err error
	if l.bundle, err = bundle.Open(ctx, args[0], &bundle.OpenOptions{Loaded: l.loaded}); err != nil {
		return orStopped(ctx, notABundle(args[0], err))
	}
	defer func() { _ = l.bundle.Close() }()
	if err := l.open(); err != nil {
		return err
	}
	defer l.close()
	result, err := l.load(ctx)
	if printErr := c.print(result); err == nil {
		err = printErr
	}
	return orStopped(ctx, err)
}

// notABundle makes an error of bundle.Open a misuse if what the command line names is to blame, and
// not the place where archives are unpacked.
func notABundle(path string, err error) error {
	_, foreign := errors.AsType[*bundle.ForeignError](err)
	_, damaged := errors.AsType[*bundle.DamagedError](err)
	file, ok := errors.AsType[*fs.PathError](err)
	if foreign || damaged || ok && (file.Path == path || filepath.Dir(file.Path) == filepath.Clean(path)) {
		return asMisuse(err)
	}
	return err
}

func (c *bundleLoadCommand) print(result *loading) error {
	switch {
	case c.out.json:
		return printJSON(c.env.stdout, result)
	case c.out.quiet:
		return nil
	}
	for _, i := range result.Images {
		note := "present"
		switch {
		case i.Error != "":
			note = "failed"
		case c.dryRun:
			note = "not written"
		case i.Written:
			note = "written"
		}
		if _, err := fmt.Fprintf(c.env.stdout, "%s  %s  %s\n", i.Digest, i.Destination, note); err != nil {
			return err
		}
	}
	return nil
}

// A bundleLoader loads one bundle.
type bundleLoader struct {
	c      *bundleLoadCommand
	bundle *bundle.Bundle
	target string                          // REGISTRY[/PREFIX]
	places map[string]types.ImageReference // by name of an image

	sys      *types.SystemContext
	policy   *signature.PolicyContext
	copier   *copy.Copier
	progress *copy.Overview // may be nil
}

// open works out where everything goes, and makes what it takes to bring it there.
func (l *bundleLoader) open() error {
	if err := l.place(); err != nil {
		return err
	}
	sys, err := l.c.access.systemContexts(l.c.env)
	if err != nil {
		return err
	}
	l.sys = sys.destination
	if l.policy, err = l.c.access.policyContext(l.sys); err != nil {
		return err
	}
	limits := l.c.env.limits(&l.c.access)
	limits.MaxParallelDownloads = l.c.parallel
	l.copier = copy.NewCopier(limits)
	return nil
}

func (l *bundleLoader) close() {
	_ = l.copier.Close() // closes connections that nobody uses any more
	_ = l.policy.Destroy()
}

// place works out where the images go, and refuses places that two of them would share.
func (l *bundleLoader) place() error {
	l.places = map[string]types.ImageReference{}
	taken := map[string]string{}
	for _, i := range l.bundle.Record().Images {
		ref, err := l.destination(i.Name, i.Digest)
		if err != nil {
			return err
		}
		where := ref.DockerReference().String()
		if other, ok := taken[where]; ok {
			return misusef("%s and %s would both go to %s: keep them apart with --prefix", other, i.Name, where)
		}
		taken[where] = i.Name
		l.places[i.Name] = ref
	}
	return nil
}

// destination is the place of an image with a name, such as docker.io/library/alpine:3.
func (l *bundleLoader) destination(name string, d digest.Digest) (types.ImageReference, error) {
	named, err := reference.ParseNamed(name)
	if err != nil {
		return nil, asMisuse(&bundle.DamagedError{Err: fmt.Errorf("it names %q: %w", name, err)})
	}
	place, err := l.loaded(named.Name())
	if err != nil {
		return nil, misusef("%s would go to %q: %w", name, l.where(named.Name()), err)
	}
	switch n := named.(type) {
	case reference.Digested:
		place, err = reference.WithDigest(place, d)
	case reference.Tagged:
		place, err = reference.WithTag(place, n.Tag())
	default:
		err = errors.New("it has neither tag nor digest")
	}
	if err != nil {
		return nil, asMisuse(&bundle.DamagedError{Err: fmt.Errorf("it names %q: %w", name, err)})
	}
	return docker.NewReference(place)
}

// where is the repository on the other side of one with a full name.
func (l *bundleLoader) where(name string) string {
	return l.target + "/" + rewritten(name, l.c.prefixes)
}

// loaded is where as a reference.
func (l *bundleLoader) loaded(name string) (reference.Named, error) {
	return reference.ParseNormalizedNamed(l.where(name))
}

// rewritten is the path of a repository on the other side: its name without the host, unless a
// rewrite applies.
func rewritten(name string, rewrites []rewrite) string {
	best := rewrite{}
	for _, r := range rewrites {
		if (name == r.from || strings.HasPrefix(name, r.from+"/")) && len(r.from) > len(best.from) {
			best = r
		}
	}
	if best.from != "" {
		return strings.TrimPrefix(best.to+strings.TrimPrefix(name, best.from), "/")
	}
	_, path, _ := strings.Cut(name, "/")
	return path
}

// load loads all images; one that fails does not stop the others.
func (l *bundleLoader) load(ctx context.Context) (*loading, error) {
	record := l.bundle.Record()
	result := &loading{Schema: loadingSchema, Bundle: record.ID, Images: make([]loadedImage, len(record.Images))}
	errs := make([]error, len(record.Images))
	for n, image := range record.Images {
		result.Images[n] = loadedImage{Name: image.Name, Destination: l.places[image.Name].DockerReference().String(), Digest: image.Digest}
	}
	if l.c.dryRun {
		return result, nil
	}
	l.progress = l.c.env.startProgress(&l.c.out, len(record.Images))
	defer l.progress.Close()
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	for n := range record.Images {
		group.Go(func() error {
			defer l.progress.ImageDone()
			if ctx.Err() == nil {
				errs[n] = l.image(ctx, &result.Images[n])
			}
			return nil
		})
	}
	_ = group.Wait() // which has no error
	if ctx.Err() != nil {
		return result, context.Cause(ctx)
	}
	return result, failedImages(result, errs)
}

// failedImages notes what failed, and returns one error about it.
func failedImages(result *loading, errs []error) error {
	var first error
	failures := 0
	for n, err := range errs {
		if err == nil {
			continue
		}
		result.Images[n].Error = err.Error()
		failures++
		if first == nil {
			first = fmt.Errorf("%s: %w", result.Images[n].Name, err)
		}
	}
	if failures > 1 {
		return fmt.Errorf("%d of %d images failed; the first: %w", failures, len(errs), first)
	}
	return first
}

// image loads one image, as it is in the bundle, with all that is attached to it.
func (l *bundleLoader) image(ctx context.Context, image *loadedImage) error {
	source, err := l.bundle.Reference(image.Name)
	if err != nil {
		return err
	}
	var report copy.Report
	options := copy.Options{
		ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing, PreserveDigests: true, WidenedChildTags: l.c.childTags,
		SourceCtx: l.sys, DestinationCtx: l.sys, Report: &report, Overview: l.progress,
	}
	if len(l.bundle.Record().Attached) > 0 { // not every registry needs to know of such things
		options.Referrers, options.DigestTags, options.KeepVoid = copy.AllReferrers, true, true
		options.DigestTagSuffixes = copy.AllDigestTags // that the bundle has
	}
	destination := l.places[image.Name]
	_, err = l.copier.Image(ctx, l.policy, destination, source, &options)
	for _, w := range report.Warnings {
		logrus.Warnf("%s: %s", destination.DockerReference(), printable(w))
	}
	image.Warnings = report.Warnings
	if err != nil {
		return explainLoading(err)
	}
	for _, a := range report.Plan.Attached {
		if a.Decision == copy.Copy && !a.Child {
			image.Attached++
		}
	}
	image.Written = report.Written || report.ManifestsCopied > 0 || signatures(&report) > 0
	image.Signatures, err = l.bundle.Signatures(ctx, image.Name)
	return err
}

// explainLoading says what a failure of a copy out of a bundle means.
func explainLoading(err error) error {
	if refused, ok := errors.AsType[*copy.SparseRefusedError](err); ok {
		refused.NotStripped = "a bundle is loaded as it was made; one made with --sparse strip, or with --all, has no sparse list"
		return err
	}
	failed, ok := errors.AsType[*copy.Error](err)
	if _, file := errors.AsType[*fs.PathError](err); !ok || file || failed.Side != copy.SourceSide {
		return err
	}
	_, damaged := errors.AsType[*bundle.DamagedError](err)
	_, earlier := errors.AsType[*bundle.EarlierError](err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case damaged || earlier:
		return failed.Err
	case failed.Op == "reading blob":
		return &bundle.DamagedError{Err: fmt.Errorf("blob %s: %w", failed.Object, failed.Err)}
	}
	return &bundle.DamagedError{Err: failed}
}
