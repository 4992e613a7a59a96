package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// verificationSchema names the JSON form of a verification. The number changes when a reader of the old form would go wrong.
const verificationSchema = "sparsecopy.verification/v1"

// A verification says whether a destination is what a copy with the same flags would have made of it.
type verification struct {
	Schema      string        `json:"schema"` // verificationSchema
	Source      string        `json:"source"`
	Destination string        `json:"destination"`
	Wanted      digest.Digest `json:"wanted"`          // what the destination should name
	Found       digest.Digest `json:"found,omitempty"` // what it names; absent if nothing

	Violations []violation `json:"violations"` // empty if and only if the mirror is complete and true

	Manifests int   `json:"manifests"` // lists and manifests that were read and hashed
	Blobs     int   `json:"blobs"`     // distinct blobs that were looked for, or read
	BlobsRead bool  `json:"blobsRead"` // and hashed
	BytesRead int64 `json:"bytesRead"` // of blobs
	Attached  int   `json:"attached"`  // referrers and digest tags that were looked for
	Elsewhere int   `json:"elsewhere"` // distinct layers that have URLs, and were not looked for

	// Warnings say what is not known, such as what the source did not tell.
	Warnings []string `json:"warnings,omitempty"`
}

// A violation is one thing that is not as it should be.
type violation struct {
	Digest   digest.Digest `json:"digest"`
	What     string        `json:"what"`               // "list", "manifest", "config", "layer", "referrer", "tag" or "signatures"
	Platform string        `json:"platform,omitempty"` // of the image that it belongs to
	Problem  string        `json:"problem"`
}

func (v violation) String() string {
	text := v.What + " " + v.Digest.String()
	if v.Platform != "" {
		text += " (" + v.Platform + ")"
	}
	return text + ": " + v.Problem
}

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

	ends.options.ListSignatures = copy.WarnListSignatures // whatever became of the list, nothing is stripped here
	prepared, err := ends.copier.Prepare(ctx, ends.policy, ends.destination, ends.source, &ends.options)
	if err != nil {
		return orStopped(ctx, err)
	}
	plan := prepared.Plan()
	if err := prepared.Close(); err != nil {
		return err
	}
	if plan.Way != copy.Native {
		return fmt.Errorf("what the destination should be cannot be told beforehand: %s", plan.WayReason)
	}
	v := newVerifier(plan, ends.times.shared(), ends.options.MaxParallelDownloads, c.blobs)
	defer func() { _ = v.shared.Close() }() // closes connections that nobody uses any more
	if err := v.check(ctx, ends); err != nil {
		return orStopped(ctx, err)
	}
	result := v.result()
	if err := c.print(result); err != nil {
		return err
	}
	if n := len(result.Violations); n > 0 {
		return fmt.Errorf("%s is not what it should be: %s", plan.Destination, counted(n, "violation"))
	}
	return nil
}

// check holds the destination against the plan.
func (v *verifier) check(ctx context.Context, e *ends) error {
	err := v.open(ctx, e)
	if errors.Is(err, endpoint.ErrNotFound) {
		return nil // a violation, which is noted
	}
	if err != nil {
		return err
	}
	defer v.close()
	src, err := openSource(ctx, e.source, e.options.SourceCtx, v.shared)
	if err != nil {
		return atEnd("src", v.plan.Source, err)
	}
	defer src.Close() // nothing was written
	v.checkTop()
	if err := v.attachments(ctx, src); err != nil {
		return err
	}
	if err := v.run(ctx); err != nil || e.options.RemoveSignatures {
		return err
	}
	return v.signatures(ctx, src, !e.options.RemoveListSignatures)
}

func (c *verifyCommand) print(v *verification) error {
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
	_, err := io.WriteString(c.env.stdout, b.String())
	return err
}
