package copy

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	encconfig "github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/platform"
)

// ErrDecryptParamsMissing is upstream's error of the same name. Upstream v5.41.2 returns it nowhere, and so it is not returned here: layers
// that OciDecryptConfig has no key for are an error of ocicrypt's.
var ErrDecryptParamsMissing = upstream.ErrDecryptParamsMissing

// ImageListSelection says which instances of a list are copied. It is upstream's type, so that programs which import both packages
// compile. It has no meaning when the source is a single image.
type ImageListSelection = upstream.ImageListSelection

const (
	// CopySystemImage, the default, copies the one instance that suits the running system (or the choices in
	// Options.SourceCtx) as a single image. The destination gets that instance's digest, and no list.
	// Use it to fetch an image for use on this machine.
	CopySystemImage = upstream.CopySystemImage
	// CopyAllImages copies the list and everything that it names. The digest of the list stays.
	// Use it for a complete mirror.
	CopyAllImages = upstream.CopyAllImages
	// CopySpecificImages copies the list and the instances that Options.Instances, InstancePlatforms and InstanceIndexes
	// select; with no selector at all, only the list itself. What becomes of the other entries, and so of the list's digest, is up to
	// Options.SparseManifestListAction.
	// Use it for a mirror of some platforms.
	CopySpecificImages = upstream.CopySpecificImages
)

// SparseManifestListAction says what becomes of the entries of a list whose instances are not copied. Keep and Strip have
// upstream's numeric values.
type SparseManifestListAction int

