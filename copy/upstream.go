package copy

import (
	"fmt"
	"slices"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	upstream "go.podman.io/image/v5/copy"
	compression "go.podman.io/image/v5/pkg/compression/types"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// traits are what the engine needs to know about a transport without opening anything: opening some
// destinations erases them.
type traits struct {
	source      bool             // can be read natively
	destination bool             // can be written natively
	peekable    bool             // a destination can be opened without changing it
	mediaTypes  []string         // that a destination stores; nil means any
	layers      plan.LayerChange // what a destination wants done to layers
	foreign     bool             // a destination leaves layers with URLs where they are
	timestamps  bool             // a destination can date what it creates
	single      bool             // a destination holds images, and has no place for lists
	referrers   bool             // knows what is attached to what it has
	native      bool             // its references are endpoint.Native: upstream cannot write them
}

// transportTraits are those of the transports that the engine serves natively, and of those that
// upstream has to serve of which something is known.
var transportTraits = map[string]traits{
	"containers-storage": {single: true}, "docker-archive": {single: true}, "docker-daemon": {single: true},
	"docker": {source: true, destination: true, peekable: true, layers: plan.CompressLayers, foreign: true, referrers: true},
	"oci": {
		source: true, destination: true, peekable: true, layers: plan.CompressLayers, foreign: true, referrers: true,
		mediaTypes: []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex},
	},
	"oci-archive": {
		source: true, destination: true, layers: plan.CompressLayers, foreign: true, timestamps: true,
		mediaTypes: []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex},
	},
	"dir":    {source: true, destination: true, layers: plan.KeepLayers},
	"bundle": {source: true, destination: true, layers: plan.KeepLayers, foreign: true, referrers: true, native: true},
}

// wayFacts returns what decides who does the work, but for what is signed. from and to are what the
// ends are called in transportTraits.
func wayFacts(o *Options, from, to string) *plan.WayFacts {
	dest := wanted(to, o.DestinationCtx)
	return &plan.WayFacts{
		Source: from, Destination: to, NativeSource: transportTraits[from].source, NativeDestination: dest.destination,
		UpstreamOnly: upstreamOnly(o, dest), Stores: dest.mediaTypes, Layers: dest.layers, ForeignStay: dest.foreign,
		CompressionFormat: compressionFormat(o), Decrypts: o.OciDecryptConfig != nil, DownloadsForeign: o.DownloadForeignLayers,
		AddsVariants: len(o.EnsureCompressionVariantsExist) > 0,
	}
}

// checkGroup refuses to copy a list, as upstream does, to a destination that has no place for it.
func checkGroup(o *Options, top Document, destination string) error {
	if !top.IsList() || o.ImageListSelection == CopySystemImage || !transportTraits[destination].single {
		return nil
	}
	return &OptionsError{Options: []string{"ImageListSelection"}, Reason: fmt.Sprintf(
		"copying multiple images: destination transport %q does not support copying multiple images as a group", destination)}
}

// wanted returns the traits of a destination that is opened with sys.
func wanted(destination string, sys *types.SystemContext) traits {
	t := transportTraits[destination]
	switch {
	case sys == nil:
	case destination == "dir" && sys.DirForceCompress:
		t.layers = plan.CompressLayers
	case destination == "dir" && sys.DirForceDecompress:
		t.layers = plan.DecompressLayers
	case t.mediaTypes != nil && sys.OCIAcceptUncompressedLayers:
		t.layers = plan.KeepLayers
	}
	return t
}

// upstreamOnly returns the options that are set and that only upstream can carry out, whatever the
// images are.
func upstreamOnly(o *Options, dest traits) []plan.OptionUse {
	format := compressionFormat(o)
	var uses []plan.OptionUse
	for _, c := range []struct {
		set          bool
		option, does string
	}{
		{len(o.Signers) > 0, "Signers", "make new signatures"},
		{o.SignBy != "", "SignBy", "makes a new signature"},
		{o.SignBySigstorePrivateKeyFile != "", "SignBySigstorePrivateKeyFile", "makes a new signature"},
		{o.OciEncryptConfig != nil, "OciEncryptConfig", "encrypts layers"},
		{o.OciEncryptLayers != nil, "OciEncryptLayers", "encrypts layers"},
		{len(o.EnsureCompressionVariantsExist) > 0, "EnsureCompressionVariantsExist", "adds instances"},
		{o.ForceCompressionFormat, "ForceCompressionFormat", "changes layers"},
		{o.DestinationTimestamp != nil && dest.timestamps, "DestinationTimestamp", "dates what is created"},
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

// upstreamOptions translates options and plan for upstream's copy.
func upstreamOptions(o *Options, plan *Plan) *upstream.Options {
	u := &upstream.Options{
		RemoveSignatures: o.RemoveSignatures, RemoveListSignatures: o.RemoveListSignatures,
		Signers: o.Signers, SignBy: o.SignBy, SignPassphrase: o.SignPassphrase,
		SignBySigstorePrivateKeyFile:     o.SignBySigstorePrivateKeyFile,
		SignSigstorePrivateKeyPassphrase: o.SignSigstorePrivateKeyPassphrase, SignIdentity: o.SignIdentity,
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
