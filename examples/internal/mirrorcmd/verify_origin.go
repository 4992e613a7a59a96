package mirrorcmd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/signature"
	"go.podman.io/storage/pkg/configfile"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// threatModel is where people read what a verification proves, and what it does not.
const threatModel = "https://github.com/sparsecopy/sparsecopy/blob/main/docs/trusted-strip.md"

// byOrigin verifies a stripped list by what is beside it.
func (c *verifyCommand) byOrigin(cmd *cobra.Command, args []string) error {
	if err := checkAll(c.out.check, c.access.check); err != nil {
		return err
	}
	origin, err := c.access.parseSource("--origin", c.origin)
	if err != nil {
		return err
	}
	destination, err := parseDestination("DESTINATION", args[0])
	if err != nil {
		return err
	}
	bundles, err := c.sel.changes.Bundles()
	if err != nil {
		return &misuse{err}
	}
	sys, err := c.access.systemContexts(c.env)
	if err != nil {
		return err
	}
	policy, err := orNone(c.access.policyContext(sys.destination))
	if err != nil {
		return err
	}
	if policy != nil {
		defer func() { _ = policy.Destroy() }()
	}
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	copier := copy.NewCopier(c.env.limits(&c.access))
	defer func() { _ = copier.Close() }() // closes connections that nobody uses any more

	result, err := copier.VerifyStripped(ctx, destination, &copy.VerifyStrippedOptions{
		Origin: origin, Policy: policy, Bundles: bundles, SystemContext: sys.destination,
	})
	err = orStopped(ctx, err)
	if result != nil { // also if nothing is proven
		if printErr := c.print(result, stripText(result)); err == nil {
			err = printErr
		}
	}
	return err
}

// orNone returns a policy, nil if the machine has none, where others than policies may judge.
func orNone(policy *signature.PolicyContext, err error) (*signature.PolicyContext, error) {
	if errors.Is(err, configfile.ErrConfigFileNotFound) {
		return nil, nil
	}
	return policy, err
}

// stripText says what was found of a stripped list. Why it is not proven, the error says.
func stripText(v *copy.StripVerification) string {
	var b strings.Builder
	if v.Removal != nil && v.Removal.Count() > 0 {
		table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
		fmt.Fprintf(table, "REMOVED\tPLATFORM\tDIGEST\n")
		removedRows(table, "", *v.Removal)
		table.Flush()
	}
	for _, line := range signatureLines(v.Signatures) {
		fmt.Fprintln(&b, line)
	}
	if v.Claim != "" {
		fmt.Fprintf(&b, "claimed, and not verified: the original is from %s\n", oneLine(v.Claim))
	}
	for _, w := range v.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", oneLine(w))
	}
	if v.Proven {
		fmt.Fprintf(&b, "proven: what its publisher has signed, with %s and nothing else touched\n", takenOut(*v.Removal))
		fmt.Fprintf(&b, "  %s  %s\n", v.Original, v.Origin)
		fmt.Fprintf(&b, "→ %s  %s (stripped)\n", v.List, v.Destination)
		fmt.Fprintf(&b, "what that is worth: %s\n", threatModel)
	}
	return b.String()
}

// takenOut says how many entries were removed, of how many.
func takenOut(r manifest.Removal) string {
	entries := "1 entry"
	if r.Entries != 1 {
		entries = fmt.Sprintf("%d entries", r.Entries)
	}
	text := fmt.Sprintf("%d of %s removed", len(r.Removed), entries)
	if n := r.Count() - len(r.Removed); n > 0 {
		text += fmt.Sprintf(", %d of lists in it,", n)
	}
	return text
}

// removedRows writes a row for each entry that was removed. In lists in lists, its position comes
// after that of the list, which prefix has.
func removedRows(w io.Writer, prefix string, r manifest.Removal) {
	platforms := map[digest.Digest]string{}
	for _, e := range r.Removed {
		if e.Platform != nil {
			platforms[e.Digest] = platformText(e.Platform)
		}
	}
	for _, e := range r.Removed {
		what := cmp.Or(e.ArtifactType, "-")
		switch {
		case e.AttestationOf != "":
			what = related("attestation", e.AttestationOf, platforms)
		case e.Platform != nil:
			what = platformText(e.Platform)
		}
		fmt.Fprintf(w, "%s%d\t%s\t%s\n", prefix, e.Index, oneLine(what), e.Digest)
	}
	for _, n := range r.Nested {
		removedRows(w, fmt.Sprintf("%s%d.", prefix, n.Index), n.Removal)
	}
}

func platformText(p *imgspecv1.Platform) string {
	parts := []string{p.OS, p.Architecture}
	if p.Variant != "" {
		parts = append(parts, p.Variant)
	}
	text := strings.Join(parts, "/")
	if p.OSVersion != "" {
		text += " " + p.OSVersion
	}
	return text
}

// signatureLines say who has made signatures of the original, or why they do not count.
// Attestations say something else about it, and are left out.
func signatureLines(all []copy.JudgedSignature) []string {
	var lines []string
	for _, s := range all {
		if s.Format != attestation {
			lines = append(lines, signatureLine(s))
		}
	}
	return lines
}

// attestation is what is no signature, although it is signed.
const attestation = "attestation"

func signatureLine(s copy.JudgedSignature) string {
	switch {
	case !s.Accepted:
		why := slices.DeleteFunc([]string{cmp.Or(refusals[s.Reason], string(s.Reason)), s.Problem}, func(part string) bool { return part == "" })
		return fmt.Sprintf("not accepted: %s %s: %s", s.Format, shortDigest(s.Digest), oneLine(strings.Join(why, ": ")))
	case s.Identity == "":
		return fmt.Sprintf("signed by %s (%s %s), which binds the digest of the original, and no repository", oneLine(s.Signer), s.Format, shortDigest(s.Digest))
	}
	return fmt.Sprintf("signed by %s as %s (%s %s)", oneLine(s.Signer), oneLine(s.Identity), s.Format, shortDigest(s.Digest))
}

// refusals say why a signature is not accepted, for those reasons whose names do not say it well
// enough.
var refusals = map[copy.StripReason]string{
	copy.StripReasonWrongIdentity:   "it is for something else than the origin",
	copy.StripReasonOtherDigest:     "it signs something else",
	copy.StripReasonWrongKey:        "nobody who is accepted has made it, or it was altered",
	copy.StripReasonBundleRefused:   "refused",
	copy.StripReasonNoRequirement:   "the policy says nothing about its format",
	copy.StripReasonNothingDemanded: "not looked at, because the policy demands no signature",
	copy.StripReasonNotAsked:        "not looked at, because nothing was given that judges its format",
}
