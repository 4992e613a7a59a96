package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// A bundleLoadCommand is mirror bundle load.
type bundleLoadCommand struct {
	env      *environment
	access   access
	out      output
	prefixes []rewrite
	dryRun   bool
	parallel uint
}

func (c *bundleLoadCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "load [flags] BUNDLE REGISTRY[/PREFIX]",
		Short: "Copy the images of a bundle into a registry",
		Long: "Load copies every image of a bundle to where its name leads: docker.io/library/alpine:3 goes to\n" +
			"REGISTRY/PREFIX/library/alpine:3. --prefix gives names another place. Digests stay what they are in the bundle; a tag\n" +
			"is made when everything else is there. What is there already is not sent again.",
		Example: "  mirror bundle load monday.tar registry.example/mirror\n" +
			"  mirror bundle load --prefix docker.io/library=base --prefix quay.io=quay monday.tar registry.example",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return misusef("mirror bundle load takes BUNDLE and REGISTRY, and %d arguments were given; see mirror bundle load --help", len(args))
			}
			return nil
		},
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	c.parallel = defaultParallel
	flags.Var(&listValue[rewrite]{to: &c.prefixes, parse: parseRewrite, typeName: "FROM=TO"}, "prefix",
		"images whose names begin with FROM, host included, go to TO and the rest of their names, below REGISTRY/PREFIX; the longest FROM wins; may be repeated")
	flags.BoolVar(&c.dryRun, "dry-run", false, "say where each image would go, and write nothing")
	flags.Var(count{&c.parallel}, "parallel", "how many blobs and manifests of an image may be in flight at once")
	c.out.define(flags, "what was done")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "print nothing but errors")
	c.access.defineEnds(flags, &c.access.dest)
	c.access.definePolicy(flags)
	return cmd
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
	for _, check := range []func() error{c.out.check, c.access.check} {
		if err := check(); err != nil {
			return err
		}
	}
	if strings.Contains(strings.TrimPrefix(args[1], "docker://"), "://") {
		return misusef("REGISTRY %q is no registry: write HOST[:PORT][/PREFIX]", args[1])
	}
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	record, err := readRecord(args[0])
	if err != nil {
		return asMisuse(err)
	}
	dir, cleanup, err := openBundle(ctx, args[0])
	if err != nil {
		return orStopped(ctx, err)
	}
	defer cleanup()
	l := &bundleLoader{c: c, dir: dir, record: record, shared: c.access.times.shared(), target: strings.TrimSuffix(strings.TrimPrefix(args[1], "docker://"), "/")}
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

// openBundle returns the directory of a bundle: its own, or a temporary one with what the archive holds.
func openBundle(ctx context.Context, path string) (bundleDir, func(), error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", nil, err
	case info.IsDir():
		return bundleDir(path), func() {}, nil
	case !isArchive(path):
		return "", nil, misusef("%s is no bundle: it is neither a directory nor an archive whose name ends in .tar", path)
	}
	temp, err := os.MkdirTemp("", "mirror-bundle-*")
	if err != nil {
		return "", nil, err
	}
	cleanup := func() { _ = os.RemoveAll(temp) }
	if err := bundleDir(temp).unpack(ctx, path); err != nil {
		cleanup()
		return "", nil, err
	}
	return bundleDir(temp), cleanup, nil
}

// A bundleLoader loads one bundle.
type bundleLoader struct {
	c       *bundleLoadCommand
	dir     bundleDir
	target  string // REGISTRY[/PREFIX]
	record  *bundleRecord
	entries map[string]imgspecv1.Descriptor // by name
	others  map[digest.Digest]string        // media types of entries, by digest
	blobs   map[digest.Digest]bundleBlob
	places  map[string]types.ImageReference // by name of an image

	sys    *types.SystemContext
	judges sync.Mutex // held while policy is asked
	policy *signature.PolicyContext
	sigs   types.ImageSource // nil if there are no signatures
	shared *registry.Shared

	progress *copy.Overview // may be nil
}

// open reads what says what the bundle is, and works out where everything goes.
func (l *bundleLoader) open() error {
	content, entries, err := l.dir.index()
	if err == nil && digest.FromBytes(content) != l.record.ID {
		err = damaged("%s does not belong to %s", imgspecv1.ImageIndexFile, recordFile)
	}
	if err != nil {
		return asMisuse(err)
	}
	l.entries, l.others, l.blobs = map[string]imgspecv1.Descriptor{}, map[digest.Digest]string{}, map[digest.Digest]bundleBlob{}
	for _, e := range entries {
		l.others[e.Digest] = e.MediaType
		if name := e.Annotations[imgspecv1.AnnotationRefName]; name != "" {
			l.entries[name] = e
		}
	}
	for _, b := range l.record.Blobs {
		l.blobs[b.Digest] = b
	}
	if err := l.place(); err != nil {
		return err
	}
	if _, l.sys, err = l.c.access.systemContexts(l.c.env); err != nil {
		return err
	}
	if l.policy, err = l.c.access.policyContext(l.sys); err != nil {
		return err
	}
	return l.openSignatures()
}

