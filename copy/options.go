package copy

import (
	"context"
	"io"
	"time"

	encconfig "github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/signing"
	"github.com/sparsecopy/sparsecopy/copy/internal/vouching"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// ErrDecryptParamsMissing is upstream's error of the same name. Upstream v5.41.2 returns it
// nowhere, and so it is not returned here: layers that OciDecryptConfig has no key for are an error
// of ocicrypt's.
var ErrDecryptParamsMissing = upstream.ErrDecryptParamsMissing

// ImageListSelection says which instances of a list are copied. It is upstream's type, so that
// programs which import both packages compile. It has no meaning when the source is a single image,
// nor when it is a list that names blobs, as a build cache does: all of that is copied.
type ImageListSelection = upstream.ImageListSelection

const (
	// CopySystemImage, the default, copies the one instance that suits the running system (or the
	// choices in Options.SourceCtx) as a single image. The destination gets that instance's digest,
	// and no list. Use it to fetch an image for use on this machine.
	CopySystemImage = upstream.CopySystemImage
	// CopyAllImages copies the list and everything that it names. The digest of the list stays.
	// Use it for a complete mirror.
	CopyAllImages = upstream.CopyAllImages
	// CopySpecificImages copies the list and the instances that Options.Instances,
	// InstancePlatforms and InstanceIndexes select; with no selector at all, only the list itself.
	// What becomes of the other entries, and so of the list's digest, is up to
	// Options.SparseManifestListAction. Use it for a mirror of some platforms.
	CopySpecificImages = upstream.CopySpecificImages
)

// OptionCompressionVariant is upstream's type.
type OptionCompressionVariant = upstream.OptionCompressionVariant

// Options are the choices of a copy. The zero value is useful, and so is a nil *Options. Image and
// Prepare read the struct once and do not change it; what its pointers, slices and channels refer
// to must not change while they run.
//
// Fields that upstream's Options have mean what they mean there. Fields that only exist here say
// so.
type Options struct {
	// RemoveSignatures copies no signature that the source has. New ones are made all the same.
	RemoveSignatures bool
	// RemoveListSignatures copies no signature of a list, only those of its instances. Refused when
	// no list is copied.
	RemoveListSignatures bool

	// Signers make new signatures of every image that is copied, and of every list. They are not
	// closed. The copies of a Copier may share them, and take turns; other copies may have them one
	// after another. What a Signer has signed it does not tell: what was at the destination before
	// is left alone if it has a signature, whoever made it, that names its digest and the identity.
	// That is no proof of anything; see AlwaysSign.
	Signers []*signer.Signer
	// SignBy is the ID of a GPG key that signs the copy. It needs a program that was built with
	// cgo, the GPGME library, and without the tag containers_image_openpgp. What was
	// at the destination before, or is carried, with a signature of the key for the identity is not
	// signed again.
	SignBy string
	// SignPassphrase is the passphrase of the key SignBy.
	SignPassphrase string
	// SignBySigstorePrivateKeyFile is the path of a sigstore private key that signs the copy. What
	// was at the destination before, or is carried, with a signature of the key for the identity is
	// not signed again.
	SignBySigstorePrivateKeyFile string
	// SignSigstorePrivateKeyPassphrase is the passphrase of that key.
	SignSigstorePrivateKeyPassphrase []byte
	// SignIdentity is the identity in new signatures; nil means the docker reference of the
	// destination.
	SignIdentity reference.Named

	// ReportWriter gets lines of progress for people; nil means none. Its errors are ignored. If it
	// is a terminal (an *os.File; not on Windows, and not if $TERM is "dumb"), blobs in flight are
	// drawn as bars below the lines, and each leaves one line behind. Copies that have the same
	// *os.File at the same time, those of Images among them, share the picture. No copy waits for a
	// terminal, but for a second at its end. Where the work goes to upstream's copy, upstream
	// draws, and no other copy should use the terminal meanwhile; in Images it writes lines only.
	ReportWriter io.Writer
	// SourceCtx and DestinationCtx configure the two ends; nil means the defaults of
	// containers/image.
	SourceCtx      *types.SystemContext
	DestinationCtx *types.SystemContext
	// ProgressInterval is the least time between two ProgressEventRead of one blob.
	ProgressInterval time.Duration
	// Progress gets events for each distinct blob, if ProgressInterval is positive too. It is not
	// closed. The copy waits for the reader.
	Progress chan types.ProgressProperties

	// PreserveDigests fails the copy if a manifest or list would have to change.
	PreserveDigests bool
	// ForceManifestMIMEType converts manifests to that type; empty means that they stay as they
	// are, if they can.
	ForceManifestMIMEType string
	// ImageListSelection says which instances of a list are copied.
	ImageListSelection ImageListSelection
	// Instances selects instances by digest, in every list of the tree; a nested list is selected
	// with all that it names. Digests that no list names are reported in Plan.NotListed; if no
	// selector matches anything, the copy fails with a *NoMatchError. Only with CopySpecificImages.
	Instances []digest.Digest
	// InstancePlatforms selects instances by platform, in every list of the tree. If there are
	// exclusions and no other selector, everything else is selected. Only with CopySpecificImages.
	InstancePlatforms []InstancePlatformFilter
	// SparseManifestListAction says what becomes of the entries of what is not copied.
	SparseManifestListAction SparseManifestListAction
	// PreferGzipInstances says whether CopySystemImage prefers an instance with gzip layers to its
	// zstd twin. What accelerates an image is never chosen.
	PreferGzipInstances types.OptionalBool

	// OciEncryptConfig and OciEncryptLayers encrypt layers: all if the slice is empty, those with
	// these positions otherwise (-1 is the last).
	OciEncryptConfig *encconfig.EncryptConfig
	OciEncryptLayers *[]int
	// OciDecryptConfig decrypts encrypted layers.
	OciDecryptConfig *encconfig.DecryptConfig

	// ConcurrentBlobCopiesSemaphore limits what is in flight over all the copies that share it,
	// connections to large blobs included. MaxParallelDownloads is ignored then.
	ConcurrentBlobCopiesSemaphore *semaphore.Weighted
	// MaxParallelDownloads limits what this copy has in flight: blobs, manifests and questions to
	// either end. 0 means 32, or twice as many if they are small: of blobs, those of up to 256 KiB.
	// For the copies of a Copier, CopierOptions says it.
	MaxParallelDownloads uint

	// OptimizeDestinationImageAlreadyExists is subsumed: what is at the destination is always
	// looked for first, where the destination can tell. Where the work goes to upstream's copy, it
	// means what it means there.
	OptimizeDestinationImageAlreadyExists bool
	// DownloadForeignLayers downloads layers that may not be distributed, and changes their media
	// type accordingly.
	DownloadForeignLayers bool
	// EnsureCompressionVariantsExist adds, for each platform of a list, variants with these
	// compressions that the list lacks, made of the first image for the platform that is copied.
	// Attestations and artifacts are no platforms, and an image that is signed has no variants.
	// Entries whose images need zstd are marked and, if something is added, come last; they are not
	// if nothing else keeps AttachOriginal from proving the list.
	EnsureCompressionVariantsExist []OptionCompressionVariant
	// ForceCompressionFormat compresses everything with DestinationCtx.CompressionFormat, and
	// reuses nothing else.
	ForceCompressionFormat bool

	// ReportResolvedReference receives a more detailed reference to what was created, or nil where
	// the transport has none.
	ReportResolvedReference *types.ImageReference
	// DestinationTimestamp is given to what is created, where the transport can do so.
	DestinationTimestamp *time.Time

	// The following fields are not upstream's.

	// PreviousPublicKeyFiles are the public keys, in PEM format, of those that
	// SignBySigstorePrivateKeyFile has replaced: what they have signed is not signed again. Once
	// nobody accepts them any more, leave them out.
	PreviousPublicKeyFiles []string
	// AlwaysSign makes new signatures also of what has some by the same keys already, as upstream
	// does: with every run, there is one more of each.
	AlwaysSign bool
	// InstanceIndexes selects entries of the top-level list by position, from 0, for entries that
	// share a digest. A nested list is selected with all that it names. Only with
	// CopySpecificImages.
	InstanceIndexes []int
	// OptionalPlatforms are like InstancePlatforms, but may match nothing: Report.Warnings says so.
	// If nothing else is selected, one of them must match. Only with CopySpecificImages.
	OptionalPlatforms []InstancePlatformFilter
	// RequiredPlatforms must each match an instance that is selected, and everything that they
	// match and that is selected must be there, or the copy fails with a *RequiredError before
	// anything is written. They select nothing.
	RequiredPlatforms []InstancePlatformFilter
	// Attestations says which attestations are copied, and what accelerates images.
	Attestations AttestationAction
	// MissingInstances says what a selected instance that the source does not have means.
	MissingInstances MissingInstanceAction
	// ChangedSubjects says what becomes of attestations, referrers and digest tags of an image that
	// is another one at the destination.
	ChangedSubjects ChangedSubjectAction
	// SingleImage says what platform filters mean for a source that is a single image.
	SingleImage SingleImageAction
	// PlatformlessEntries says what platform filters mean for entries that have no platform.
	PlatformlessEntries PlatformlessAction
	// Referrers says which referrers of what is copied are copied too. Between registries and OCI
	// layouts only. The policy does not judge them: what they sign or describe was judged, and who
	// reads them judges them.
	Referrers ReferrerAction
	// ReferrerTypes are the artifact types of the referrers that are copied, at every level:
	// without that of the signatures, an SBOM comes without its own. Empty means all.
	ReferrerTypes []string
	// DigestTags copies what tags name that are named after the digest of a list, image or referrer
	// that is copied: cosign's, sha256-<hex>.sig, .att and .sbom, or, if DigestTagSuffixes says so,
	// all. Signatures and attestations that the destination has besides stay: see
	// docs/attachments.md. RemoveSignatures, and RemoveListSignatures for lists, leave .sig out.
	// Between registries and OCI layouts only.
	DigestTags bool
	// ReferrersFrom is another repository that has referrers and digest tags of what is copied, nil
	// for none. It needs Referrers or DigestTags.
	ReferrersFrom *ReferrersSource
	// EntriesAsReferrers makes what is copied as an entry of a list, and states something else that
	// is copied as its subject, known as a referrer of that: the attestations of BuildKit. A
	// registry with the referrers API does that by itself; any other gets the referrers tag, to
	// which the OCI distribution specification obliges whoever pushes such a manifest. What the tag
	// lists already stays. It costs a request for each manifest of the list, and one for each
	// subject, also if nothing is left to do. Between registries and OCI layouts only.
	EntriesAsReferrers bool
	// DigestTagSuffixes says which digest tags are copied, if DigestTags is set: cosign's, or all.
	DigestTagSuffixes DigestTagSuffixes
	// ListSignatures says what it means for a list that would be stripped that signatures are
	// attached to it at the source, a registry or an OCI layout. They are looked for while the
	// images' manifests are read, unless RemoveSignatures or RemoveListSignatures is set; not if
	// the destination has the stripped list already.
	ListSignatures ListSignatureAction
	// KeepVoid copies referrers and digest tags of a list also if the list changes, so that the
	// destination does not have what they name.
	KeepVoid bool
	// AttachOriginal lets whoever has a stripped list prove what it was made of: the list as its
	// publisher signed it travels along, with the lists nested in it and its signatures, as
	// referrers of the stripped one. Signatures are also kept as they were, where the destination
	// takes them, for other tools. A signed list may be stripped then, if it loses entries and
	// changes in no other way: nothing is void that can still be verified.
	//
	// The destination has to be a registry, an OCI layout or a bundle. If it refuses the artifacts,
	// the copy fails, and the reference names what it named before. RemoveSignatures and
	// RemoveListSignatures leave the signatures behind. A list that is not stripped gets nothing.
	//
	// Keys then sign nothing but what is stripped of a list that is judged to be signed, by the
	// policy or by BundleVerifier: see VerifierID, and Report.Vouched.
	AttachOriginal bool
	// VerifierID is a URI that names this mirror. It is required, and of use, with AttachOriginal
	// and SignBySigstorePrivateKeyFile: then the key signs a list that was stripped, and its
	// images, and attaches to it two sigstore bundles, a signature and a SLSA verification summary,
	// if the list at the source is judged to be signed, as what the source's reference names. What
	// a bundle says already is not said again. Use the key for nothing else: cosign accepts any
	// bundle by a key as a signature.
	VerifierID string
	// OriginPolicy judges the signatures of the list for that; nil means the policy of the copy. It
	// is needed where the publisher signs lists and not their images, each of which the policy of
	// the copy has to accept. It must not be used concurrently elsewhere, and is not destroyed.
	OriginPolicy *signature.PolicyContext
	// PolicyURI and PolicyDigest are what the summary says of the policy, if it is not to be the
	// digest of the policy's JSON, in which keys are file names, and a URI with that. Who judges by
	// a BundleVerifier, too, should say it.
	PolicyURI    string
	PolicyDigest digest.Digest
	// BundleVerifier judges sigstore bundles, which policies cannot; nil judges none. Only with
	// AttachOriginal.
	BundleVerifier BundleVerifier
	// WidenedChildTags tags each child sha256-<hex>.child that is added to a list which is at the
	// destination already, where the registry does not keep such children otherwise: Quay, and any
	// that announces that it takes sparse lists, and not widening. Without it, the copy fails with
	// a *WidenError there before anything is written. If the registry does not answer that
	// question, the tags are made, or there is a warning; a 400, 404 or 405, or a page, is the
	// answer of one that announces nothing. Elsewhere it has no effect.
	WidenedChildTags bool
	// AnnotateTransformed has entries of lists say what images were made of that were transformed.
	// Copies that set it find results by that where they remember nothing themselves: they believe
	// what the destination's list says, unless they sign. See docs/library.md.
	AnnotateTransformed bool
	// CheckBlobs asks the destination for every blob of instances that are there already, and
	// copies what is absent. Without it, an instance whose manifest is there counts as complete.
	CheckBlobs bool
	// Earlier is what an earlier copy with the same options has left, nil for nothing known. It is
	// believed: see Earlier.
	Earlier *Earlier
	// Recheck looks at the destination whatever Earlier says: it is asked for every child, and what
	// its reference names is read once and hashed. What it has lost is copied again.
	Recheck bool
	// CompareDestination lets Prepare ask the destination what is there already, so that the plan
	// is about what remains. Image always compares, where the destination can tell. Ignored by
	// transports that cannot be opened without changing them (dir:).
	CompareDestination bool
	// Replacing, if not nil, is asked by Image before anything is copied, where the destination's
	// reference is known to name something else than what plan makes of it: named. Its error ends
	// the copy, and is returned.
	Replacing func(ctx context.Context, named digest.Digest, plan *Plan) error
	// Overview shows this copy together with others; nil means that nobody looks.
	Overview *Overview
	// Report is filled in by Image, also when it fails; nil means that nobody wants it.
	Report *Report
}

// A ReferrersSource is a repository with attachments of images that are elsewhere, as those of
// Docker Hardened Images and what was signed with COSIGN_REPOSITORY are. It is asked besides the
// source. What both have is read from the source; of two digest tags of one name that cannot be
// merged, the source's is copied, with a warning. A repository that is not there has nothing; one
// that does not answer is an error, at ReferrersSide.
//
// Nothing that an image or list says leads there, only the caller does; and whether an image is
// accepted is for the source's signatures alone to say.
type ReferrersSource struct {
	// Reference names the repository, docker://…; its tag or digest does not matter.
	Reference types.ImageReference
	// SystemContext configures how it is reached; nil means the defaults. Credentials of the source
	// are not used.
	SystemContext *types.SystemContext
}

// An Overview shows people how far several copies have come, all together: see NewOverview.
type Overview = progress.Overview

// OverviewOptions say what an Overview shows, and where.
type OverviewOptions = progress.OverviewOptions

// Totals are what an Overview has counted.
type Totals = progress.Totals

// NewOverview begins to show what the copies do whose Options will name it. The caller must Close
// it, when they have ended.
func NewOverview(options OverviewOptions) *Overview { return progress.NewOverview(options) }

// FormatBytes returns a number of bytes for people, as progress shows it: "1.5 kB", "204 MB".
func FormatBytes(n int64) string { return prose.Bytes(n) }

// validate checks what can be checked before anything is opened.
func (o *Options) validate() error {
	choices := o.choices()
	if err := choices.Validate(); err != nil {
		return err
	}
	if err := o.validateReferrersFrom(); err != nil {
		return err
	}
	if err := o.vouching().Validate(o.AttachOriginal, o.SignBySigstorePrivateKeyFile != ""); err != nil {
		return err
	}
	return o.validateCompression()
}

func (o *Options) validateReferrersFrom() error {
	switch from := o.ReferrersFrom; {
	case from == nil:
		return nil
	case o.Referrers == NoReferrers && !o.DigestTags:
		return &OptionsError{Options: []string{"ReferrersFrom"}, Reason: "it needs Referrers or DigestTags"}
	case from.Reference == nil || access.TransportOf(from.Reference) != "docker":
		return &OptionsError{Options: []string{"ReferrersFrom"}, Reason: "it has to name a repository of a registry, docker://REPOSITORY"}
	}
	return nil
}

func (o *Options) validateCompression() error {
	if o.ForceCompressionFormat && (o.DestinationCtx == nil || o.DestinationCtx.CompressionFormat == nil) {
		return &OptionsError{Options: []string{"ForceCompressionFormat"}, Reason: "needs DestinationCtx.CompressionFormat"}
	}
	return nil
}

// signing returns the options that say who signs what is copied.
func (o *Options) signing() signing.Options {
	return signing.Options{
		Signers: o.Signers, SignBy: o.SignBy, SignPassphrase: o.SignPassphrase,
		SignBySigstorePrivateKeyFile: o.SignBySigstorePrivateKeyFile, SignSigstorePrivateKeyPassphrase: o.SignSigstorePrivateKeyPassphrase,
		SignIdentity: o.SignIdentity, AlwaysSign: o.AlwaysSign, PreviousPublicKeyFiles: o.PreviousPublicKeyFiles,
	}
}

// vouching returns the options that say what is said of what is stripped.
func (o *Options) vouching() vouching.Options {
	return vouching.Options{
		VerifierID: o.VerifierID, OriginPolicy: o.OriginPolicy, PolicyURI: o.PolicyURI, PolicyDigest: o.PolicyDigest, BundleVerifier: o.BundleVerifier,
	}
}

// progress says who wants to know how far the copy has come.
func (o *Options) progress(c Clock) progress.Options {
	return progress.Options{Writer: o.ReportWriter, Events: o.Progress, Interval: o.ProgressInterval, Overview: o.Overview, Clock: c}
}

// choices returns the options that a plan depends on.
func (o *Options) choices() plan.Choices {
	return plan.Choices{
		ImageListSelection: plan.ImageListSelection(o.ImageListSelection),
		Instances:          o.Instances, InstanceIndexes: o.InstanceIndexes,
		InstancePlatforms: o.InstancePlatforms, OptionalPlatforms: o.OptionalPlatforms, RequiredPlatforms: o.RequiredPlatforms,
		SparseManifestListAction: o.SparseManifestListAction, Attestations: o.Attestations, MissingInstances: o.MissingInstances, ChangedSubjects: o.ChangedSubjects, SingleImage: o.SingleImage, PlatformlessEntries: o.PlatformlessEntries,
		Referrers: o.Referrers, ReferrerTypes: o.ReferrerTypes, DigestTags: o.DigestTags, DigestTagSuffixes: o.DigestTagSuffixes,
		EntriesAsReferrers: o.EntriesAsReferrers, AttachOriginal: o.AttachOriginal, KeepVoid: o.KeepVoid, WidenedChildTags: o.WidenedChildTags, ListSignatures: o.ListSignatures,
		RemoveSignatures: o.RemoveSignatures, RemoveListSignatures: o.RemoveListSignatures,
		PreserveDigests: o.PreserveDigests, ForceManifestMIMEType: o.ForceManifestMIMEType,
	}
}
