package mirrorcmd

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/copy"
)

// A verifyCommand is mirror verify.
type verifyCommand struct {
	env    *environment
	sel    selection
	access access
	out    output
	blobs  bool

	copying       []string // the flags that say what a copy was to be
	origin        string   // a reference; "" if SOURCE is asked
	withoutSource bool
	jobs          uint
	from          fromFlags
}

func (c *verifyCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "verify [flags] SOURCE DESTINATION | --origin SOURCE DESTINATION | FILE",
		Short: "Say whether a mirror is complete and true",
		Long: "Verify holds DESTINATION against what copy with the same flags would make of SOURCE: it names the digest that it\n" +
			"should; every selected image is there; every list and manifest has its digest; every config and layer is there\n" +
			"with its size, and, with --blobs, has its digest; referrers are listed, and digest tags name what they should, if the\n" +
			"flags ask for them. Layers with URLs, which copy leaves where they are, are not looked for. If SOURCE is gone, or lacks\n" +
			"an image that is wanted, DESTINATION is held against what it names itself. It asks DESTINATION itself, never a mirror\n" +
			"of it, and writes nothing. The exit status is 0 if all is well, and 1 if not: then all violations are listed. It is 4\n" +
			"if something is lost that SOURCE does not have either, so that no copy brings it back.\n\n" +
			"With --origin, SOURCE is not asked, and need not be there any more. What copy --attach-original has put beside a\n" +
			"stripped list proves that it is another one with entries taken out and nothing else touched. The signatures of that\n" +
			"one are judged by the signature policy as if it were SOURCE, and, if they are sigstore bundles, by the --origin flags.\n" +
			"A policy that demands no signature proves nothing, and fails. Images are not looked at.\n\n" +
			"FILE is a file of mirror sync, whose --help lists its keys. Each of its images is verified against its source, and, if\n" +
			"it has attach-original, without it, too.",
		Example: "  mirror verify --platform linux/amd64,linux/arm64 --sparse strip \\\n" +
			"    docker://docker.io/library/alpine:3 docker://registry.example/alpine:3\n" +
			"  mirror verify --origin docker://publisher.example/app:1 --origin-key publisher.pub docker://registry.example/app:1\n" +
			"  mirror verify --without-source images.yaml",
		Args: c.checkArgs,
		RunE: c.run,
	}
}

func (c *verifyCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	c.sel.defineChoice(flags)
	c.sel.defineParallel(flags)
	c.sel.defineAttached(flags)
	defineChanges(flags, &c.sel.changes)
	flags.VisitAll(func(f *pflag.Flag) { c.copying = append(c.copying, f.Name) })
	flags.BoolVar(&c.blobs, "blobs", false, "read every config and layer and hash it, instead of asking whether it is there")
	flags.StringVar(&c.origin, "origin", "", "verify a stripped list as one of `SOURCE`, by what is beside it, and ask SOURCE nothing")
	defineOrigin(flags, &c.sel.changes.Original.Origin)
	c.jobs = defaultJobs
	flags.BoolVar(&c.withoutSource, "without-source", false, "of FILE, verify only the images with attach-original, and ask their sources nothing")
	flags.Var(count{&c.jobs}, "jobs", "how many images of FILE are verified at the same time")
	c.from.define(flags)
	c.out.define(flags, "what was found")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "print nothing but errors")
	c.access.define(flags)
}

// checkArgs checks the number of arguments. It repeats none of them, as takes does not.
func (c *verifyCommand) checkArgs(cmd *cobra.Command, args []string) error {
	switch {
	case c.origin == "" && cmd.Flags().Changed("origin"):
		return misusef("--origin names nothing: it takes the reference under which the publisher's list is known")
	case c.origin != "" && len(args) != 1:
		return misusef("mirror verify --origin takes DESTINATION alone, and %d arguments were given; see mirror verify --help", len(args))
	case c.origin == "" && len(args) == 1 && namesTransport(args[0]):
		return misusef("mirror verify takes FILE as its only argument, and a reference was given: put SOURCE before it, or --origin SOURCE, which is not asked; see mirror verify --help")
	case len(args) != 1 && len(args) != 2:
		return misusef("mirror verify takes SOURCE and DESTINATION, or FILE, and %d arguments were given; see mirror verify --help", len(args))
	}
	return nil
}

// fileFlags have a meaning only where a file says what is verified.
var fileFlags = append([]string{"without-source", "jobs", "from"}, conversionFlags()...)

func (c *verifyCommand) run(cmd *cobra.Command, args []string) error {
	var (
		way   = c.againstSource
		stray = fileFlags
		why   = "where SOURCE says what DESTINATION is to be"
	)
	if given := changed(cmd.Flags(), originFlags); c.origin == "" && len(args) == 2 && len(given) > 0 {
		return misusef("%s %s --origin: without it, SOURCE says what DESTINATION is to be", dashed(given), needs(given))
	}
	switch {
	case c.origin != "":
		way, stray, why = c.byOrigin, slices.Concat(c.copying, []string{"blobs"}, fileFlags, c.access.source.names(), c.access.referrers.names()), "with --origin, which asks SOURCE nothing"
	case len(args) == 1:
		way, stray, why = c.byFile, slices.Concat(c.copying, originFlags, systemFlags), "on FILE, which says it of each image"
	}
	if given := changed(cmd.Flags(), stray); len(given) > 0 {
		return misusef("%s has no effect %s", dashed(given), why)
	}
	return way(cmd, args)
}

// againstSource verifies a destination against its source.
func (c *verifyCommand) againstSource(cmd *cobra.Command, args []string) error {
	ends, err := c.env.prepare(args, &c.sel, &c.access, &c.out)
	if err != nil {
		return err
	}
	defer ends.close()
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()

	result, err := ends.copier.Verify(ctx, ends.policy, ends.destination, ends.source, &copy.VerifyOptions{
		Options: &ends.options, ReadBlobs: c.blobs, Orphans: true,
	})
	if err != nil {
		return orStopped(ctx, err)
	}
	if err := c.print(result, verificationText(result)); err != nil {
		return err
	}
	return untrue(result)
}

// untrue says in one line that something is wrong with a destination, nil if nothing is.
func untrue(v *copy.Verification) error {
	n := len(v.Violations)
	switch {
	case n == 0:
		return nil
	case v.Damaged():
		return &statusError{StatusDamaged, fmt.Errorf("%s is damaged: %s, and the source does not have what is lost any more", v.Destination, counted(n, "violation"))}
	}
	return fmt.Errorf("%s is not what it should be: %s", v.Destination, counted(n, "violation"))
}

// print prints what was found, as JSON or as a text.
func (c *verifyCommand) print(v any, text string) error {
	switch {
	case c.out.json:
		return printJSON(c.env.stdout, v)
	case c.out.quiet:
		return nil
	}
	_, err := io.WriteString(c.env.stdout, c.env.shown(text))
	return err
}

// orphanedText says that a destination has outlived its source, or a part of it.
func orphanedText(v *copy.Verification) string {
	return "the source does not have what is wanted any more, and the destination was held against what it names itself: " + oneLine(v.Orphaned)
}

// verificationText says what was found of a destination.
func verificationText(v *copy.Verification) string {
	var b strings.Builder
	for _, bad := range v.Violations {
		fmt.Fprintln(&b, oneLine(bad.String()))
	}
	how := "there"
	if v.BlobsRead {
		how = fmt.Sprintf("read and hashed (%s)", copy.FormatBytes(v.BytesRead))
	}
	if v.Orphaned != "" {
		fmt.Fprintf(&b, "warning: %s\n", orphanedText(v))
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
	return b.String()
}
