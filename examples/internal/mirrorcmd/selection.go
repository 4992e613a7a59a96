package mirrorcmd

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
)

// defaultParallel is what the commands do that do not leave it to the library.
const defaultParallel = 32

// The help of --parallel.
const (
	parallelHelp    = "how many blobs and manifests may be in flight at once"
	libraryParallel = " (default: 32, and twice as many if they are small)" // any number counts them alike
)

// selection are the flags that say what is copied, and what becomes of the list.
type selection struct {
	flags   *pflag.FlagSet
	all     bool
	skip    bool
	options copy.Options // filled in by the flags, but for what apply adds
	changes transform.Settings
}

func (s *selection) define(flags *pflag.FlagSet) {
	s.defineChoice(flags)
	flags.Var(count{&s.options.MaxParallelDownloads}, "parallel", parallelHelp+libraryParallel)
	flags.BoolVar(&s.options.CheckBlobs, "check-blobs", false, "ask the destination for every blob of images that it has, and copy what it lacks")
	flags.BoolVar(&s.options.WidenedChildTags, "widened-child-tags", false,
		"give each image that is added to a list which DESTINATION has already a tag, sha256-<hex>.child, if the registry would collect it otherwise (Quay), instead of failing")
	s.defineAttached(flags)
	defineSigning(flags, &s.changes)
	defineStatement(flags, &s.changes)
	defineChanges(flags, &s.changes)
}

// defineAttached defines the flags about what belongs to an image without being in its list.
func (s *selection) defineAttached(flags *pflag.FlagSet) {
	o := &s.options
	flags.Var(&referrerTypes{o}, "referrers",
		"copy what refers to anything that is copied, such as SBOMs and signatures, and what refers to that; of artifact `TYPES` only, if some are named, separated by commas")
	flags.Lookup("referrers").NoOptDefVal = allReferrers
	flags.Var(&digestTags{o}, "digest-tags",
		"copy what tags name that are named after the digest of anything that is copied: cosign's tags sha256-<hex>.sig, .att and .sbom; or those with any suffix (all), for which all tags are listed")
	flags.Lookup("digest-tags").NoOptDefVal = cosignTags
	flags.Var(&referrersSource{options: o}, "referrers-source", referrersSourceHelp)
	flags.BoolVar(&o.EntriesAsReferrers, "entries-as-referrers", false,
		"make attestations that are copied with the list, and state their image as their subject, known as its referrers, too: by the referrers tag, if the registry has no referrers API")
	flags.BoolVar(&o.KeepVoid, "keep-void", false, "copy what is attached to a list also if the list is stripped, and gets another digest")
}

// defineChoice defines the flags that say what a copy is to be, and not how the destination is
// looked at.
func (s *selection) defineChoice(flags *pflag.FlagSet) {
	s.flags = flags
	o := &s.options
	flags.Var(platforms(&o.InstancePlatforms, anyPlatform), "platform",
		"copy the list and the images for `OS/ARCH[/VARIANT]`; may be repeated, or name several, separated by commas; \"*\" matches any part, \"!\" excludes (\"!windows/*\")")
	flags.Var(platforms(&o.OptionalPlatforms, includedPlatform), "optional-platform",
		"like --platform, but a `PLATFORM` that matches nothing is only warned of")
	flags.Var(platforms(&o.RequiredPlatforms, includedPlatform), "require-platform",
		"fail before anything is written unless an image for `PLATFORM` is selected and there; selects nothing")
	flags.Var(digests(&o.Instances), "digest", "copy the list and the instances with `DIGEST`; may be repeated")
	flags.Var(positions(&o.InstanceIndexes), "index", "copy the list and the entry at position `N`, from 0; may be repeated")
	flags.BoolVar(&s.all, "all", false, "copy the list and all that it names; without a selection, the one image that suits this system is copied")
	flags.Var(newChoice(&o.SparseManifestListAction, []string{"keep", "strip", "auto"},
		[]copy.SparseManifestListAction{copy.KeepSparseManifestList, copy.StripSparseManifestList, copy.AutoSparseManifestList}), "sparse",
		"what becomes of entries that are not copied: keep them and with them the digest, strip them, or (auto) keep unless the destination refuses that")
	flags.Var(newChoice(&o.Attestations, []string{"default", "follow", "drop", "all"},
		[]copy.AttestationAction{copy.DefaultAttestations, copy.FollowSubject, copy.DropAttestations, copy.KeepAllAttestations}), "attestations",
		"which attestations are copied: those of images that are copied (follow), all, or none (drop); by default, those of images that --platform selected. SOCI indexes and Nydus images go with their images in the same way, but are not dropped")
	flags.BoolVar(&s.skip, "skip-missing", false, "leave out what the list names and the source does not have, instead of failing")
	flags.Var(newChoice(&o.SingleImage, []string{"check", "copy"}, []copy.SingleImageAction{copy.CheckSingleImage, copy.CopySingleImage}), "single",
		"if SOURCE is a single image: fail unless --platform matches it (check), or copy it, whatever it is for; artifacts, such as charts, are always copied")
	flags.Var(newChoice(&o.PlatformlessEntries, []string{"strip", "keep"},
		[]copy.PlatformlessAction{copy.StripPlatformlessEntries, copy.KeepPlatformlessEntries}), "platformless-entries",
		"what becomes of entries that have no platform, such as charts, where --platform selects: leave them behind (strip), or copy them")
	flags.BoolVar(&o.RemoveSignatures, "remove-signatures", false, "copy no signatures")
	flags.BoolVar(&o.RemoveListSignatures, "remove-list-signatures", false, "copy no signatures of lists, only those of images")
	flags.Var(newChoice(&o.ListSignatures, []string{"guard", "warn"}, []copy.ListSignatureAction{copy.GuardListSignatures, copy.WarnListSignatures}), "list-signatures",
		"if signatures are attached to a list, as cosign and notation attach them: do not strip it (guard), or strip it and name them in a warning")
	defineAttachOriginal(flags, &s.changes)
	flags.BoolVar(&o.PreserveDigests, "preserve-digests", false, "fail if a list or manifest would have to change")
}

