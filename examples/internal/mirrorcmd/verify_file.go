package mirrorcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// fileVerificationSchema names the JSON form of what mirror verify prints of a file;
// docs/report-schema.md describes it. The number changes when a reader of the old form would go
// wrong.
const fileVerificationSchema = "mirror.verify/v1"

// A fileVerification says whether destinations are what a file says.
type fileVerification struct {
	Schema  string                  `json:"schema"`
	File    string                  `json:"file"`
	Started time.Time               `json:"started"`
	Elapsed time.Duration           `json:"elapsed"` // in nanoseconds
	Summary fileVerificationSummary `json:"summary"`
	// Images are in the order of the file.
	Images []verifiedImage `json:"images"`
	// Warnings are about the run as a whole.
	Warnings []string `json:"warnings,omitempty"`
	// Error is why the run ended early, "" if it did not.
	Error string `json:"error,omitempty"`
}

type fileVerificationSummary struct {
	Images   int `json:"images"`
	Verified int `json:"verified"`
	Proven   int `json:"proven"` // those of them that are stripped lists of which their publishers' signatures count
	Skipped  int `json:"skipped"`
	Failed   int `json:"failed"`
	Damaged  int `json:"damaged"`  // not among the failed: something is lost, and no copy brings it back
	Orphaned int `json:"orphaned"` // of all, those whose source is gone
	// What was looked at, of all images: lists and manifests, config and layers, referrers and
	// digest tags; and layers that have URLs, which were not looked for.
	Manifests int `json:"manifests"`
	Blobs     int `json:"blobs"`
	Attached  int `json:"attached"`
	Elsewhere int `json:"elsewhere"`
}

// imageVerified is how the verification of an image ends well, beside imageSkipped, imageFailed and
// imageDamaged.
const imageVerified imageStatus = "verified"

// A verifiedImage says whether a destination is what the file says.
type verifiedImage struct {
	Line        int         `json:"line"` // of the file
	Source      string      `json:"source"`
	Destination string      `json:"destination"`
	Status      imageStatus `json:"status,omitempty"` // "" if the run ended before
	Reason      string      `json:"reason,omitempty"` // of skipped ones
	// Verification is what was found against the source, nil if that was not asked, or could not
	// tell.
	Verification *copy.Verification `json:"verification,omitempty"`
	// Strip is what is proven without the source, nil if nothing is.
	Strip *copy.StripVerification `json:"strip,omitempty"`
	Error string                  `json:"error,omitempty"`
}

// name is the destination, or, of an image whose destinations are not known, the source.
func (i *verifiedImage) name() string { return cmp.Or(i.Destination, i.Source) }

// byFile verifies the destinations of a file.
func (c *verifyCommand) byFile(cmd *cobra.Command, args []string) error {
	if err := checkAll(c.out.check, c.access.check, c.from.check); err != nil {
		return err
	}
	file, err := c.env.readSyncFile(args[0], &c.from)
	if err != nil {
		return err
	}
	if c.withoutSource {
		if file, err = provable(args[0], file); err != nil {
			return err
		}
	}
	sys, err := c.access.systemContexts(c.env)
	if err != nil {
		return err
	}
	policy, err := c.access.policyContext(sys.source)
	if c.withoutSource {
		policy, err = orNone(policy, err)
	}
	if err != nil {
		return err
	}
	if policy != nil {
		defer func() { _ = policy.Destroy() }()
	}
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	c.access.registries.use(file)
	copier := copy.NewCopier(c.env.limits(&c.access))
	defer func() { _ = copier.Close() }() // closes connections that nobody uses any more

	started := c.env.now()
	r := &runner{env: c.env, fileName: args[0], file: file, copier: copier, sys: sys, policy: policy}
	found, err := c.verifyAll(ctx, r)
	err = orStopped(ctx, err)
	found.File, found.Started, found.Elapsed = args[0], started.UTC(), c.env.now().Sub(started)
	found.finish(err)
	if printErr := c.print(found, printable(found.text())); err == nil {
		err = printErr
	}
	return cmp.Or(err, found.failure())
}