const (
	// KeepSparseManifestList, the default, removes no entry: the list keeps its bytes and its digest, and signatures and deployments
	// that pin the digest stay valid. The list names instances that are absent at the destination, which many registries refuse.
	// Use it when the registry accepts sparse lists, or when the digest must not change.
	KeepSparseManifestList SparseManifestListAction = iota
	// StripSparseManifestList removes the entries of what is not copied. The list gets a new digest, the same one on every
	// machine and in every release; everything else in the document stays byte for byte what it was. If every entry is copied, nothing
	// changes. It is refused, with a *CannotModifyError, where the list must not change.
	// Use it when the registry refuses sparse lists and nothing pins the list's digest.
	StripSparseManifestList
	// AutoSparseManifestList keeps the list if the destination takes it, and strips it if the registry refuses sparse
	// lists, and only then; the report says which, and why. The digest stays if and only if the list was kept.
	// Use it when one program serves registries of both kinds.
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

// AttestationAction says which attestations of a list are copied: the entries that describe another entry, their subject, which
// BuildKit's annotation vnd.docker.reference.digest names.
type AttestationAction int

const (
	// DefaultAttestations, the default, lets attestations follow subjects that were selected by a platform filter. What CopyAllImages
	// copies includes every attestation; selections by digest or position are taken literally. Where ForceManifestMIMEType is one of
	// Docker's, to which no attestation can be converted, none follows.
	// Use it unless you have a reason not to.
	DefaultAttestations AttestationAction = iota
	// FollowSubject copies an attestation if and only if its subject in the same list is copied, however that was selected, or if
	// Instances or InstanceIndexes name it.
	// Use it with selections by digest or position.
	FollowSubject
	// DropAttestations copies no attestation but those that Instances or InstanceIndexes name.
	// Use it when nothing at the destination reads attestations.
	DropAttestations
	// KeepAllAttestations copies every attestation of every list that is copied, whatever became of its subject.
	// Use it to keep the provenance of platforms that are not mirrored.
	KeepAllAttestations
)

// MissingInstanceAction says what a selected instance that the source definitely does not have means. Refused access and
// server errors never count as missing.
type MissingInstanceAction int

const (
	// FailOnMissing, the default, fails with a *MissingError before anything is written.
	// Use it when the source is supposed to be complete.
	FailOnMissing MissingInstanceAction = iota
	// SkipMissing leaves missing instances out: stripped from the list under Strip, still listed under Keep, and reported apart from what
	// was not selected.
	// Use it for sources that are sparse themselves, such as another mirror.
	SkipMissing
)

// InstancePlatformFilter selects instances by platform. Spellings are normalised before they are compared (x86_64 is amd64, aarch64
// is arm64, arm64/v8 is arm64); a variant is never filled in, so {linux, arm} means every arm.
//
// Filters look at images, also at those in nested lists, and at attestations only if they spell out unknown/unknown.
type InstancePlatformFilter struct {
	// OS and Architecture, such as "linux" and "amd64"; "*" matches any. Both empty match an entry without a platform.
	OS           string
	Architecture string
	// Variant, such as "v7". Empty or "*" matches anything.
	Variant string
	// OSVersion, such as "10.0.17763", which also matches 10.0.17763.1. Empty or "*" matches anything.
	OSVersion string
	// OSFeatures that an entry must have, all of them. Empty matches anything.
	OSFeatures []string
	// Exclude turns the filter around: what matches is not copied, whatever else selects it.
	Exclude bool
}

// ParsePlatformFilter parses [!]os/arch[/variant][:osversion], where each part may be "*" and "!" excludes: "linux/amd64",
// "linux/arm/v7", "linux/*", "windows/amd64:10.0.17763", "!windows/*".
func ParsePlatformFilter(s string) (InstancePlatformFilter, error) {
	p, err := platform.Parse(s)
	return InstancePlatformFilter(p), err
}

// String is what ParsePlatformFilter parses.
func (f InstancePlatformFilter) String() string { return platform.Pattern(f).String() }

// OptionCompressionVariant is upstream's type.
type OptionCompressionVariant = upstream.OptionCompressionVariant

// Options are the choices of a copy. The zero value is useful, and so is a nil *Options. Image and Prepare read the struct
// once and do not change it; what its pointers, slices and channels refer to must not change while they run.
//
// Fields that upstream's Options have mean what they mean there. Fields that only exist here say so.
type Options struct {
	// RemoveSignatures copies no signature that the source has. New ones are made all the same.
	RemoveSignatures bool
	// RemoveListSignatures copies no signature of a list, only those of its instances. Refused when no list is copied.
	RemoveListSignatures bool

	// Signers make new signatures. They are not closed, and may serve several copies one after another.
	Signers []*signer.Signer
	// SignBy is the ID of a GPG key that signs the copy.
	SignBy string
	// SignPassphrase is the passphrase of the key SignBy.
	SignPassphrase string
	// SignBySigstorePrivateKeyFile is the path of a sigstore private key that signs the copy.
	SignBySigstorePrivateKeyFile string
	// SignSigstorePrivateKeyPassphrase is the passphrase of that key.
	SignSigstorePrivateKeyPassphrase []byte
	// SignIdentity is the identity in new signatures; nil means the docker reference of the destination.
	SignIdentity reference.Named

	// ReportWriter gets lines of progress for people; nil means none. Its errors are ignored. If it is a terminal (an *os.File; not on
	// Windows, and not if $TERM is "dumb"), blobs in flight are drawn as bars below the lines, and each leaves one line behind. Copies that have
	// the same *os.File at the same time, those of Images among them, share the picture. No copy waits for a terminal, but for a second
	// at its end. Where the work goes to upstream's copy, upstream draws, and no other copy should use the terminal meanwhile; in Images
	// it writes lines only.
	ReportWriter io.Writer
	// SourceCtx and DestinationCtx configure the two ends; nil means the defaults of containers/image.
	SourceCtx      *types.SystemContext
	DestinationCtx *types.SystemContext
	// ProgressInterval is the least time between two ProgressEventRead of one blob.
	ProgressInterval time.Duration
	// Progress gets events for each distinct blob, if ProgressInterval is positive too. It is not closed. The copy waits for the reader.
	Progress chan types.ProgressProperties

	// PreserveDigests fails the copy if a manifest or list would have to change.
	PreserveDigests bool
	// ForceManifestMIMEType converts manifests to that type; empty means that they stay as they are, if they can.
	ForceManifestMIMEType string
	// ImageListSelection says which instances of a list are copied.
	ImageListSelection ImageListSelection
	// Instances selects instances by digest, in every list of the tree; a nested list is selected with all that it names. Digests that
	// no list names are reported in Plan.NotListed; if no selector matches anything, the copy fails with a *NoMatchError.
	// Only with CopySpecificImages.
	Instances []digest.Digest
	// InstancePlatforms selects instances by platform, in every list of the tree. If there are exclusions and no other
	// selector, everything else is selected. Only with CopySpecificImages.
	InstancePlatforms []InstancePlatformFilter
	// SparseManifestListAction says what becomes of the entries of what is not copied.
	SparseManifestListAction SparseManifestListAction
	// PreferGzipInstances says whether CopySystemImage prefers an instance with gzip layers to its zstd twin.
	PreferGzipInstances types.OptionalBool

	// OciEncryptConfig and OciEncryptLayers encrypt layers: all if the slice is empty, those with these positions otherwise (-1 is the last).
	OciEncryptConfig *encconfig.EncryptConfig
	OciEncryptLayers *[]int
	// OciDecryptConfig decrypts encrypted layers.
	OciDecryptConfig *encconfig.DecryptConfig

	// ConcurrentBlobCopiesSemaphore limits what is in flight over all the copies that share it. MaxParallelDownloads is ignored then.
	ConcurrentBlobCopiesSemaphore *semaphore.Weighted
	// MaxParallelDownloads limits what this copy has in flight: blobs, manifests and questions to either end. 0 means 32,
	// or twice as many if they are small: of blobs, those of up to 256 KiB.
	MaxParallelDownloads uint

	// OptimizeDestinationImageAlreadyExists is subsumed: what is at the destination is always looked for first, where
	// the destination can tell. Where the work goes to upstream's copy, it means what it means there.
	OptimizeDestinationImageAlreadyExists bool
	// DownloadForeignLayers downloads layers that may not be distributed, and changes their media type accordingly.
	DownloadForeignLayers bool
	// EnsureCompressionVariantsExist adds, for each platform of a list, variants with these compressions.
	EnsureCompressionVariantsExist []OptionCompressionVariant
	// ForceCompressionFormat compresses everything with DestinationCtx.CompressionFormat, and reuses nothing else.
	ForceCompressionFormat bool

	// ReportResolvedReference receives a more detailed reference to what was created, or nil where the transport has none.
	ReportResolvedReference *types.ImageReference
	// DestinationTimestamp is given to what is created, where the transport can do so.
	DestinationTimestamp *time.Time

	// The following fields are not upstream's.

	// InstanceIndexes selects entries of the top-level list by position, from 0, for entries that share a digest. A nested list
	// is selected with all that it names. Only with CopySpecificImages.
	InstanceIndexes []int
	// OptionalPlatforms are like InstancePlatforms, but may match nothing: Report.Warnings says so. If nothing else is selected, one
	// of them must match. Only with CopySpecificImages.
	OptionalPlatforms []InstancePlatformFilter
	// RequiredPlatforms must each match an instance that is selected, and everything that they match and that is selected must be
	// there, or the copy fails with a *RequiredError before anything is written. They select nothing.
	RequiredPlatforms []InstancePlatformFilter
	// Attestations says which attestations are copied.
	Attestations AttestationAction
	// MissingInstances says what a selected instance that the source does not have means.
	MissingInstances MissingInstanceAction
	// Referrers says which referrers of what is copied are copied too. Between registries and OCI layouts only. The policy does not judge
	// them: what they sign or describe was judged, and who reads them judges them.
	Referrers ReferrerAction
	// ReferrerTypes are the artifact types of the referrers that are copied, at every level: without that of the signatures, an SBOM comes
	// without its own. Empty means all.
	ReferrerTypes []string
	// DigestTags copies what cosign's tags sha256-<hex>.sig, .att and .sbom name, for every list, image and referrer that is copied.
	// Signatures and attestations that the destination has besides stay: see docs/attachments.md. RemoveSignatures, and
	// RemoveListSignatures for lists, leave .sig out. Between registries and OCI layouts only.
	DigestTags bool
	// ListSignatures says what it means for a list that would be stripped that signatures are attached to it at the source, a registry or
	// an OCI layout. They are looked for while the images' manifests are read, unless RemoveSignatures or RemoveListSignatures is set;
	// not if the destination has the stripped list already.
	ListSignatures ListSignatureAction
	// KeepVoid copies referrers and digest tags of a list also if the list changes, so that the destination does not have what they
	// name.
	KeepVoid bool
	// WidenedChildTags tags each child sha256-<hex>.child that is added to a list which is at the destination already, where the registry does
	// not keep such children otherwise: Quay, and any that announces that it takes sparse lists, and not widening. Without it, the copy fails with a
	// *WidenError there before anything is written. Elsewhere it has no effect.
	WidenedChildTags bool
	// CheckBlobs asks the destination for every blob of instances that are there already, and copies what is absent. Without it,
	// an instance whose manifest is there counts as complete.
	CheckBlobs bool
	// CompareDestination lets Prepare ask the destination what is there already, so that the plan is about what remains. Image always
	// compares, where the destination can tell. Ignored by transports that cannot be opened without changing them (dir:).
	CompareDestination bool
	// Report is filled in by Image, also when it fails; nil means that nobody wants it.
	Report *Report
}

// OptionsError says that options are invalid by themselves, together, or for what is to be copied, or where to. Nothing has been
// written.
// Correct the call.
type OptionsError struct {
	Options []string // names of the fields
	Reason  string
}

func (e *OptionsError) Error() string {
	return fmt.Sprintf("invalid options: %s: %s", joinAnd(e.Options), e.Reason)
}

// validate checks what can be checked before anything is opened.
func (o *Options) validate() error {
	for _, check := range []func() error{o.validateEnums, o.validateSelectors, o.validateFilters, o.validateCompression} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) validateEnums() error {
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
	case o.ListSignatures < WarnListSignatures || o.ListSignatures > GuardListSignatures:
		return &OptionsError{[]string{"ListSignatures"}, fmt.Sprintf("unknown value %d", o.ListSignatures)}
	case o.MissingInstances < FailOnMissing || o.MissingInstances > SkipMissing:
		return &OptionsError{[]string{"MissingInstances"}, fmt.Sprintf("unknown value %d", o.MissingInstances)}
	}
	return nil
}

// validateSelectors refuses selectors that would have no effect. Upstream ignores Instances and InstancePlatforms
// outside CopySpecificImages, so those two are ignored here too.
func (o *Options) validateSelectors() error {
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

func (o *Options) validateFilters() error {
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

func (o *Options) validateCompression() error {
	if o.ForceCompressionFormat && (o.DestinationCtx == nil || o.DestinationCtx.CompressionFormat == nil) {
		return &OptionsError{[]string{"ForceCompressionFormat"}, "needs DestinationCtx.CompressionFormat"}
	}
	return nil
}

// defaultParallel is the number of blobs in flight when the caller names none; of small ones, manifests and questions slotWeight times as
// many.
const defaultParallel = 32

// budget returns a semaphore that everything in flight can be counted by.
func (o *Options) budget() *semaphore.Weighted {
	if o.MaxParallelDownloads > 0 {
		return semaphore.NewWeighted(int64(min(o.MaxParallelDownloads, math.MaxInt32)))
	}
	return semaphore.NewWeighted(defaultParallel * slotWeight)
}

// sorted returns the elements of s in order, s unchanged.
func sorted[S ~string](s []S) []S {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
