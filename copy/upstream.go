package copy

import (
	"fmt"
	"slices"

	upstream "go.podman.io/image/v5/copy"
	compression "go.podman.io/image/v5/pkg/compression/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// wayFacts returns what decides who does the work, but for what is signed. from and to are what the
// ends are called in access.Transports.
func wayFacts(o *Options, from, to string) *plan.WayFacts {
	dest := access.Wanted(to, o.DestinationCtx)
	return &plan.WayFacts{
		Source: from, Destination: to, NativeSource: access.Transports[from].Source, NativeDestination: dest.Destination,
		UpstreamOnly: upstreamOnly(o, dest), Stores: dest.MediaTypes, Layers: dest.Layers, ForeignStay: dest.Foreign,
		CompressionFormat: compressionFormat(o), Decrypts: o.OciDecryptConfig != nil, DownloadsForeign: o.DownloadForeignLayers,
		Variants: variants(o),
	}
}

// checkGroup refuses to copy a list, as upstream does, to a destination that has no place for it.
func checkGroup(o *Options, top Document, destination string) error {
	if !top.IsList() || o.ImageListSelection == CopySystemImage || !access.Transports[destination].Single {
		return nil
	}
	return &OptionsError{Options: []string{"ImageListSelection"}, Reason: fmt.Sprintf(
		"copying multiple images: destination transport %q does not support copying multiple images as a group", destination)}
}

// upstreamOnly returns the options that are set and that only upstream can carry out, whatever the
// images are.
func upstreamOnly(o *Options, dest access.Traits) []plan.OptionUse {
	format := compressionFormat(o)
	var uses []plan.OptionUse
	for _, c := range []struct {
		set          bool
		option, does string
	}{
		{o.OciEncryptConfig != nil, "OciEncryptConfig", "encrypts layers"},
		{o.OciEncryptLayers != nil, "OciEncryptLayers", "encrypts layers"},
		{o.ForceCompressionFormat, "ForceCompressionFormat", "changes layers"},
		{o.DestinationTimestamp != nil && dest.Timestamps, "DestinationTimestamp", "dates what is created"},
		{!slices.Contains(knownFormats, format), "DestinationCtx.CompressionFormat", "is " + format + ", which no manifest can state"},
	} {
		if c.set {
			uses = append(uses, plan.OptionUse{Option: c.option, Does: c.does})
		}
	}
	return uses
}

// knownFormats are the names of the compressions that manifests can state; "" stands for none asked
// for.
var knownFormats = []string{"", compression.GzipAlgorithmName, compression.ZstdAlgorithmName, compression.ZstdChunkedAlgorithmName}

// compressionFormat returns the name of the compression that is asked for, "" if none is.
func compressionFormat(o *Options) string {
	if o.DestinationCtx == nil || o.DestinationCtx.CompressionFormat == nil {
		return ""
	}
	return o.DestinationCtx.CompressionFormat.Name()
}

// variants returns the names of the compressions of the variants that are asked for.
func variants(o *Options) []string {
	var names []string
	for _, v := range o.EnsureCompressionVariantsExist {
		names = append(names, v.Algorithm.Name())
	}
	return names
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
	if plan.List == nil {
		return u
	}
	u.ImageListSelection = upstream.CopySpecificImages
	if plan.List.Everything() {
		u.ImageListSelection = upstream.CopyAllImages
		return u
	}
	for _, ip := range plan.List.Instances {
		if ip.Decision == Copy {
			u.Instances = append(u.Instances, ip.Digest)
		}
	}
	u.SparseManifestListAction = upstream.SparseManifestListAction(plan.Action)
	return u
}
