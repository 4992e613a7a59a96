package plan

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/platform"
)

// SparseManifestListAction says what becomes of the entries of a list whose instances are not
// copied. Keep and Strip have upstream's numeric values.
type SparseManifestListAction int

const (
	// KeepSparseManifestList, the default, removes no entry: the list keeps its bytes and its
	// digest, and signatures and deployments that pin the digest stay valid. The list names
	// instances that are absent at the destination, which many registries refuse. Use it when the
	// registry accepts sparse lists, or when the digest must not change.
	KeepSparseManifestList SparseManifestListAction = iota
	// StripSparseManifestList removes the entries of what is not copied. The list gets a new
	// digest, the same one on every machine and in every release; everything else in the document
	// stays byte for byte what it was. If every entry is copied, nothing changes. It is refused,
	// with a *CannotModifyError, where the list must not change.
	// Use it when the registry refuses sparse lists and nothing pins the list's digest.
	StripSparseManifestList
	// AutoSparseManifestList keeps the list if the destination takes it, and strips it if the
	// registry refuses sparse lists, and only then; the report says which, and why. The digest
	// stays if and only if the list was kept. Use it when one program serves registries of both
	// kinds.
	AutoSparseManifestList
)

// String returns "keep", "strip" or "auto".
func (a SparseManifestListAction) String() string {
	switch a {
	case KeepSparseManifestList:
		return "keep"
	case StripSparseManifestList:
		return "strip"
	case AutoSparseManifestList:
		return "auto"
	default:
		return fmt.Sprintf("SparseManifestListAction(%d)", int(a))
	}
}

// MarshalText returns what String returns for a valid action.
func (a SparseManifestListAction) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads "keep", "strip" or "auto".
func (a *SparseManifestListAction) UnmarshalText(text []byte) error {
	for _, action := range []SparseManifestListAction{KeepSparseManifestList, StripSparseManifestList, AutoSparseManifestList} {
		if string(text) == action.String() {
			*a = action
			return nil
		}
	}
	return fmt.Errorf("unknown sparse action %q: write keep, strip or auto", text)
}

// AttestationAction says which attestations of a list are copied: the entries that describe another
// entry, their subject, which BuildKit's annotation vnd.docker.reference.digest names, or, where
// that is gone, the subject of their manifest.
//
// What accelerates an image (SOCI indexes, version 2, and Nydus images in the lists of their
// images) has no use without it either, and follows it under each action as DefaultAttestations
// says, but under FollowSubject as that says: DropAttestations drops none, and KeepAllAttestations
// keeps none whose image stays behind.
//
// Where ForceManifestMIMEType is one of Docker's, what holds no layers of an image cannot be
// converted, and what states a subject would lose it: attestations and other artifacts stay behind
// under each action, however they were selected, with a warning.
//
// What has no subject in its list follows nothing. Where it might have followed, it is skipped
// (ReasonUntied) with a warning, unless it is named itself.
type AttestationAction int

const (
	// DefaultAttestations, the default, lets attestations follow subjects that were selected by a
	// platform filter. What CopyAllImages copies includes every attestation; selections by digest
	// or position are taken literally. Where ForceManifestMIMEType is one of Docker's, to which no
	// attestation can be converted, none follows.
	// Use it unless you have a reason not to.
	DefaultAttestations AttestationAction = iota
	// FollowSubject copies an attestation, and what accelerates an image, if and only if its
	// subject in the same list is copied, however that was selected, or if Instances or
	// InstanceIndexes name it.
	// Use it with selections by digest or position.
	FollowSubject
	// DropAttestations copies no attestation but those that Instances or InstanceIndexes name.
	// Use it when nothing at the destination reads attestations.
	DropAttestations
	// KeepAllAttestations copies every attestation of every list that is copied, whatever became of
	// its subject. Use it to keep the provenance of platforms that are not mirrored.
	KeepAllAttestations
)

// MissingInstanceAction says what a selected instance that the source definitely does not have
// means. Refused access and server errors never count as missing.
type MissingInstanceAction int

const (
	// FailOnMissing, the default, fails with a *MissingError before anything is written.
	// Use it when the source is supposed to be complete.
	FailOnMissing MissingInstanceAction = iota
	// SkipMissing leaves missing instances out: stripped from the list under Strip, still listed
	// under Keep, and reported apart from what was not selected.
	// Use it for sources that are sparse themselves, such as another mirror.
	SkipMissing
)

// ReferrerAction says which referrers are copied: manifests that refer to what is copied by their
// subject, such as SBOMs and signatures (OCI distribution specification v1.1, "Listing Referrers").
type ReferrerAction int