// provable returns the part of a file whose destinations can be verified without their sources.
func provable(name string, file *syncfile.File) (*syncfile.File, error) {
	var images []*syncfile.Image
	for _, i := range file.Images {
		if !i.Options.AttachOriginal {
			continue
		}
		if i.Listed() {
			return nil, misusef("%s:%d: --without-source does not list the tags of sources: name them, and leave out what is no name", name, i.Line)
		}
		images = append(images, i)
	}
	if len(images) == 0 {
		return nil, misusef("%s: no image has attach-original, so that --without-source leaves nothing to verify", name)
	}
	return &syncfile.File{Images: images, Registries: file.Registries}, nil
}

// verifyAll verifies what the file stands for. The error is about the file, or context.Cause.
func (c *verifyCommand) verifyAll(ctx context.Context, r *runner) (*fileVerification, error) {
	expanded, err := r.expand(ctx)
	found := &fileVerification{Schema: fileVerificationSchema, Warnings: expanded.warnings}
	for _, i := range expanded.images {
		if i.Status == imagePostponed { // what it stands for is not known
			i.Status = imageFailed
		}
		found.Images = append(found.Images, verifiedImage{Line: i.Line, Source: i.Source, Destination: i.Destination, Status: i.Status, Error: i.Error})
	}
	if err != nil {
		return found, err
	}
	eachOf(ctx, c.jobs, len(expanded.todo), func(i int) { c.verifyCopy(ctx, r, expanded.todo[i], &found.Images[i]) })
	return found, context.Cause(ctx)
}

// verifyCopy verifies one destination, and notes what it finds.
func (c *verifyCommand) verifyCopy(ctx context.Context, r *runner, one syncfile.Copy, found *verifiedImage) {
	var err error
	if !c.withoutSource {
		found.Verification, err = r.copier.Verify(ctx, r.policy, one.Destination, one.Source, &copy.VerifyOptions{Options: r.options(one), ReadBlobs: c.blobs, Orphans: true})
		if err == nil {
			err = untrue(found.Verification)
		}
	}
	if err == nil && one.Image.Options.AttachOriginal {
		found.Strip, err = r.copier.VerifyStripped(ctx, one.Destination, &copy.VerifyStrippedOptions{
			Origin: one.Source, Policy: r.policy, Bundles: one.Image.Options.BundleVerifier, SystemContext: r.sys.destination,
		})
		if found.Verification != nil && hasNoOriginal(err) { // it should be there if something was stripped
			found.Strip, err = nil, nil
		}
	}
	switch {
	case ctx.Err() != nil:
	case isOther(one.Image, err):
		found.Status, found.Reason = imageSkipped, err.Error()
	case err != nil && found.Verification != nil && found.Verification.Damaged():
		found.Status, found.Error = imageDamaged, r.env.explain(err)
	case err != nil:
		found.Status, found.Error = imageFailed, r.env.explain(err)
	default:
		found.Status = imageVerified
	}
}

// hasNoOriginal reports whether err says that no original is attached to a list: it was not
// stripped.
func hasNoOriginal(err error) bool {
	refused, ok := errors.AsType[*copy.StripVerificationError](err)
	return ok && refused.Reason == copy.StripReasonNoOriginal
}

// finish counts, after a run that ended with err.
func (v *fileVerification) finish(err error) {
	if err != nil {
		v.Error = err.Error()
	}
	v.Summary = fileVerificationSummary{Images: len(v.Images)}
	for _, i := range v.Images {
		if one := i.Verification; one != nil {
			v.Summary.Manifests += one.Manifests
			v.Summary.Blobs += one.Blobs
			v.Summary.Attached += one.Attached
			v.Summary.Elsewhere += one.Elsewhere
			if one.Orphaned != "" {
				v.Summary.Orphaned++
			}
		}
		switch i.Status {
		case imageDamaged:
			v.Summary.Damaged++
		case imageVerified:
			v.Summary.Verified++
			if i.Strip != nil {
				v.Summary.Proven++
			}
		case imageSkipped:
			v.Summary.Skipped++
		case imageFailed:
			v.Summary.Failed++
		}
	}
	if v.Images == nil {
		v.Images = []verifiedImage{}
	}
}

