package copy

import (
	"context"
	"math"
	"time"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/remembered"
	"github.com/sparsecopy/sparsecopy/copy/internal/signing"
	"github.com/sparsecopy/sparsecopy/copy/internal/transforming"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/turns"
	"github.com/sparsecopy/sparsecopy/internal/unfinished"
)

// A Copier makes copies that share what costs time to get: connections to registries, tokens, what
// is known about registries and the blobs there, and the limits of CopierOptions. A program that
// copies more than once makes one and keeps it.
//
// Its methods are safe for concurrent use, also with one signature.PolicyContext, which must not be
// used elsewhere meanwhile. Copies share connections and tokens where their SystemContexts say the
// same about a registry. A blob of several images is sent to a registry once, and mounted into
// other repositories where the registry does that and the credentials are the same. Two copies that
// update the same digest tag or referrers tag take turns: those of two Copiers, or of two programs,
// do not.
//
// Nothing that is known of a registry is believed for ever: a token as long as it is valid,
// credentials for a minute after they were looked up, certificates until their files are renewed,
// announcements about sparse lists for ten minutes. That a registry refused a sparse list is not
// remembered at all: Auto tries the kept list each time, but where the reference names the stripped
// one. That stays, until the registry announces to a Copier which has asked before that it takes
// sparse lists. So a Copier notices that a registry was restarted or configured anew. Its memory
// does not grow with the number of copies.
type Copier struct {
	options  CopierOptions
	shared   *registry.Shared
	budget   *semaphore.Weighted // of all copies; nil if each has that of its Options, which one-shot Copiers are for
	policies turns.Turns[*signature.PolicyContext]
	ring     signing.Ring // of keys that sign
	// transforms limits what is in work of images that are transformed.
	transforms *transforming.Limits
	remembered remembered.Files
}

// CopierOptions are the limits and manners of a Copier. The zero value is useful.
type CopierOptions struct {
	// MaxParallelDownloads limits what all copies together have in flight, in place of the Options
	// of each: blobs, manifests and questions to either end. 0 means 32, or twice as many if they
	// are small, as in Options. Copies whose Options name a semaphore of their own are counted
	// there.
	MaxParallelDownloads uint
	// MaxRequestsPerHost limits the requests in flight at each registry, those that read and those
	// that write apart. 0 means no limit but MaxParallelDownloads. Registries that are accessed
	// through their transport are not limited.
	MaxRequestsPerHost uint
	// BytesPerSecondPerHost limits what is read from each registry, and what is written to each. 0
	// means no limit. Registries that are accessed through their transport are not limited.
	BytesPerSecondPerHost uint64
	// ChunkSize is how many bytes of a blob one request may bring to a registry: a larger one goes
	// in several, for proxies that end long requests. 0 means that each goes in one, as long as the
	// registry refuses none for its length. Registries that want larger chunks get them, and those
	// that lose some get whole blobs.
	ChunkSize uint64
	// NoRanges reads every blob over one connection. Otherwise blobs of 32 MiB and more are read
	// over up to eight, in ranges, as long as that brings more, the registry answers them, and
	// MaxParallelDownloads and MaxRequestsPerHost allow it. What is read ahead takes 64 MiB of
	// memory at most, over all copies. Registries accessed through their transport have none.
	NoRanges bool
	// ResumeDir is a directory that remembers for a day how far uploads of large blobs to
	// registries have come: the next process goes on with them. It is made as MakeResumeDir does;
	// where that fails, nothing is remembered, with a warning. Several processes may share it. ""
	// remembers nothing.
	ResumeDir string
	// Retries says how often, and for how long, a request or a blob is tried again after failures
	// that may pass. A registry that has never answered with success is asked twice within three
	// seconds at most, whatever it says.
	Retries RetryPolicy

	// The limits of time are about what a registry does, never about how long a copy takes. What
	// takes longer is tried once more, and not at all if it is the answer to a long upload; then
	// the error names the limit. 0 means the default, and so does less.

	// StallTimeout is how long no byte may move in the middle of a transfer. The default is
	// DefaultStallTimeout, 2 minutes.
	StallTimeout time.Duration
	// BlobTimeout is how long the first byte of a blob may take, and the answer to the request that
	// ends the upload of one: some registries scan, move or fetch it first. The default is 15
	// minutes.
	BlobTimeout time.Duration
	// AnswerTimeout is how long the answer to any other request may take. The default is
	// DefaultAnswerTimeout, 2 minutes.
	AnswerTimeout time.Duration

	// UserAgent is what requests say who sends them, where SystemContext.DockerRegistryUserAgent
	// does not. "" means this library.
	UserAgent string

	// RegistryContext, if not nil, returns the configuration to reach a registry with, HOST[:PORT]
	// as references have it, given that of an end, sys, which may be nil and must not be changed.
	// It is asked for mirrors of registries.conf, too, so that what is for one registry is not sent
	// to another. Where registries and signatures are, sys says. It is called concurrently.
	RegistryContext func(registry string, sys *types.SystemContext) *types.SystemContext

	// BlobInfoCache, if not nil, is told which repositories of registries have which blobs, as
	// containers/image's docker transport tells its own: programs that copy with that, too, mount
	// these blobs or skip them. Nothing is read from it here. Its methods must be safe for
	// concurrent use, as those of containers/image's caches are (pkg/blobinfocache). Where the work
	// goes to upstream's copy, that fills the one of Options.DestinationCtx.
	BlobInfoCache types.BlobInfoCache

	// MinRemaining is how many pulls are to remain of those that a registry allows: a manifest of a
	// source that would leave fewer is not read, and its copy fails with a *RateLimitError. 0
	// leaves none. It has no effect on registries that state no limit, nor on questions by HEAD.
	MinRemaining uint

	// NoSync leaves it to the system when what is written to oci: layouts reaches the disk.
	// Otherwise what a layout names after a copy is there after a loss of power, too, but for what
	// copies with NoSync have left. It has no effect on what upstream's copy writes.
	NoSync bool
	// HardLinks lets files of oci: and dir: have one more name in an oci: layout of the same file
	// system, in place of a copy, on Linux: files that belong to the user of the process, that all
	// may read, and nobody else may write to. Whoever changes one later changes it in both places.
	HardLinks bool
	// TrustSource copies files of oci:, oci-archive: and dir: to oci: layouts without hashing them:
	// one that has the size of a blob is taken for that. What is damaged there, or was put there by
	// somebody else, arrives under a digest that is not its own, and the copy succeeds. Manifests
	// and lists are verified all the same, and so is what goes anywhere else.
	TrustSource bool

	// Clock tells the time, and waits for retries. nil means SystemClock.
	Clock Clock

	// Cache, if not nil, keeps the manifests, lists and signatures that sources hand out: what has
	// not changed is asked for by HEAD then, which registries do not count as a pull, and not read
	// again. It is used for registries that are spoken to directly.
	Cache DocumentCache
}

