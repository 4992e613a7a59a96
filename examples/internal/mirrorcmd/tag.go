package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
)

// taggingSchema names the JSON form of what mirror tag prints.
const taggingSchema = "mirror.tag/v1"

// A tagging is what mirror tag prints.
type tagging struct {
	Schema    string     `json:"schema"`
	Reference string     `json:"reference"`
	Tags      []taggedAs `json:"tags"` // in the order of the command line, up to one that could not be made
}

// A taggedAs says what became of one tag.
type taggedAs struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
	Replaced  digest.Digest `json:"replaced,omitempty"`
	Written   bool          `json:"written"`
}

func (t taggedAs) String() string {
	became := "there already"
	switch {
	case t.Replaced != "":
		became = "replaced " + t.Replaced.String()
	case t.Written:
		became = "new"
	}
	return fmt.Sprintf("%s → %s (%s)", t.Reference, t.Digest, became)
}

// A tagCommand is mirror tag.
type tagCommand struct {
	env      *environment
	access   access
	out      output
	ifAbsent bool
}

func (c *tagCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:     "tag [flags] REFERENCE TAG...",
		Aliases: []string{"retag"},
		Short:   "Give an image or list at a registry other tags",
		Long: "Tag makes each TAG name what REFERENCE names at a registry: the same bytes, with the same digest, sparse lists too.\n" +
			"In the repository of REFERENCE nothing but the manifest is written, and no signature policy is asked. A TAG may also be\n" +
			"docker://HOST/OTHER/NAME:TAG, in another repository of the same registry: everything goes there, by mounts where the\n" +
			"registry does that, and what is attached goes along. What a tag named before is printed.",
		Example: "  mirror tag docker://registry.example/app:1.2.3 1.2 1 latest\n" +
			"  mirror tag --if-absent docker://registry.example/app@sha256:… 1.2.3\n" +
			"  mirror tag docker://registry.example/staging/app:1.2.3 docker://registry.example/production/app:1.2.3",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return misusef("mirror %s takes REFERENCE and at least one TAG, and %d arguments were given; see mirror %s --help", cmd.Name(), len(args), cmd.Name())
			}
			return nil
		},
		RunE: c.run,
	}
}

func (c *tagCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&c.ifAbsent, "if-absent", false, "fail where a tag names something else already (nobody else must write it at the same time: registries have no such condition)")
	c.out.define(flags, "what became of the tags")
	c.access.defineWritten(flags)
	c.access.definePolicy(flags)
}

func (c *tagCommand) run(cmd *cobra.Command, args []string) error {
	if err := checkAll(c.out.check, c.access.check); err != nil {
		return err
	}
	ref, err := parseRegistryImage(args[0])
	if err != nil {
		return err
	}
	tags := make([]reference.NamedTagged, len(args)-1)
	for i, text := range args[1:] {
		if tags[i], err = parseTag(ref, text); err != nil {
			return err
		}
	}
	return c.env.withOnlyEnd(cmd, &c.access, &c.out, func(ctx context.Context, end onlyEnd) error {
		done := tagging{Schema: taggingSchema, Reference: args[0], Tags: []taggedAs{}}
		for _, tag := range tags {
			t, err := c.tag(ctx, end, ref, tag)
			if err != nil {
				return errors.Join(err, c.printJSON(done))
			}
			done.Tags = append(done.Tags, t)
			if !c.out.json {
				if _, err := fmt.Fprintln(c.env.stdout, t); err != nil {
					return err
				}
			}
		}
		return c.printJSON(done)
	})
}

// printJSON prints what was done, if that is wanted as JSON.
func (c *tagCommand) printJSON(done tagging) error {
	if !c.out.json {
		return nil
	}
	return printJSON(c.env.stdout, done)
}

// parseRegistryImage parses a reference to something at a registry.
func parseRegistryImage(text string) (types.ImageReference, error) {
	ref, err := parseDestination("REFERENCE", text)
	if err != nil {
		return nil, err
	}
	return ref, atRegistry(text, ref)
}

// atRegistry refuses a reference to something that is at no registry.
func atRegistry(text string, ref types.ImageReference) error {
	if ref.Transport().Name() != docker.Transport.Name() {
		return misusef("%s is at no registry: write docker://HOST/NAME:TAG", text)
	}
	return nil
}

// parseTag reads a TAG: one in the repository of ref, or a reference at the same registry.
func parseTag(ref types.ImageReference, text string) (reference.NamedTagged, error) {
	name := reference.TrimNamed(ref.DockerReference())
	if tagselect.IsTag(text) {
		return reference.WithTag(name, text)
	}
	if !strings.Contains(text, "/") {
		return nil, misusef("TAG %q is no tag: they have letters, digits, dots, hyphens and underscores, 128 at most", text)
	}
	other, err := parseDestination("TAG", text)
	if err != nil {
		return nil, err
	}
	tagged, ok := other.DockerReference().(reference.NamedTagged)
	_, digested := other.DockerReference().(reference.Canonical)
	switch {
	case !ok || digested:
		return nil, misusef("TAG %q is no docker://HOST/NAME:TAG", text)
	case reference.Domain(tagged) != reference.Domain(name):
		return nil, misusef("%s is at another registry than %s: mirror copy --all --preserve-digests copies", text, name)
	}
	return tagged, nil
}

// tag makes a tag name what ref names.
func (c *tagCommand) tag(ctx context.Context, end onlyEnd, ref types.ImageReference, tag reference.NamedTagged) (taggedAs, error) {
	to := "docker://" + tag.String()
	if tag.Name() == ref.DockerReference().Name() {
		t, err := end.copier.Registries().Tag(ctx, ref, tag.Tag(), &naming.TagOptions{SystemContext: end.sys, IfAbsent: c.ifAbsent})
		if err != nil {
			return taggedAs{}, atOnlyEnd(to, err)
		}
		return taggedAs{to, t.Digest, t.Replaced, t.Written}, nil
	}
	t, err := c.copyAcross(ctx, end, ref, tag)
	t.Reference = to
	return t, atOnlyEnd(to, err)
}

// copyAcross copies all that ref names to another repository, as it is.
func (c *tagCommand) copyAcross(ctx context.Context, end onlyEnd, ref types.ImageReference, tag reference.NamedTagged) (taggedAs, error) {
	to, err := docker.NewReference(tag)
	if err != nil {
		return taggedAs{}, err
	}
	was, err := end.copier.Registries().Digest(ctx, to, &naming.Options{SystemContext: end.sys, Side: copy.DestinationSide})
	if err != nil && !errors.Is(err, copy.ErrNotFound) {
		return taggedAs{}, err
	}
	if c.ifAbsent && was != "" {
		now, err := end.copier.Registries().Digest(ctx, ref, &naming.Options{SystemContext: end.sys})
		if err != nil {
			return taggedAs{}, err
		}
		if now != was {
			return taggedAs{}, &naming.TakenError{Tag: tag.Tag(), Digest: was}
		}
	}
	policy, err := c.access.policyContext(end.sys)
	if err != nil {
		return taggedAs{}, err
	}
	defer func() { _ = policy.Destroy() }() // it has no files of its own
	var report copy.Report
	_, err = end.copier.Image(ctx, policy, to, ref, &copy.Options{
		SourceCtx: end.sys, DestinationCtx: end.sys, Report: &report,
		ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing, PreserveDigests: true,
		Referrers: copy.AllReferrers, DigestTags: true,
	})
	if err != nil {
		return taggedAs{}, err
	}
	t := taggedAs{Digest: report.DestinationDigest, Written: report.Written}
	if was != t.Digest {
		t.Replaced = was
	}
	return t, nil
}