// failure says in one line that some destinations are not what they should be, nil if all are.
// Damage is said first: whatever else failed, another run may find mended.
func (v *fileVerification) failure() error {
	if i := v.first(imageDamaged); i != nil {
		return &statusError{StatusDamaged, fmt.Errorf("%d of %s damaged; the first, %s: %s", v.Summary.Damaged, counted(len(v.Images), "image"), i.name(), i.Error)}
	}
	if i := v.first(imageFailed); i != nil {
		return fmt.Errorf("%d of %s failed; the first, %s: %s", v.Summary.Failed, counted(len(v.Images), "image"), i.name(), i.Error)
	}
	return nil
}

// first is the first image with a status, nil if there is none.
func (v *fileVerification) first(status imageStatus) *verifiedImage {
	for i := range v.Images {
		if v.Images[i].Status == status {
			return &v.Images[i]
		}
	}
	return nil
}

// text is what was found, for people.
func (v *fileVerification) text() string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(table, "RESULT\tDIGEST\tWITHOUT SOURCE\tDESTINATION\n")
	for _, i := range v.Images {
		at, proven := "-", "-"
		if i.Verification != nil && i.Verification.Found != "" {
			at = shortDigest(i.Verification.Found)
		}
		if s := i.Strip; s != nil && s.List != "" {
			at = shortDigest(s.List)
		}
		if s := i.Strip; s != nil && s.Proven {
			proven = "signed, " + takenOut(*s.Removal)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", cmp.Or(i.Status, "not begun"), at, proven, i.name())
	}
	table.Flush()
	for _, i := range v.Images {
		i.details(&b)
	}
	for _, w := range v.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", oneLine(w))
	}
	b.WriteString(v.lastLine())
	return b.String()
}

// details writes what is to be said of an image beside its row.
func (i *verifiedImage) details(b *strings.Builder) {
	if v := i.Verification; v != nil {
		for _, bad := range v.Violations {
			fmt.Fprintf(b, "wrong: %s: %s\n", i.name(), oneLine(bad.String()))
		}
		if v.Orphaned != "" {
			fmt.Fprintf(b, "warning: %s: %s\n", i.name(), orphanedText(v))
		}
		for _, w := range v.Warnings {
			fmt.Fprintf(b, "warning: %s: %s\n", i.name(), oneLine(w))
		}
	}
	if i.Strip != nil {
		for _, line := range signatureLines(i.Strip.Signatures) {
			fmt.Fprintf(b, "%s: %s\n", i.name(), line)
		}
	}
	if i.Reason != "" {
		fmt.Fprintf(b, "skipped: %s: %s\n", i.name(), oneLine(i.Reason))
	}
	if i.Error != "" {
		fmt.Fprintf(b, "%s: %s (line %d): %s\n", i.Status, i.name(), i.Line, oneLine(i.Error))
	}
}

// lastLine is what a reader looks at first.
func (v *fileVerification) lastLine() string {
	s := v.Summary
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{s.Verified, "verified"}, {s.Skipped, "skipped"}, {s.Failed, "failed"}, {s.Damaged, "damaged"},
		{s.Images - s.Verified - s.Skipped - s.Failed - s.Damaged, "not begun"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	text := counted(s.Images, "image")
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	if s.Manifests > 0 {
		text += fmt.Sprintf("; %s hashed, %s, %d attached", counted(s.Manifests, "manifest"), counted(s.Blobs, "blob"), s.Attached)
	}
	if s.Elsewhere > 0 {
		text += fmt.Sprintf(", %s elsewhere, not looked for", counted(s.Elsewhere, "layer"))
	}
	if s.Orphaned > 0 {
		text += fmt.Sprintf("; without a source by now: %d", s.Orphaned)
	}
	if s.Proven > 0 {
		text += fmt.Sprintf("; stripped, and signed by their publishers: %d; what that means: %s", s.Proven, threatModel)
	}
	return fmt.Sprintf("%s; %s\n", text, formatTime(v.Elapsed))
}
