// Package transforming makes another image of one that cannot stay as it is: layers that have to be
// compressed, decompressed, encrypted or decrypted, or a manifest that has to become one of another
// type. Upstream's copy does that, for one image at a time, between two ends that are open already:
// a source that holds the manifest and reads blobs as the engine does, and a destination that
// stores by digest and never touches what a tag names.
//
// A Transformer does so for the images of one copy, many at the same time. It keeps to three
// bounds, which have nothing to do with each other: what travels takes a slot of the engine's
// budget for as long as it travels; what is compressed, decompressed or encrypted takes an encoder
// of Limits, which are few, because one needs megabytes; and only so many layers are begun at all.
// Whoever waits for an encoder holds nothing of the budget.
//
// Content whose digest is not known before its last byte goes through a temporary file. A layer
// that several images have is transformed once.
package transforming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	// maxEncoders is how many layers are encoded at the same time, if they take no more than
	// encoderMemory MiB together; or one.
	maxEncoders   = 6
	encoderMemory = 40
	// maxLayers is how many layers are in work at the same time. Most of them wait.
	maxLayers = 64
	// smallLayer is the size in bytes up to which a layer is read before it has an encoder.
	smallLayer = 1 << 20
	// maxReadAhead is how many bytes of such layers are held at the same time.
	maxReadAhead = 16 << 20
)

// Limits are what the copies of one Copier share. They are safe for concurrent use.
type Limits struct {
	encoders  *semaphore.Weighted // counts MiB
	layers    *semaphore.Weighted
	readAhead *semaphore.Weighted // counts bytes
}

// NewLimits returns limits of which nothing is used.
func NewLimits() *Limits {
	return &Limits{
		encoders: semaphore.NewWeighted(encoderMemory), layers: semaphore.NewWeighted(maxLayers), readAhead: semaphore.NewWeighted(maxReadAhead),
	}
}

// A Transformer transforms the images of one copy. It is safe for concurrent use.
type Transformer struct {
	limits  *Limits
	budget  *semaphore.Weighted
	weigh   func(endpoint.Blob) int64
	results results
}

// New returns a Transformer for which what travels takes slots of budget, as many as weigh says for
// a blob, and 1 for anything else. It is to be called without any slot.
func New(limits *Limits, budget *semaphore.Weighted, weigh func(endpoint.Blob) int64) *Transformer {
	return &Transformer{limits: limits, budget: budget, weigh: weigh}
}

// An Image is one that is to be transformed.
type Image struct {
	Document endpoint.Document
	Source   types.ImageReference // that it is read by, as the caller gave it
	// Begin is called once for each distinct blob of the source that is read or looked for at the
	// destination, from several goroutines; and again if the image has to be sent again.
	Begin func(b endpoint.Blob) Transfer

	// Destination is the same place for all images of a Transformer. If it, or what a ByDigest
	// wraps, is an endpoint.BlobSender, an image is sent again of which it says that it has a blob,
	// and then, when it is to store the manifest, that it has not.
	Destination endpoint.Destination
	// Wants says what the destination stores, and what it wants done to layers.
	Wants access.Traits
}

// A Transfer is one blob on its way.
type Transfer interface {
	// Open is an endpoint.Opener. What fails about the source says so itself. It may be called
	// concurrently, if a layer occurs more than once.
	Open(ctx context.Context) (io.ReadCloser, error)
	// End is called once. written is what the blob is at the destination; it is meaningless if the
	// outcome is progress.Failed.
	End(written endpoint.Blob, outcome progress.Outcome)
}

// A Result is what became of an image.
type Result struct {
	// Document is the manifest as it is at the destination, by its digest.
	Document endpoint.Document
	// Copied and Reused are the distinct blobs that were sent, and those that the destination had,
	// or another image of the Transformer has brought; they are as they are there. Copied may have
	// the config of a manifest whose type the destination did not take.
	Copied, Reused []endpoint.Blob
}

// Error says what failed at one of the ends, other than reading what a Transfer opens.
type Error struct {
	Op            string // such as "writing blob"
	AtDestination bool   // not at the source
	Object        string // a digest
	Err           error
}

func (e *Error) Error() string {
	side := "source"
	if e.AtDestination {
		side = "destination"
	}
	return fmt.Sprintf("%s: %s %s: %v", side, e.Op, e.Object, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Transform stores image at its destination as options want it, by its digest, and everything that
// it names. Nobody judges it and nothing is signed, nor are signatures taken along: what options
// say about that, about lists, about progress and about limits does not matter.
//
// What fails at the destination is an *Error, what fails at the source is one, or as a Transfer
// says it; the first failure ends everything else. An error that is neither says that the image
// cannot become what options want. When ctx ends, the error is its cause.
func (t *Transformer) Transform(ctx context.Context, image Image, options *upstream.Options) (result Result, err error) {
	accept, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, accept.Destroy()) }()
	result, err = t.transform(ctx, accept, image, options, false)
	if lost, ok := errors.AsType[*lostError](err); ok {
		logrus.Debugf("sending all blobs of %s: %v", image.Document.Digest, lost)
		return t.transform(ctx, accept, image, options, true)
	}
	return result, err
}

