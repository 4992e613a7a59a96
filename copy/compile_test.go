package copy_test

import (
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	upstream "go.podman.io/image/v5/copy"
	dockerref "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// This file is a program written against the package as it was while the planner was part of it. It
// uses every exported name, field and method of that time, with the types that they had, and must
// go on compiling. What has come since need not be here. Nothing is to be taken out.

// TestConstants checks the values that programs have stored, or compare with upstream's.
func TestConstants(t *testing.T) {
	for _, c := range []struct{ is, was any }{
		{copy.DefaultAttestations, copy.AttestationAction(0)},
		{copy.FollowSubject, copy.AttestationAction(1)},
		{copy.DropAttestations, copy.AttestationAction(2)},
		{copy.KeepAllAttestations, copy.AttestationAction(3)},
		{copy.CheckedBlobs, copy.CheckLevel("blobs")},
		{copy.CheckedChildren, copy.CheckLevel("children")},
		{copy.CheckedList, copy.CheckLevel("list")},
		{copy.Copy, copy.Decision("copy")},
		{copy.Skip, copy.Decision("skip")},
		{copy.KeepEntry, copy.EntryDecision("keep")},
		{copy.StripEntry, copy.EntryDecision("strip")},
		{copy.UpdateEntry, copy.EntryDecision("update")},
		{copy.Kept, copy.EntryOutcome("kept")},
		{copy.Stripped, copy.EntryOutcome("stripped")},
		{copy.Updated, copy.EntryOutcome("updated")},
		{copy.CopySystemImage, upstream.ImageListSelection(0)},
		{copy.CopyAllImages, upstream.ImageListSelection(1)},
		{copy.CopySpecificImages, upstream.ImageListSelection(2)},
		{copy.KeepChangedSubjects, copy.ChangedSubjectAction(0)},
		{copy.DropChangedSubjects, copy.ChangedSubjectAction(1)},
		{copy.WarnListSignatures, copy.ListSignatureAction(0)},
		{copy.GuardListSignatures, copy.ListSignatureAction(1)},
		{copy.FailOnMissing, copy.MissingInstanceAction(0)},
		{copy.SkipMissing, copy.MissingInstanceAction(1)},
		{copy.CheckSingleImage, copy.SingleImageAction(0)},
		{copy.CopySingleImage, copy.SingleImageAction(1)},
		{copy.KindArtifact, "artifact"},
		{copy.StripPlatformlessEntries, copy.PlatformlessAction(0)},
		{copy.KeepPlatformlessEntries, copy.PlatformlessAction(1)},
		{copy.ReasonPlatformless, copy.ReasonCode("platformless")},
		{copy.Copied, copy.Outcome("copied")},
		{copy.Present, copy.Outcome("present")},
		{copy.Skipped, copy.Outcome("skipped")},
		{copy.ReasonAll, copy.ReasonCode("all")},
		{copy.ReasonContains, copy.ReasonCode("contains")},
		{copy.ReasonDigest, copy.ReasonCode("digest")},
		{copy.ReasonDropped, copy.ReasonCode("dropped")},
		{copy.ReasonEntry, copy.ReasonCode("entry")},
		{copy.ReasonExcluded, copy.ReasonCode("excluded")},
		{copy.ReasonFollows, copy.ReasonCode("follows")},
		{copy.ReasonIndex, copy.ReasonCode("index")},
		{copy.ReasonKept, copy.ReasonCode("kept")},
		{copy.ReasonMissing, copy.ReasonCode("missing")},
		{copy.ReasonNotSelected, copy.ReasonCode("not-selected")},
		{copy.ReasonOrphaned, copy.ReasonCode("orphaned")},
		{copy.ReasonPlatform, copy.ReasonCode("platform")},
		{copy.ReasonSingle, copy.ReasonCode("single")},
		{copy.ReasonSubject, copy.ReasonCode("subject")},
		{copy.ReasonSystem, copy.ReasonCode("system")},
		{copy.ReasonType, copy.ReasonCode("type")},
		{copy.ReasonVoid, copy.ReasonCode("void")},
		{copy.ReasonWithin, copy.ReasonCode("within")},
		{copy.NoReferrers, copy.ReferrerAction(0)},
		{copy.AllReferrers, copy.ReferrerAction(1)},
		{copy.DestinationSide, copy.Side("destination")},
		{copy.SourceSide, copy.Side("source")},
		{copy.KeepSparseManifestList, copy.SparseManifestListAction(0)},
		{copy.StripSparseManifestList, copy.SparseManifestListAction(1)},
		{copy.AutoSparseManifestList, copy.SparseManifestListAction(2)},
		{copy.Native, copy.Way("native")},
		{copy.Upstream, copy.Way("upstream")},
		{copy.PlanSchema, "sparsecopy.plan/v2"},
		{copy.ReportSchema, "sparsecopy.report/v1"},
	} {
		assert.Equal(t, c.was, c.is)
	}
}

// Short names for the parameters of the functions below.
type (
	ctx           = context.Context
	policyContext = *signature.PolicyContext
	imageRef      = types.ImageReference
)

// The functions, and the one variable.
var _ error = copy.ErrDecryptParamsMissing

var _ func(ctx, policyContext, imageRef, imageRef, *copy.Options) ([]byte, error) = copy.Image
var _ func(ctx, policyContext, []copy.Job, *copy.ImagesOptions) []copy.Result = copy.Images
var _ func(string) bool = copy.IsDigestTag
var _ func(copy.CopierOptions) *copy.Copier = copy.NewCopier
var _ func(copy.PlanInput) (*copy.Plan, error) = copy.NewPlan
var _ func(string) (copy.InstancePlatformFilter, error) = copy.ParsePlatformFilter
var _ func(ctx, policyContext, []copy.Job, *copy.ImagesOptions, func(copy.PlannedImage)) = copy.PlanImages
var _ func(ctx, policyContext, imageRef, imageRef, *copy.Options) (*copy.Prepared, error) = copy.Prepare
var _ func(ctx, imageRef, *copy.TagsOptions) (*copy.TagList, error) = copy.Tags

// The types that are upstream's.
var (
	_ *upstream.ImageListSelection       = (*copy.ImageListSelection)(nil)
	_ *upstream.OptionCompressionVariant = (*copy.OptionCompressionVariant)(nil)
)

// TestTypes assigns to each field of each type, from variables of the types that the fields had.
func TestTypes(*testing.T) {
	var (
		flag      bool
		text      string
		number    int
		natural   uint
		size      int64
		rate      uint64
		duration  time.Duration
		cause     error
		dig       digest.Digest
		digests   []digest.Digest
		texts     []string
		someBytes []byte
		systemCtx *types.SystemContext
		ref       types.ImageReference
		set       map[digest.Digest]bool
		reason    copy.Reason
	)

	_ = copy.AttestationAction(number)
	_ = copy.CheckLevel(text)
	_ = copy.Decision(text)
	_ = copy.EntryDecision(text)
	_ = copy.EntryOutcome(text)
	_ = copy.ChangedSubjectAction(number)
	_ = copy.ListSignatureAction(number)
	_ = copy.MissingInstanceAction(number)
	_ = copy.Outcome(text)
	_ = copy.PlatformlessAction(number)
	_ = copy.ReasonCode(text)
	_ = copy.ReferrerAction(number)
	_ = copy.Side(text)
	_ = copy.SingleImageAction(number)
	_ = copy.SparseManifestListAction(number)
	_ = copy.Way(text)

	_ = copy.AttachedPlan{
		Subject: dig, Digest: dig, Size: size, MediaType: text, ArtifactType: text, Tag: text,
		Child: flag, Decision: copy.Decision(""), Reason: reason, Present: flag,
	}
	_ = copy.AttachedReport{
		Subject: dig, Digest: dig, ArtifactType: text, Tag: text, Outcome: copy.Outcome(""),
		Reason: reason,
	}
	_ = copy.Attachment{
		Subject: dig, Digest: dig, Size: size, MediaType: text, ArtifactType: text,
		Annotations: map[string]string(nil), Tag: text, Child: flag, Present: flag,
	}
	_ = copy.AttachmentError{
		Digest: dig, ArtifactType: text, Subject: dig, Refusal: cause,
	}
	_ = copy.AttachmentLimitError{
		What: text, Limit: size,
	}
	_ = copy.CannotModifyError{
		List: dig, Reason: text,
	}
	_ = copy.ChangedError{
		Side: copy.Side(""), Planned: dig, Found: dig,
	}
	_ = new(copy.Copier)
	_ = copy.CopierOptions{
		MaxParallelDownloads: natural, MaxRequestsPerHost: natural, BytesPerSecondPerHost: rate,
		Retries: copy.RetryPolicy{}, StallTimeout: duration, BlobTimeout: duration,
		AnswerTimeout: duration, UserAgent: text, BlobInfoCache: types.BlobInfoCache(nil),
		NoRanges: flag, ResumeDir: text,
	}
	_ = copy.Document{
		MediaType: text, Bytes: someBytes,
	}
	_ = copy.EmptyError{
		Entries: number, Missing: number,
	}
	_ = copy.EndReport{
		Transport: text, TransportReason: text, Requests: size, Retries: size, Resumed: size, BegunAnew: size,
	}
	_ = copy.Error{
		Op: text, Side: copy.Side(""), Object: text, Err: cause,
	}
	_ = copy.ImagePlan{
		Digest: dig, MediaType: text, Size: size, Platform: text, Reason: reason, Present: flag,
	}
	_ = copy.ImagesOptions{
		Options: (*copy.Options)(nil), MaxJobs: natural, MaxParallelDownloads: natural,
		MaxRequestsPerHost: natural, BytesPerSecondPerHost: rate,
		Done: (func(copy.Result, *copy.Report))(nil),
	}
	_ = copy.InstancePlan{
		Index: number, Digest: dig, Size: size, MediaType: text, ArtifactType: text,
		Platform: text, AttestationOf: dig, Decision: copy.Decision(""),
		Entry: copy.EntryDecision(""), Reason: reason, Present: flag, Missing: flag,
		Nested: (*copy.ListPlan)(nil),
	}
	_ = copy.InstancePlatformFilter{
		OS: text, Architecture: text, Variant: text, OSVersion: text, OSFeatures: texts,
		Exclude: flag,
	}
	_ = copy.InstanceReport{
		List: dig, Index: number, Digest: dig, Platform: text, AttestationOf: dig, Nested: flag,
		Outcome: copy.Outcome(""), Entry: copy.EntryOutcome(""), Reason: reason, Missing: flag,
		Bytes: size, Elapsed: duration,
	}
	_ = copy.Job{
		Destination: ref, Source: ref, Options: (*copy.Options)(nil),
	}
	_ = copy.LimitError{
		What: text, Limit: size, List: dig,
	}
	_ = copy.ListPlan{
		Digest: dig, MediaType: text, Size: size, Instances: []copy.InstancePlan(nil),
		Edits: []manifest.ListEdit(nil), Result: dig, ResultSize: size, Absent: digests,
	}
	_ = copy.ListSignatures{
		Found: texts, Unknown: text, Unanswered: flag,
	}
	_ = copy.MissingError{
		Missing: []copy.MissingInstance(nil), Err: cause,
	}
	_ = copy.MissingInstance{
		Digest: dig, Platform: text, AttestationOf: text,
	}
	_ = copy.NoMatchError{
		Asked: texts, Offered: texts, Single: flag,
	}
	_ = copy.Options{
		RemoveSignatures: flag, RemoveListSignatures: flag, Signers: []*signer.Signer(nil),
		SignBy: text, SignPassphrase: text, SignBySigstorePrivateKeyFile: text,
		SignSigstorePrivateKeyPassphrase: someBytes, SignIdentity: dockerref.Named(nil),
		ReportWriter: io.Writer(nil), SourceCtx: systemCtx, DestinationCtx: systemCtx,
		ProgressInterval: duration, Progress: (chan types.ProgressProperties)(nil),
		PreserveDigests: flag, ForceManifestMIMEType: text,
		ImageListSelection: copy.ImageListSelection(0), Instances: digests,
		InstancePlatforms:        []copy.InstancePlatformFilter(nil),
		SparseManifestListAction: copy.SparseManifestListAction(0),
		PreferGzipInstances:      types.OptionalBool(0), OciEncryptConfig: (*config.EncryptConfig)(nil),
		OciEncryptLayers: (*[]int)(nil), OciDecryptConfig: (*config.DecryptConfig)(nil),
		ConcurrentBlobCopiesSemaphore: (*semaphore.Weighted)(nil), MaxParallelDownloads: natural,
		OptimizeDestinationImageAlreadyExists: flag, DownloadForeignLayers: flag,
		EnsureCompressionVariantsExist: []copy.OptionCompressionVariant(nil),
		ForceCompressionFormat:         flag, ReportResolvedReference: (*types.ImageReference)(nil),
		DestinationTimestamp: (*time.Time)(nil), InstanceIndexes: []int(nil),
		OptionalPlatforms: []copy.InstancePlatformFilter(nil),
		RequiredPlatforms: []copy.InstancePlatformFilter(nil),
		Attestations:      copy.AttestationAction(0), MissingInstances: copy.MissingInstanceAction(0),
		ChangedSubjects: copy.ChangedSubjectAction(0), SingleImage: copy.SingleImageAction(0), PlatformlessEntries: copy.PlatformlessAction(0),
		Referrers: copy.ReferrerAction(0), ReferrerTypes: texts, DigestTags: flag, EntriesAsReferrers: flag,
		ListSignatures: copy.ListSignatureAction(0), KeepVoid: flag, WidenedChildTags: flag,
		CheckBlobs: flag, CompareDestination: flag, Report: (*copy.Report)(nil),
		Replacing: func(context.Context, digest.Digest, *copy.Plan) error { return nil },
	}
	_ = copy.OptionsError{
		Options: texts, Reason: text,
	}
	_ = copy.Plan{
		Schema: text, Source: text, Destination: text, Way: copy.Way(""), WayReason: text,
		Asked: copy.SparseManifestListAction(0), Action: copy.SparseManifestListAction(0),
		ActionReason: text, Digest: dig, List: (*copy.ListPlan)(nil),
		Image: (*copy.ImagePlan)(nil), Copies: digests, Attached: []copy.AttachedPlan(nil),
		Widened: digests, Blobs: number, Bytes: size, Unread: number, NotListed: digests, Void: texts,
		Warnings: texts, IfRefused: (*copy.Plan)(nil), IfRefusedNot: text,
	}
	_ = copy.PlanInput{
		Source: text, Destination: text, Top: copy.Document{}, Digest: dig,
		Documents: map[digest.Digest]copy.Document(nil), Missing: set, Present: set, Stored: set,
		PresenceUnknown: set, Platform: (*imgspecv1.Platform)(nil),
		Attachments: []copy.Attachment(nil), SignedLists: map[digest.Digest]int(nil),
		ListSignatures: map[digest.Digest]copy.ListSignatures(nil), SignaturesUnknown: set,
		DestinationDigest: dig, DestinationTop: dig, Sparse: copy.SparseSupport{}, System: dig,
		Options: (*copy.Options)(nil),
	}
	_ = copy.PlannedImage{
		Job: number, Err: cause, Plan: (*copy.Plan)(nil), UpToDate: flag,
	}
	_ = new(copy.Prepared)
	_ = copy.Reason{
		Code: copy.ReasonCode(""), Text: text,
	}
	_ = copy.RegistryError{
		Method: text, URL: text, Status: number, Errors: []copy.RegistryErrorDetail(nil),
		TokenService: flag, Text: text, RetryAfter: duration,
	}
	_ = copy.RegistryErrorDetail{
		Code: text, Message: text, Detail: json.RawMessage(nil),
	}
	_ = copy.RejectedError{
		Digest: dig, Err: cause,
	}
	_ = copy.Report{
		Schema: text, Plan: (*copy.Plan)(nil), SourceDigest: dig, DestinationDigest: dig,
		Action: copy.SparseManifestListAction(0), ActionReason: text, Refusal: text, Written: flag,
		Checked: copy.CheckLevel(""), Instances: []copy.InstanceReport(nil),
		Attached: []copy.AttachedReport(nil), BlobsCopied: number, BytesCopied: size,
		BlobsReused: number, ManifestsCopied: number, SignaturesCopied: number,
		Source: copy.EndReport{}, Destination: copy.EndReport{}, Void: texts, Warnings: texts,
		Elapsed: duration, Error: text,
	}
	_ = copy.RequiredError{
		Failed: []copy.RequiredPlatform(nil), Required: texts,
	}
	_ = copy.RequiredPlatform{
		Platform: text, Digest: dig, Reason: text,
	}
	_ = copy.Result{
		Job: number, Err: cause, SourceDigest: dig, DestinationDigest: dig,
		Action: copy.SparseManifestListAction(0), Written: flag, BytesCopied: size,
	}
	_ = copy.RetryPolicy{
		Attempts: number, BaseDelay: duration, MaxDelay: duration, MaxElapsed: duration,
	}
	_ = copy.SparseRefusedError{
		List: dig, Absent: digests, Refusal: cause, Unclear: flag, StrippedRefusal: cause,
		NotStripped: text,
	}
	_ = copy.SparseSupport{
		Known: flag, Accepts: flag, RequiredArchitectures: texts, RequiredPlatforms: texts,
		RequiresWithoutPlatform: flag, Widens: flag, Basis: text,
	}
	_ = copy.SubjectError{
		Digest: dig, Subject: dig, Refusal: cause,
	}
	_ = copy.TagList{
		Tags: texts, Repository: text, Warnings: texts,
	}
	_ = copy.TagsOptions{
		SystemContext: systemCtx, Side: copy.Side(""),
	}
	_ = copy.TimeoutError{
		What: text, Limit: duration, Option: text,
	}
	_ = copy.UnreadError{
		Lists: digests,
	}
	_ = copy.WidenError{
		List: dig, Children: digests, Basis: text,
	}
}

// The methods.
var _ func(*copy.AttachmentError) string = (*copy.AttachmentError).Error
var _ func(*copy.AttachmentError) error = (*copy.AttachmentError).Unwrap
var _ func(*copy.AttachmentLimitError) string = (*copy.AttachmentLimitError).Error
var _ func(*copy.CannotModifyError) string = (*copy.CannotModifyError).Error
var _ func(*copy.ChangedError) string = (*copy.ChangedError).Error
var _ func(*copy.Copier) error = (*copy.Copier).Close
var _ func(*copy.Copier, ctx, policyContext, imageRef, imageRef, *copy.Options) ([]byte, error) = (*copy.Copier).Image
var _ func(*copy.Copier, ctx, policyContext, []copy.Job, *copy.ImagesOptions) []copy.Result = (*copy.Copier).Images
var _ func(*copy.Copier, ctx, policyContext, []copy.Job, *copy.ImagesOptions, func(copy.PlannedImage)) = (*copy.Copier).PlanImages
var _ func(*copy.Copier, ctx, policyContext, imageRef, imageRef, *copy.Options) (*copy.Prepared, error) = (*copy.Copier).Prepare
var _ func(*copy.Copier, ctx, imageRef, *copy.TagsOptions) (*copy.TagList, error) = (*copy.Copier).Tags
var _ func(*copy.EmptyError) string = (*copy.EmptyError).Error
var _ func(*copy.Error) string = (*copy.Error).Error
var _ func(*copy.Error) error = (*copy.Error).Unwrap
var _ func(copy.InstancePlatformFilter) string = copy.InstancePlatformFilter.String
var _ func(*copy.LimitError) string = (*copy.LimitError).Error
var _ func(*copy.ListPlan) ([]byte, error) = (*copy.ListPlan).MarshalJSON
var _ func(*copy.ListPlan, []byte) error = (*copy.ListPlan).UnmarshalJSON
var _ func(*copy.MissingError) string = (*copy.MissingError).Error
var _ func(*copy.MissingError) error = (*copy.MissingError).Unwrap
var _ func(copy.MissingInstance) string = copy.MissingInstance.String
var _ func(*copy.NoMatchError) string = (*copy.NoMatchError).Error
var _ func(*copy.OptionsError) string = (*copy.OptionsError).Error
var _ func(*copy.Plan) string = (*copy.Plan).String
var _ func(*copy.Prepared) error = (*copy.Prepared).Close
var _ func(*copy.Prepared, ctx) (*copy.Report, error) = (*copy.Prepared).Execute
var _ func(*copy.Prepared) *copy.Plan = (*copy.Prepared).Plan
var _ func(*copy.RegistryError) string = (*copy.RegistryError).Error
var _ func(*copy.RegistryError, string) bool = (*copy.RegistryError).Has
var _ func(*copy.RegistryError) error = (*copy.RegistryError).Unwrap
var _ func(*copy.RejectedError) string = (*copy.RejectedError).Error
var _ func(*copy.RejectedError) error = (*copy.RejectedError).Unwrap
var _ func(*copy.RequiredError) string = (*copy.RequiredError).Error
var _ func(copy.SparseManifestListAction) ([]byte, error) = copy.SparseManifestListAction.MarshalText
var _ func(copy.SparseManifestListAction) string = copy.SparseManifestListAction.String
var _ func(*copy.SparseManifestListAction, []byte) error = (*copy.SparseManifestListAction).UnmarshalText
var _ func(*copy.SparseRefusedError) string = (*copy.SparseRefusedError).Error
var _ func(*copy.SparseRefusedError) []error = (*copy.SparseRefusedError).Unwrap
var _ func(*copy.SubjectError) string = (*copy.SubjectError).Error
var _ func(*copy.SubjectError) error = (*copy.SubjectError).Unwrap
var _ func(*copy.TimeoutError) string = (*copy.TimeoutError).Error
var _ func(*copy.TimeoutError, error) bool = (*copy.TimeoutError).Is
var _ func(*copy.TimeoutError) bool = (*copy.TimeoutError).Timeout
var _ func(*copy.UnreadError) string = (*copy.UnreadError).Error
var _ func(*copy.WidenError) string = (*copy.WidenError).Error