const (
	// NoReferrers, the default, copies none, and asks for none.
	// Use it when nothing at the destination reads them.
	NoReferrers ReferrerAction = iota
	// AllReferrers copies those of every list and image that is copied, and theirs in turn, as far
	// as ReferrerTypes admits them. Use it for mirrors whose scanners and policy engines are to
	// work.
	AllReferrers
)

// DigestTagSuffixes says which digest tags are copied: tags that are named after the digest of what
// is copied, sha256-<hex> and a suffix.
type DigestTagSuffixes int

const (
	// CosignDigestTags, the default, copies cosign's: .sig, .att and .sbom. They are asked for, or
	// found in a list of tags if there would be many questions.
	CosignDigestTags DigestTagSuffixes = iota
	// AllDigestTags copies those with any suffix, whoever has written them, and the one without.
	// They are found by a list of all tags: a repository that lists none is an error, a
	// *copy.TagListError. Where referrers are copied, a tag without a suffix that lists referrers,
	// or names its subject, is left to these.
	// Use it for mirrors of repositories where other tools than cosign file things under digests,
	// such as imgpkg's locations and Konflux's source images.
	AllDigestTags
)

// ListSignatureAction says what it means for a list that would change that signatures are attached
// to it: what cosign's tag sha256-<hex>.sig names, referrers that are signatures, and the original
// that AttachOriginal has attached, which proves what its publisher has signed.
// Signatures where registries.d says that they are always keep a list from being stripped; these
// are found wherever they are.
type ListSignatureAction int

const (
	// WarnListSignatures, the default, strips the list all the same, as upstream does; Report.Void
	// and Report.Warnings name the signatures, and say if it could not be asked whether there are
	// some.
	// Use it when nothing verifies the lists of the destination.
	WarnListSignatures ListSignatureAction = iota
	// GuardListSignatures refuses to change a list to which signatures are attached, with a
	// *CannotModifyError, and one of which a registry does not tell that: if it answers 401, 403 or
	// 5xx, or not at all, when everything has been tried. Any other answer that is no list of
	// signatures is that of a registry which knows none, and is warned of.
	// Use it for mirrors whose users verify what they pull.
	GuardListSignatures
)

// ChangedSubjectAction says what becomes of what is about an image that is another one at the
// destination, because it was compressed, converted, encrypted or decrypted on the way: the
// attestations and SOCI indexes in its list, its referrers, and what digest tags name that are
// named after it. None of them is changed: they are about the image at the source.
type ChangedSubjectAction int

const (
	// KeepChangedSubjects, the default, copies them as if the image had not changed; the plan and
	// the report name them among what is void at the destination.
	// Use it to keep records of where an image comes from.
	KeepChangedSubjects ChangedSubjectAction = iota
	// DropChangedSubjects leaves them behind, but for entries of the list that Instances or
	// InstanceIndexes name. Entries are left behind where their image is transformed, also if it
	// turns out that nothing of it had to change.
	// Use it where what is about nothing that is there confuses those who look for it.
	DropChangedSubjects
)

// SingleImageAction says what platform filters mean for a source that is a single image and no
// list. They never concern artifacts: what is no image by its config is copied.
type SingleImageAction int

const (
	// CheckSingleImage, the default, holds the platform that the image's config states against the
	// filters: if none matches, the copy fails with a *NoMatchError whose Single is set.
	// Use it when what is mirrored must run on the platforms that were asked for.
	CheckSingleImage SingleImageAction = iota
	// CopySingleImage copies the image, whatever platform it is for: its config is not read before.
	// Use it when the filters are there to leave something out of lists.
	CopySingleImage
)

// InstancePlatformFilter selects instances by platform. Spellings are normalised before they are
// compared (x86_64 is amd64, aarch64 is arm64, arm64/v8 is arm64); a variant is never filled in, so
// {linux, arm} means every arm.
//
// Filters look at images, also at those in nested lists, and at attestations only if they spell out
// unknown/unknown. What accelerates an image is not chosen by them, whatever platform it states,
// unless they spell out the OS feature nydus.remoteimage.v1; exclusions mean it, too.
type InstancePlatformFilter struct {
	// OS and Architecture, such as "linux" and "amd64"; "*" matches any. Both empty match an entry
	// without a platform.
	OS           string
	Architecture string
	// Variant, such as "v7". Empty or "*" matches anything.
	Variant string
	// OSVersion, such as "10.0.17763", which also matches 10.0.17763.1. Empty or "*" matches
	// anything.
	OSVersion string
	// OSFeatures that an entry must have, all of them. Empty matches anything.
	OSFeatures []string
	// Exclude turns the filter around: what matches is not copied, whatever else selects it.
	Exclude bool
}