// transform transforms an image. If all is set, all its blobs are sent, whatever the destination
// has, or says it has.
func (t *Transformer) transform(ctx context.Context, accept *signature.PolicyContext, image Image, options *upstream.Options, all bool) (Result, error) {
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := t.newEnds(image, options, cancel)
	e.sendsAll = all
	if err := e.open(working); err != nil {
		return Result{}, err
	}
	defer e.close()
	_, err := upstream.Image(working, accept, &destinationRef{image.Destination.Reference(), e}, &sourceRef{image.Source, e}, e.options)
	if err == nil {
		return e.result(), nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return Result{}, cause
	}
	return Result{}, e.explain(err)
}

// optionsFor returns what options say about one image, for upstream's copy of this one.
func (t *Transformer) optionsFor(options *upstream.Options) *upstream.Options {
	return &upstream.Options{
		RemoveSignatures: true,
		SourceCtx:        options.SourceCtx, DestinationCtx: withoutCache(options.DestinationCtx),
		PreserveDigests: options.PreserveDigests, ForceManifestMIMEType: options.ForceManifestMIMEType,
		OciEncryptConfig: options.OciEncryptConfig, OciEncryptLayers: options.OciEncryptLayers, OciDecryptConfig: options.OciDecryptConfig,
		DownloadForeignLayers: options.DownloadForeignLayers, ForceCompressionFormat: options.ForceCompressionFormat,
		ConcurrentBlobCopiesSemaphore: t.limits.layers,
	}
}

// withoutCache returns the configuration of a destination that has upstream keep its blob-info
// cache in memory: where there can be no directory for it.
func withoutCache(destination *types.SystemContext) *types.SystemContext {
	sys := types.SystemContext{}
	if destination != nil {
		sys = *destination
	}
	sys.BlobInfoCacheDir = filepath.Join(os.DevNull, "none")
	return &sys
}

// Ends are both ends of the copy of one image, as upstream sees them.
type ends struct {
	*Transformer
	image   Image
	config  digest.Digest // "" for none
	options *upstream.Options
	changes changes
	sender  endpoint.BlobSender // nil if the destination is none
	// sendsAll is set if the destination's word for what it has does not count.
	sendsAll bool
	cancel   context.CancelCauseFunc // ends the copy of the image
	foreign  foreignSource
	pairing  pairing

	background sync.WaitGroup // runs what is begun early; see there
	// configRead and configStored are nil if the config is not read early, or not stored.
	configRead   *future[[]byte]
	configStored *future[struct{}]

	mu        sync.Mutex // guards what follows
	early     map[digest.Digest]*earlyLayer
	transfers map[digest.Digest]*transfer
	written   map[digest.Digest]bool // blobs that are counted
	done      Result
	failure   error // the first
	refusal   error // of a manifest, for its type
}

func (t *Transformer) newEnds(image Image, options *upstream.Options, cancel context.CancelCauseFunc) *ends {
	e := &ends{
		Transformer: t, image: image, options: t.optionsFor(options), changes: changesOf(image, options), cancel: cancel, sender: senderTo(image.Destination),
		transfers: map[digest.Digest]*transfer{}, written: map[digest.Digest]bool{}, early: map[digest.Digest]*earlyLayer{},
	}
	e.foreign.ref, e.foreign.sys = image.Source, options.SourceCtx
	return e
}

// open begins the copy of the image, for which ctx stands.
func (e *ends) open(ctx context.Context) error {
	doc := e.image.Document
	switch {
	case doc.IsList():
		return fmt.Errorf("%s is a list, not an image", doc.Digest)
	case e.changes.schema1():
		return nil
	}
	parsed, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	if err != nil {
		return err
	}
	e.config = parsed.Config.Digest
	e.beginEarly(ctx, parsed)
	return nil
}

// fail notes what failed at one of the ends, and ends the copy of the image.
func (e *ends) fail(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failure == nil {
		e.failure = err
		e.cancel(err)
	}
	return err
}

// explain returns the reason of err, which upstream's copy ended with.
func (e *ends) explain(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.failure != nil:
		return e.failure
	case e.refusal != nil:
		return &refusedError{err, e.refusal}
	}
	return err
}

// A lostError says that the destination lacks blobs of a manifest that it said it has.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// A refusedError is upstream's, which names all manifest types that were tried, in its own words,
// and nothing that could be looked for.
type refusedError struct {
	err   error
	first error // refusal
}

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.first }

// A transfer is a Transfer that ends once.
type transfer struct {
	Transfer
	ended bool // guarded by ends.mu
}

// begin returns the transfer of a blob of the source.
func (e *ends) begin(b endpoint.Blob) *transfer {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.transfers[b.Digest]
	if t == nil {
		t = &transfer{Transfer: e.image.Begin(b)}
		e.transfers[b.Digest] = t
	}
	return t
}

// wrote ends the transfer of a blob of the source, which is written at the destination now.
func (e *ends) wrote(source digest.Digest, written endpoint.Blob, reused bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	outcome := progress.Copied
	if reused {
		outcome = progress.Reused
	}
	if t := e.transfers[source]; t != nil && !t.ended {
		t.ended = true
		t.End(written, outcome)
	}
	switch {
	case e.written[written.Digest]:
		return
	case reused:
		e.done.Reused = append(e.done.Reused, written)
	default:
		e.done.Copied = append(e.done.Copied, written)
	}
	e.written[written.Digest] = true
}

func (e *ends) result() Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.done
}

// close ends what has not ended.
func (e *ends) close() {
	e.endEarly()
	e.foreign.close()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.transfers {
		if !t.ended {
			t.ended = true
			t.End(endpoint.Blob{}, progress.Failed)
		}
	}
}
