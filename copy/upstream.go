package copy

import (
	"fmt"

	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/handover"
	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// wayFacts returns what decides who does the work, but for what is signed. from and to are what the
// ends are called in access.Transports.
func wayFacts(o *Options, from, to string) *plan.WayFacts {
	dest := access.Wanted(to, o.DestinationCtx)
	var encryptLayers []int
	if o.OciEncryptLayers != nil {
		encryptLayers = *o.OciEncryptLayers
	}
	return &plan.WayFacts{
		Source: from, Destination: to, NativeSource: access.Transports[from].Source, NativeDestination: dest.Destination,
		UpstreamOnly: upstreamOnly(o, dest), EveryImage: everyImage(o), Stores: dest.MediaTypes, Layers: dest.Layers, ForeignStay: dest.Foreign,
		CompressionFormat: compressionFormat(o), Encrypts: encrypts(o), EncryptLayers: encryptLayers, Decrypts: o.OciDecryptConfig != nil, DownloadsForeign: o.DownloadForeignLayers,
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
	return inUse([]optionUse{
		{o.DestinationTimestamp != nil && dest.Timestamps, "DestinationTimestamp", "dates what is created"},
	})
}

// everyImage returns the options that are set and that change images, whatever these are.
func everyImage(o *Options) []plan.OptionUse {
	return inUse([]optionUse{
		{encrypts(o), "OciEncryptConfig", "encrypts layers"},
		{o.OciEncryptLayers != nil, "OciEncryptLayers", "encrypts layers"},
		{o.ForceCompressionFormat, "ForceCompressionFormat", "changes layers"},
	})
}

// encrypts reports whether layers are to be encrypted: it takes keys, and layers.
func encrypts(o *Options) bool { return o.OciEncryptConfig != nil && o.OciEncryptLayers != nil }

// An optionUse is an option, and what it does if it is set.
type optionUse struct {
	set          bool
	option, does string
}

// inUse returns those of options that are set.
func inUse(options []optionUse) []plan.OptionUse {
	var uses []plan.OptionUse
	for _, o := range options {
		if o.set {
			uses = append(uses, plan.OptionUse{Option: o.option, Does: o.does})
		}
	}
	return uses
}

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
	handover.Select(u, plan)
	return u
}