// ParsePlatformFilter parses [!]os/arch[/variant][:osversion], where each part may be "*" and "!"
// excludes: "linux/amd64", "linux/arm/v7", "linux/*", "windows/amd64:10.0.17763", "!windows/*".
func ParsePlatformFilter(s string) (InstancePlatformFilter, error) {
	p, err := platform.Parse(s)
	return InstancePlatformFilter(p), err
}

// String is what ParsePlatformFilter parses.
func (f InstancePlatformFilter) String() string { return platform.Pattern(f).String() }

// ImageListSelection says which instances of a list are copied. Its values are those of upstream's
// type of the same name.
type ImageListSelection int

const (
	// CopySystemImage copies the one image that suits the running system, as a single image, in
	// whichever list of the source it is.
	CopySystemImage ImageListSelection = iota
	// CopyAllImages copies the list and everything that it names.
	CopyAllImages
	// CopySpecificImages copies the list and the instances that are selected.
	CopySpecificImages
)

// Choices are the options of a copy that its plan depends on. Each field means what the field of
// the same name in package copy's Options means. The zero value has the defaults.
type Choices struct {
	ImageListSelection                                      ImageListSelection
	Instances                                               []digest.Digest
	InstanceIndexes                                         []int
	InstancePlatforms, OptionalPlatforms, RequiredPlatforms []InstancePlatformFilter
	SparseManifestListAction                                SparseManifestListAction
	Attestations                                            AttestationAction
	MissingInstances                                        MissingInstanceAction
	ChangedSubjects                                         ChangedSubjectAction
	SingleImage                                             SingleImageAction
	PlatformlessEntries                                     PlatformlessAction

	Referrers          ReferrerAction
	ReferrerTypes      []string
	DigestTags         bool
	DigestTagSuffixes  DigestTagSuffixes
	EntriesAsReferrers bool
	KeepVoid           bool
	WidenedChildTags   bool
	ListSignatures     ListSignatureAction
	AttachOriginal     bool

	RemoveSignatures, RemoveListSignatures bool
	PreserveDigests                        bool
	ForceManifestMIMEType                  string
}