// A Clock tells the time and has timers: a program's tests let it run as fast as they like. What
// moves bytes keeps to the time of the machine.
type Clock = clock.Clock

// A ClockTimer is a timer of a Clock.
type ClockTimer = clock.Timer

// SystemClock is the clock of the machine.
var SystemClock = clock.System

// The defaults of the limits of time.
const (
	DefaultStallTimeout  = registry.DefaultStallTimeout
	DefaultBlobTimeout   = registry.DefaultBlobTimeout
	DefaultAnswerTimeout = registry.DefaultAnswerTimeout
)

// A RetryPolicy bounds retries.
type RetryPolicy = registry.RetryPolicy

// A DocumentCache keeps manifests, lists and signatures, by keys. Package copy/cache has some.
type DocumentCache = endpoint.DocumentCache

// A TimeoutError says that a registry took longer than StallTimeout, BlobTimeout or AnswerTimeout,
// twice. Give it more time, or find out what it is doing.
type TimeoutError = ocihttp.TimeoutError

// A RateLimit is what a registry has said about how much may be pulled from it.
type RateLimit = ocihttp.RateLimit

// A RateLimitError says that something was not pulled, because too few pulls are left at a registry
// that will allow more in more than RetryPolicy.MaxElapsed.
type RateLimitError = ocihttp.RateLimitError

// NewCopier makes a Copier. The caller must Close it.
func NewCopier(options CopierOptions) *Copier {
	c := newOneShot(options)
	if options.ResumeDir != "" {
		c.shared.Unfinished = unfinished.New(options.ResumeDir, c.clock().Now)
	}
	c.budget = budget.New(options.MaxParallelDownloads)
	return c
}

// MakeResumeDir makes the directory for CopierOptions.ResumeDir unless it is there. It fails if
// somebody else may write there, who could choose where blobs are sent.
func MakeResumeDir(path string) error { return unfinished.Make(path) }

