package mirrorcmd

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/copy"
)

// A verifyCommand is mirror verify.
type verifyCommand struct {
	env    *environment
	sel    selection
	access access
	out    output
	blobs  bool
}

func (c *verifyCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [flags] SOURCE DESTINATION",
		Short: "Say whether a mirror is complete and true",
		Long: "Verify holds DESTINATION against what copy with the same flags would make of SOURCE: it names the digest that it\n" +
			"should; every selected image is there; every list and manifest has its digest; every config and layer is there\n" +
			"with its size, and, with --blobs, has its digest; referrers are listed, and digest tags name what they should, if the\n" +
			"flags ask for them. Layers with URLs, which copy leaves where they are, are not looked for. It asks DESTINATION itself, never a mirror of it, and writes\n" +
			"nothing. The exit status is 0 if all is well, and 1 if not: then all violations are listed.",
		Example: "  mirror verify --platform linux/amd64,linux/arm64 --sparse strip \\\n" +
			"    docker://docker.io/library/alpine:3 docker://registry.example/alpine:3",
		Args: twoReferences,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	c.sel.defineChoice(flags)
	c.sel.defineParallel(flags)
	c.sel.defineAttached(flags)
	defineChanges(flags, &c.sel.changes)
	flags.BoolVar(&c.blobs, "blobs", false, "read every config and layer and hash it, instead of asking whether it is there")
	c.out.define(flags, "what was found")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "print nothing but errors")
	c.access.define(flags)
	return cmd
}

func (c *verifyCommand) run(cmd *cobra.Command, args []string) error {
	ends, err := c.env.prepare(args, &c.sel, &c.access, &c.out)
	if err != nil {
		return err
	}
	defer ends.close()
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()

	result, err := ends.copier.Verify(ctx, ends.policy, ends.destination, ends.source, &copy.VerifyOptions{
		Options: &ends.options, ReadBlobs: c.blobs,
	})
	if err != nil {
		return orStopped(ctx, err)
	}
	if err := c.print(result); err != nil {
		return err
	}
	if n := len(result.Violations); n > 0 {
		return fmt.Errorf("%s is not what it should be: %s", result.Destination, counted(n, "violation"))
	}
	return nil
}

func (c *verifyCommand) print(v *copy.Verification) error {
	switch {
	case c.out.json:
		return printJSON(c.env.stdout, v)
	case c.out.quiet:
		return nil
	}
	var b strings.Builder
	for _, bad := range v.Violations {
		fmt.Fprintln(&b, oneLine(bad.String()))
	}
	how := "there"
	if v.BlobsRead {
		how = fmt.Sprintf("read and hashed (%s)", copy.FormatBytes(v.BytesRead))
	}
	for _, w := range v.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", oneLine(w))
	}
	if len(v.Violations) == 0 {
		fmt.Fprintf(&b, "complete and true: %s hashed, %s %s", counted(v.Manifests, "manifest"), counted(v.Blobs, "blob"), how)
		if v.Attached > 0 {
			fmt.Fprintf(&b, ", %d attached", v.Attached)
		}
		if v.Elsewhere > 0 {
			fmt.Fprintf(&b, "; %s elsewhere, not looked for", counted(v.Elsewhere, "layer"))
		}
		b.WriteString("\n")
		fmt.Fprintf(&b, "  %s  %s\n", v.Found, v.Destination)
	}
	_, err := io.WriteString(c.env.stdout, c.env.told(b.String()))
	return err
}
