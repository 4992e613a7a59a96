package mirrorcmd

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/naming"
)

// digestSchema names the JSON form of what mirror digest prints.
const digestSchema = "mirror.digest/v1"

// A digestReport is what mirror digest prints.
type digestReport struct {
	Schema    string        `json:"schema"`
	Reference string        `json:"reference"`
	Platform  string        `json:"platform,omitempty"`
	Digest    digest.Digest `json:"digest"`
}

// A digestCommand is mirror digest.
type digestCommand struct {
	env      *environment
	access   access
	out      output
	platform onePlatform
	read     bool
	full     bool
}

func (c *digestCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "digest [flags] REFERENCE",
		Short: "Print the digest of an image or list",
		Long: "Digest prints the digest of what REFERENCE names, or of the image in it that --platform chooses. A registry is asked\n" +
			"by HEAD, which it does not count as a pull; what it does not tell so, and what is no registry, is read and hashed.",
		Example: "  mirror digest docker://docker.io/library/alpine:3\n" +
			"  mirror digest --platform linux/arm64 docker://docker.io/library/alpine:3",
		Args: takes(1, "REFERENCE"),
		RunE: c.run,
	}
}

func (c *digestCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&c.platform, "platform", "print the digest of the image for `PLATFORM`, os/arch[/variant], of a list")
	flags.BoolVar(&c.read, "read", false, "read and hash what REFERENCE names, and believe no registry")
	flags.BoolVar(&c.full, "full-ref", false, "print the repository, too: docker://HOST/NAME@DIGEST")
	c.out.define(flags, "the digest")
	c.access.defineOnly(flags)
}

func (c *digestCommand) run(cmd *cobra.Command, args []string) error {
	if err := checkAll(c.out.check, c.access.check); err != nil {
		return err
	}
	ref, err := c.access.parseSource("REFERENCE", args[0])
	if err != nil {
		return err
	}
	if c.full && ref.DockerReference() == nil {
		return misusef("--full-ref is for images of registries, and %s is none", args[0])
	}
	return c.env.withOnlyEnd(cmd, &c.access, &c.out, func(ctx context.Context, end onlyEnd) error {
		found, err := c.find(ctx, end, ref)
		if err != nil {
			return atOnlyEnd(args[0], err)
		}
		if c.out.json {
			return printJSON(c.env.stdout, digestReport{digestSchema, args[0], c.platform.text, found})
		}
		text := found.String()
		if c.full {
			text = "docker://" + ref.DockerReference().Name() + "@" + text
		}
		_, err = fmt.Fprintln(c.env.stdout, text)
		return err
	})
}

func (c *digestCommand) find(ctx context.Context, end onlyEnd, ref types.ImageReference) (digest.Digest, error) {
	if c.read || c.platform.filter != nil {
		doc, err := end.copier.Registries().Manifest(ctx, ref, &naming.DocumentOptions{SystemContext: end.sys, Platform: c.platform.filter})
		return doc.Digest, err
	}
	return end.copier.Registries().Digest(ctx, ref, &naming.Options{SystemContext: end.sys})
}