// newOneShot makes a Copier for one copy, whose Options say what it has in flight.
func newOneShot(options CopierOptions) *Copier {
	return &Copier{
		options: options, transforms: transforming.NewLimits(),
		shared: &registry.Shared{
			MaxRequests:    int(min(options.MaxRequestsPerHost, math.MaxInt32)),
			BytesPerSecond: int64(min(options.BytesPerSecondPerHost, math.MaxInt64)),
			ChunkSize:      int64(min(options.ChunkSize, math.MaxInt64)),
			NoRanges:       options.NoRanges,
			MaxParallel:    int(min(options.MaxParallelDownloads, math.MaxInt32)),
			Retry:          options.Retries,
			StallTimeout:   options.StallTimeout,
			BlobTimeout:    options.BlobTimeout,
			AnswerTimeout:  options.AnswerTimeout,
			UserAgent:      options.UserAgent,
			ContextFor:     options.RegistryContext,
			BlobInfoCache:  options.BlobInfoCache,
			Clock:          options.Clock,
			Cache:          options.Cache,
			MinRemaining:   int(min(options.MinRemaining, math.MaxInt32)),
			NoSync:         options.NoSync,
			HardLinks:      options.HardLinks,
			TrustFiles:     options.TrustSource,
		},
	}
}

func (c *Copier) clock() Clock { return clock.Or(c.options.Clock) }

// Close closes the connections that are kept. What c has begun must have ended: copies, and what
// Prepare returned must be closed. Nothing else may be done with c then.
func (c *Copier) Close() error { return c.shared.Close() }

// RateLimits returns the limits that registries have stated which c has read from, as they are now,
// by the names of registries and users. One that has ended is not among them until it is stated
// again.
func (c *Copier) RateLimits() []RateLimit { return c.shared.RateLimits() }

// Image is the function Image, with what the copies of c share.
func (c *Copier) Image(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *Options) (copiedManifest []byte, retErr error) {
	return copyImage(ctx, newCall(c, policyContext, destRef, srcRef, options))
}

// Prepare is the function Prepare, with what the copies of c share.
func (c *Copier) Prepare(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *Options) (*Prepared, error) {
	return prepare(ctx, newCall(c, policyContext, destRef, srcRef, options))
}

// Images is the function Images, with what the copies of c share. The limits of options must not be
// set: those of c hold. If they are, all jobs fail with an *OptionsError.
func (c *Copier) Images(ctx context.Context, policyContext *signature.PolicyContext, jobs []Job, options *ImagesOptions) []Result {
	return newBatch(c, policyContext, options).images(ctx, jobs)
}

// PlanImages is the function PlanImages, with what the copies of c share. For the limits of options
// see Images.
func (c *Copier) PlanImages(ctx context.Context, policyContext *signature.PolicyContext, jobs []Job, options *ImagesOptions, planned func(PlannedImage)) {
	newBatch(c, policyContext, options).plan(ctx, jobs, planned)
}

// Registries asks registries what names name, with what the copies of c share. Close ends it.
func (c *Copier) Registries() *naming.Registries { return naming.Over(c.shared) }

// Tags is the function Tags, with what the copies of c share.
func (c *Copier) Tags(ctx context.Context, ref types.ImageReference, options *TagsOptions) (*TagList, error) {
	return c.Registries().Tags(ctx, ref, options)
}

// Inspect is the function Inspect, with what the copies of c share.
func (c *Copier) Inspect(ctx context.Context, ref types.ImageReference, options *ReadOptions) (*Inspection, error) {
	return inspectWith(ctx, c, ref, options.orDefault())
}

// ReadManifest is the function ReadManifest, with what the copies of c share.
func (c *Copier) ReadManifest(ctx context.Context, ref types.ImageReference, options *ReadOptions) (Document, error) {
	return readManifestWith(ctx, c, ref, options.orDefault())
}

// AttachedOriginal finds what AttachOriginal has attached to the stripped list that ref names: who
// removes that list removes this too, after it. What others have attached is not among it, nor is
// anything where nothing can be attached. Nothing is written, and no signature is verified.
//
// The error is an *Error: something could not be read. It is ErrNotFound if ref names nothing.
func (c *Copier) AttachedOriginal(ctx context.Context, ref types.ImageReference, options *ReadOptions) (*AttachedOriginal, error) {
	o := options.orDefault()
	src, err := openToRead(ctx, c, ref, o)
	if err != nil {
		return nil, err
	}
	defer src.Close() // nothing was written
	found, err := inspect.FindOriginal(ctx, src, budget.Or(c.budget))
	if err != nil {
		return nil, failure.New("looking for the original of", o.Side, transports.ImageName(ref), err)
	}
	return found, nil
}

// Verify is the function Verify, with what the copies of c share.
func (c *Copier) Verify(
	ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference,
	options *VerifyOptions,
) (*Verification, error) {
	if options == nil {
		options = &VerifyOptions{}
	}
	return verifyWith(ctx, c, policyContext, destRef, srcRef, options)
}