// Validate checks what can be checked before anything is opened. The error is an *OptionsError.
func (o *Choices) Validate() error {
	for _, check := range []func() error{o.validateEnums, o.validateSelectors, o.validateFilters} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (o *Choices) validateEnums() error {
	switch {
	case o.ImageListSelection < CopySystemImage || o.ImageListSelection > CopySpecificImages:
		return &OptionsError{[]string{"ImageListSelection"}, fmt.Sprintf("unknown value %d", o.ImageListSelection)}
	case o.SparseManifestListAction < KeepSparseManifestList || o.SparseManifestListAction > AutoSparseManifestList:
		return &OptionsError{[]string{"SparseManifestListAction"}, fmt.Sprintf("unknown value %d", o.SparseManifestListAction)}
	case o.Attestations < DefaultAttestations || o.Attestations > KeepAllAttestations:
		return &OptionsError{[]string{"Attestations"}, fmt.Sprintf("unknown value %d", o.Attestations)}
	case o.Referrers < NoReferrers || o.Referrers > AllReferrers:
		return &OptionsError{[]string{"Referrers"}, fmt.Sprintf("unknown value %d", o.Referrers)}
	case o.Referrers == NoReferrers && len(o.ReferrerTypes) > 0:
		return &OptionsError{[]string{"ReferrerTypes", "Referrers"}, "types need AllReferrers"}
	case o.DigestTagSuffixes < CosignDigestTags || o.DigestTagSuffixes > AllDigestTags:
		return &OptionsError{[]string{"DigestTagSuffixes"}, fmt.Sprintf("unknown value %d", o.DigestTagSuffixes)}
	case o.DigestTagSuffixes != CosignDigestTags && !o.DigestTags:
		return &OptionsError{[]string{"DigestTagSuffixes", "DigestTags"}, "no digest tags are asked for"}
	case o.ListSignatures < WarnListSignatures || o.ListSignatures > GuardListSignatures:
		return &OptionsError{[]string{"ListSignatures"}, fmt.Sprintf("unknown value %d", o.ListSignatures)}
	case o.PlatformlessEntries < StripPlatformlessEntries || o.PlatformlessEntries > KeepPlatformlessEntries:
		return &OptionsError{[]string{"PlatformlessEntries"}, fmt.Sprintf("unknown value %d", o.PlatformlessEntries)}
	case o.ChangedSubjects < KeepChangedSubjects || o.ChangedSubjects > DropChangedSubjects:
		return &OptionsError{[]string{"ChangedSubjects"}, fmt.Sprintf("unknown value %d", o.ChangedSubjects)}
	case o.SingleImage < CheckSingleImage || o.SingleImage > CopySingleImage:
		return &OptionsError{[]string{"SingleImage"}, fmt.Sprintf("unknown value %d", o.SingleImage)}
	case o.MissingInstances < FailOnMissing || o.MissingInstances > SkipMissing:
		return &OptionsError{[]string{"MissingInstances"}, fmt.Sprintf("unknown value %d", o.MissingInstances)}
	}
	return nil
}

// validateSelectors refuses selectors that would have no effect. Upstream ignores Instances and
// InstancePlatforms outside CopySpecificImages, so those two are ignored here too.
func (o *Choices) validateSelectors() error {
	for _, d := range o.Instances {
		if err := d.Validate(); err != nil {
			return &OptionsError{[]string{"Instances"}, fmt.Sprintf("%q: %v", d, err)}
		}
	}
	for _, i := range o.InstanceIndexes {
		if i < 0 {
			return &OptionsError{[]string{"InstanceIndexes"}, fmt.Sprintf("negative position %d", i)}
		}
	}
	if o.ImageListSelection == CopySpecificImages {
		return nil
	}
	var stray []string
	if len(o.InstanceIndexes) > 0 {
		stray = append(stray, "InstanceIndexes")
	}
	if len(o.OptionalPlatforms) > 0 {
		stray = append(stray, "OptionalPlatforms")
	}
	if len(stray) > 0 {
		return &OptionsError{append(stray, "ImageListSelection"), "selectors need CopySpecificImages"}
	}
	return nil
}

func (o *Choices) validateFilters() error {
	for _, group := range []struct {
		name       string
		filters    []InstancePlatformFilter
		mayExclude bool
	}{
		{"InstancePlatforms", o.InstancePlatforms, true},
		{"OptionalPlatforms", o.OptionalPlatforms, false},
		{"RequiredPlatforms", o.RequiredPlatforms, false},
	} {
		for _, f := range group.filters {
			if err := platform.Pattern(f).Validate(); err != nil {
				return &OptionsError{[]string{group.name}, err.Error()}
			}
			if f.Exclude && !group.mayExclude {
				return &OptionsError{[]string{group.name}, fmt.Sprintf("%s excludes, which only InstancePlatforms can", f)}
			}
		}
	}
	return nil
}

// selects reports whether the options have a selector that takes part in the selection from a list.
func (o *Choices) selects() bool {
	return o.ImageListSelection == CopySpecificImages &&
		len(o.Instances)+len(o.InstancePlatforms)+len(o.OptionalPlatforms)+len(o.InstanceIndexes) > 0
}

// NeedsPlatform reports whether the plan of a single image needs Input.Platform.
func (o *Choices) NeedsPlatform() bool {
	return len(o.RequiredPlatforms) > 0 ||
		o.ImageListSelection == CopySpecificImages && o.SingleImage == CheckSingleImage && len(o.InstancePlatforms)+len(o.OptionalPlatforms) > 0
}

// Attaches reports whether anything attached is to be copied.
func (o *Choices) Attaches() bool {
	return o.Referrers != NoReferrers || o.DigestTags || o.EntriesAsReferrers
}

// CannotAttach returns the error of a copy that cannot copy what is attached, or attach anything,
// for a reason. It names the options that ask for that.
func (o *Choices) CannotAttach(reason string) error {
	var options []string
	for _, option := range []struct {
		name string
		set  bool
	}{{"Referrers", o.Referrers != NoReferrers}, {"DigestTags", o.DigestTags}, {"EntriesAsReferrers", o.EntriesAsReferrers}, {"AttachOriginal", o.AttachOriginal}} {
		if option.set {
			options = append(options, option.name)
		}
	}
	return &OptionsError{options, reason}
}

// dependOnRelations reports whether what is selected, or whether that is enough, depends on what
// entries are to each other.
func (o *Choices) dependOnRelations() bool {
	switch o.ImageListSelection {
	case CopyAllImages:
		return len(o.RequiredPlatforms) > 0 || o.MissingInstances == SkipMissing || o.Attestations == FollowSubject || o.Attestations == DropAttestations ||
			o.ChangedSubjects == DropChangedSubjects
	case CopySpecificImages:
		return o.Attestations != DefaultAttestations || o.ChangedSubjects == DropChangedSubjects || len(o.InstancePlatforms)+len(o.OptionalPlatforms)+len(o.RequiredPlatforms) > 0
	}
	return false
}

// follow reports whether what has the relation r to an entry follows that, if it is wanted;
// filtered is set if a platform filter selected the entry, or if it follows itself.
func (o *Choices) follow(r Relation, filtered bool) bool {
	switch {
	case !r.Follows():
		return false
	case o.Attestations == FollowSubject:
		return true
	case r == Describes && o.Attestations != DefaultAttestations:
		return false
	}
	return filtered
}