// defineParallel defines the flag that says how much is done at once, for commands whose work is
// not the library's.
func (s *selection) defineParallel(flags *pflag.FlagSet) {
	s.options.MaxParallelDownloads = defaultParallel
	flags.Var(count{&s.options.MaxParallelDownloads}, "parallel", parallelHelp)
}

// selectors select instances of a list.
var selectors = []string{"platform", "optional-platform", "digest", "index"}

// platformFlags select them by platform.
var platformFlags = []string{"platform", "optional-platform"}

// listFlags have a meaning only where a list is copied.
var listFlags = []string{"sparse", "attestations", "skip-missing", "remove-list-signatures", "list-signatures", "widened-child-tags", "entries-as-referrers", transform.AttachOriginal}

// systemFlags have a meaning only where the image that suits a system is copied.
var systemFlags = []string{"override-os", "override-arch", "override-variant"}

// check refuses flags that would have no effect, and settles what the library's options depend on.
func (s *selection) check() error {
	o := &s.options
	chosen := changed(s.flags, selectors)
	switch {
	case s.all && len(chosen) > 0:
		return misusef("--all and %s exclude each other", dashed(chosen))
	case s.all:
		o.ImageListSelection = copy.CopyAllImages
	case len(chosen) > 0:
		o.ImageListSelection = copy.CopySpecificImages
	}
	if stray := changed(s.flags, listFlags); o.ImageListSelection == copy.CopySystemImage && len(stray) > 0 {
		return misusef("%s %s --platform, --digest, --index or --all: without one of them a single image is copied", dashed(stray), needs(stray))
	}
	if stray := changed(s.flags, systemFlags); o.ImageListSelection != copy.CopySystemImage && len(stray) > 0 {
		return misusef("%s chooses a single image, and has no effect together with %s", dashed(stray), dashed(changed(s.flags, append([]string{"all"}, selectors...))))
	}
	if stray := changed(s.flags, []string{"single", "platformless-entries"}); len(stray) > 0 && len(changed(s.flags, platformFlags)) == 0 {
		return misusef("%s %s --platform or --optional-platform", dashed(stray), needs(stray))
	}
	if o.KeepVoid && o.Referrers == copy.NoReferrers && !o.DigestTags {
		return misusef("--keep-void needs --referrers or --digest-tags")
	}
	if o.ReferrersFrom != nil && o.Referrers == copy.NoReferrers && !o.DigestTags {
		return misusef("--referrers-source needs --referrers or --digest-tags")
	}
	if s.skip {
		o.MissingInstances = copy.SkipMissing
	}
	return s.checkOriginal()
}

// changed returns those of the names whose flags were given, in the order of names.
func changed(flags *pflag.FlagSet, names []string) []string {
	var out []string
	for _, name := range names {
		if flags.Changed(name) {
			out = append(out, name)
		}
	}
	return out
}

// dashed names flags in a sentence.
func dashed(names []string) string { return "--" + strings.Join(names, ", --") }

// needs is the verb for flags without which something has no effect.
func needs(names []string) string {
	if len(names) == 1 {
		return "needs"
	}
	return "need"
}
