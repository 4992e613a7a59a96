package copy

import (
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/copy/internal/handover"
	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// wayFacts returns what decides who does the work, but for what is signed. from and to are what the
// ends are called in access.Transports.
func wayFacts(o *Options, from, to string) *plan.WayFacts {
	return handover.Facts(upstreamOptions(o, &Plan{}), from, to)
}

// upstreamOptions translates options and plan for upstream's copy.
func upstreamOptions(o *Options, plan *Plan) *upstream.Options {
	u := &upstream.Options{
		RemoveSignatures: o.RemoveSignatures, RemoveListSignatures: o.RemoveListSignatures,
		SignIdentity: o.SignIdentity,
		ReportWriter: o.ReportWriter, SourceCtx: o.SourceCtx, DestinationCtx: o.DestinationCtx,
		ProgressInterval: o.ProgressInterval, Progress: o.Progress,
		PreserveDigests: o.PreserveDigests, ForceManifestMIMEType: o.ForceManifestMIMEType,
		ImageListSelection: o.ImageListSelection, PreferGzipInstances: o.PreferGzipInstances,
		OciEncryptConfig: o.OciEncryptConfig, OciEncryptLayers: o.OciEncryptLayers, OciDecryptConfig: o.OciDecryptConfig,
		ConcurrentBlobCopiesSemaphore: o.ConcurrentBlobCopiesSemaphore, MaxParallelDownloads: o.MaxParallelDownloads,
		OptimizeDestinationImageAlreadyExists: o.OptimizeDestinationImageAlreadyExists,
		DownloadForeignLayers:                 o.DownloadForeignLayers,
		EnsureCompressionVariantsExist:        o.EnsureCompressionVariantsExist, ForceCompressionFormat: o.ForceCompressionFormat,
		ReportResolvedReference: o.ReportResolvedReference, DestinationTimestamp: o.DestinationTimestamp,
	}
	handover.Select(u, plan)
	return u
}