func (l *bundleLoader) openSignatures() error {
	path := l.dir.path(signatureDir)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	ref, err := directory.NewReference(path)
	if err != nil {
		return err
	}
	l.sigs, err = ref.NewImageSource(context.Background(), nil)
	return err
}

func (l *bundleLoader) close() {
	if l.sigs != nil {
		_ = l.sigs.Close() // it was only read
	}
	_ = l.policy.Destroy()
	_ = l.shared.Close()
}

// place works out where the images go, and refuses places that two of them would share.
func (l *bundleLoader) place() error {
	l.places = map[string]types.ImageReference{}
	taken := map[string]string{}
	for _, i := range l.record.Images {
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
		return nil, asMisuse(damaged("it names %q: %w", name, err))
	}
	where := l.where(named.Name())
	place, err := reference.ParseNormalizedNamed(where)
	if err != nil {
		return nil, misusef("%s would go to %q: %w", name, where, err)
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
		return nil, asMisuse(damaged("it names %q: %w", name, err))
	}
	return docker.NewReference(place)
}

// where is the repository on the other side of one with a full name.
func (l *bundleLoader) where(name string) string {
	return l.target + "/" + rewritten(name, l.c.prefixes)
}

// rewritten is the path of a repository on the other side: its name without the host, unless a rewrite applies.
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
	result := &loading{Schema: loadingSchema, Bundle: l.record.ID, Images: make([]loadedImage, len(l.record.Images))}
	errs := make([]error, len(l.record.Images))
	positions := make([]int, len(l.record.Images))
	for n, image := range l.record.Images {
		positions[n] = n
		result.Images[n] = loadedImage{Name: image.Name, Destination: l.places[image.Name].DockerReference().String(), Digest: image.Digest}
	}
	if l.c.dryRun {
		return result, nil
	}
	l.progress = l.c.env.startProgress(&l.c.out, len(positions))
	defer l.progress.Close()
	err := inParallel(ctx, imagesAtOnce, positions, func(ctx context.Context, n int) error {
		defer l.progress.ImageDone()
		errs[n] = l.image(ctx, l.record.Images[n], &result.Images[n])
		return context.Cause(ctx)
	})
	if err != nil {
		return result, err
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

// image loads one image, with what is attached to it. The order is that of a copy: blobs, manifests, signatures, lists, and the tag.
func (l *bundleLoader) image(ctx context.Context, image bundleImage, done *loadedImage) error {
	tree, err := l.tree(image)
	if err != nil {
		return err
	}
	if err := l.judge(ctx, image, tree); err != nil {
		return err
	}
	ref := l.places[image.Name]
	dst, err := registry.OpenDestination(ctx, ref, l.sys, l.shared)
	if err != nil {
		return atEnd("dest", "opening", err)
	}
	defer func() { _ = dst.Close() }()
	t := &loadTask{l: l, dst: dst, ref: ref, tree: tree, repository: repositoryOf(image.Name), done: done}
	if err := t.run(ctx); err != nil {
		return atEnd("dest", ref.DockerReference().String(), err)
	}
	return nil
}

// A bundleTree is what one image of a bundle consists of, children before what names them.
type bundleTree struct {
	documents []endpoint.Document
	images    []digest.Digest // of documents, those that are no lists
}

// tree reads an image from the bundle and makes sure that the bundle is as it was made: only what the record calls absent is.
func (l *bundleLoader) tree(image bundleImage) (*bundleTree, error) {
	entry, ok := l.entries[image.Name]
	if !ok || entry.Digest != image.Digest {
		return nil, damaged("its index does not name the image")
	}
	c, err := readContent(context.Background(), &bundleSource{dir: l.dir, top: entry}, defaultParallel)
	if err != nil {
		return nil, damaged("%w", err)
	}
	for d := range c.missing {
		if !slices.Contains(image.Absent, d) {
			return nil, damaged("it lacks the manifest %s", d)
		}
	}
	return c.inOrder(), nil
}

// judge asks the signature policy about each image, under the name that it had, and with the signatures of the bundle.
func (l *bundleLoader) judge(ctx context.Context, image bundleImage, tree *bundleTree) error {
	named, err := reference.ParseNamed(image.Name)
	if err != nil {
		return err
	}
	ref, err := docker.NewReference(named)
	if err != nil {
		return err
	}
	l.judges.Lock()
	defer l.judges.Unlock()
	for _, doc := range tree.documents {
		if !slices.Contains(tree.images, doc.Digest) {
			continue
		}
		unparsed := endpoint.Unparsed(ref, doc, func(ctx context.Context) (endpoint.Signatures, error) { return l.signatures(ctx, doc.Digest) })
		allowed, err := l.policy.IsRunningImageAllowed(ctx, unparsed)
		if err == nil && !allowed {
			err = errors.New("it does not allow it")
		}
		if err != nil {
			return fmt.Errorf("the signature policy rejects %s: %w", doc.Digest, err)
		}
	}
	return nil
}

// signatures are those that the bundle has for a manifest or list.
func (l *bundleLoader) signatures(ctx context.Context, d digest.Digest) (endpoint.Signatures, error) {
	if l.sigs == nil {
		return endpoint.NoSignatures(), nil
	}
	return endpoint.ReadSignatures(ctx, l.sigs, &d)
}
