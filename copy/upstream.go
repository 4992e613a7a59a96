package copy

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// traits are what the engine needs to know about a transport without opening anything: opening some destinations erases them.
type traits struct {
	source      bool     // can be read natively
	destination bool     // can be written natively
	peekable    bool     // a destination can be opened without changing it
	mediaTypes  []string // that a destination stores; nil means any
	compress    bool     // a destination wants its layers compressed
	foreign     bool     // a destination leaves layers with URLs where they are
}

// transportTraits are those of the transports that the engine serves natively.
var transportTraits = map[string]traits{
	"docker": {source: true, destination: true, peekable: true, compress: true, foreign: true},
	"oci": {
		source: true, destination: true, peekable: true, compress: true, foreign: true,
		mediaTypes: []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex},
	},
	"oci-archive": {
		source: true, destination: true, compress: true, foreign: true,
		mediaTypes: []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex},
	},
	"dir": {source: true, destination: true},
}

// wayInput is what the choice between the two ways depends on.
type wayInput struct {
	options             *Options
	source, destination string // names of the transports
	digested            bool   // the destination names a digest
	// mediaTypes are those of the lists and manifests to be copied, images their contents (nil for Docker schema 1), by digest.
	// Both are empty before they have been read.
	mediaTypes map[digest.Digest]string
	images     map[digest.Digest]*manifest.Image
	signed     map[digest.Digest]bool // images whose signatures are copied
}

// upstreamReason says why the work has to be done by upstream's copy, and returns "" if it is done natively.
func upstreamReason(in wayInput) string {
	if reason := reasonInOptions(in.options); reason != "" {
		return reason
	}
	if !transportTraits[in.source].source {
		return fmt.Sprintf("the source transport %s is not read natively", in.source)
	}
	dest := transportTraits[in.destination]
	if !dest.destination {
		return fmt.Sprintf("the destination transport %s is not written natively", in.destination)
	}
	return reasonInImages(in, wanted(dest, in.options))
}

// wanted returns the traits of a destination under options.
func wanted(t traits, o *Options) traits {
	if o.DestinationCtx != nil && o.DestinationCtx.OCIAcceptUncompressedLayers && t.mediaTypes != nil {
		t.compress = false
	}
	return t
}

// reasonInOptions names an option that only upstream can carry out.
func reasonInOptions(o *Options) string {
	sys := o.DestinationCtx
	for _, c := range []struct {
		set    bool
		reason string
	}{
		{len(o.Signers) > 0, "Signers make new signatures"},
		{o.SignBy != "", "SignBy makes a new signature"},
		{o.SignBySigstorePrivateKeyFile != "", "SignBySigstorePrivateKeyFile makes a new signature"},
		{o.ForceManifestMIMEType != "", "ForceManifestMIMEType converts manifests"},
		{o.OciEncryptConfig != nil || o.OciEncryptLayers != nil, "OciEncryptConfig or OciEncryptLayers encrypts layers"},
		{o.OciDecryptConfig != nil, "OciDecryptConfig decrypts layers"},
		{o.DownloadForeignLayers, "DownloadForeignLayers changes layers"},
		{len(o.EnsureCompressionVariantsExist) > 0, "EnsureCompressionVariantsExist adds instances"},
		{o.ForceCompressionFormat, "ForceCompressionFormat changes layers"},
		{o.ReportResolvedReference != nil, "ReportResolvedReference is known to upstream only"},
		{o.DestinationTimestamp != nil, "DestinationTimestamp is known to upstream only"},
		{sys != nil && sys.CompressionFormat != nil, "DestinationCtx.CompressionFormat changes layers"},
		{sys != nil && sys.DirForceCompress, "DestinationCtx.DirForceCompress changes layers"},
		{sys != nil && sys.DirForceDecompress, "DestinationCtx.DirForceDecompress changes layers"},
	} {
		if c.set {
			return c.reason
		}
	}
	return ""
}

// reasonInImages names an image that has to change at the destination, or that the engine does not understand.
func reasonInImages(in wayInput, dest traits) string {
	for _, d := range sortedKeys(in.mediaTypes) {
		if mt := in.mediaTypes[d]; dest.mediaTypes != nil && !slices.Contains(dest.mediaTypes, mt) {
			return fmt.Sprintf("%s has to be converted: the destination does not store %s", short(d), mt)
		}
	}
	for _, d := range sortedKeys(in.images) {
		image := in.images[d]
		if image == nil {
			return fmt.Sprintf("%s is a Docker schema 1 image", short(d))
		}
		fixed := in.options.PreserveDigests || in.digested || in.signed[d]
		for _, layer := range image.Layers {
			if dest.compress && !fixed && uncompressed(image, layer) {
				return fmt.Sprintf("%s has uncompressed layers, which the destination wants compressed", short(d))
			}
			if !dest.foreign && len(layer.URLs) > 0 {
				return fmt.Sprintf("%s has layers that are elsewhere, which the destination wants", short(d))
			}
		}
	}
	return ""
}

// uncompressed says whether upstream would compress the layer, by its media type.
func uncompressed(image *manifest.Image, layer manifest.Descriptor) bool {
	switch layer.MediaType {
	case imgspecv1.MediaTypeImageLayer, imgspecv1.MediaTypeImageLayerNonDistributable: //nolint:staticcheck // still in use
		return image.Config.MediaType == imgspecv1.MediaTypeImageConfig
	case manifest.MediaTypeDockerLayer, manifest.MediaTypeDockerForeignLayer:
		return true
	}
	return false
}

func sortedKeys[V any](m map[digest.Digest]V) []digest.Digest {
	keys := make([]digest.Digest, 0, len(m))
	for d := range m {
		keys = append(keys, d)
	}
	slices.Sort(keys)
	return keys
}

// upstreamOptions translates options and plan for upstream's copy. It fails with an *OptionsError for what upstream cannot express.
func upstreamOptions(o *Options, plan *Plan) (*upstream.Options, error) {
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
		return u, nil
	}
	if err := inexpressible(o, plan); err != nil {
		return nil, err
	}
	u.ImageListSelection = upstream.CopySpecificImages
	if everything(plan.List) {
		u.ImageListSelection = upstream.CopyAllImages
		return u, nil
	}
	for _, ip := range plan.List.Instances {
		if ip.Decision == Copy {
			u.Instances = append(u.Instances, ip.Digest)
		}
	}
	u.SparseManifestListAction = upstream.SparseManifestListAction(plan.Action)
	return u, nil
}

func everything(l *ListPlan) bool {
	return !slices.ContainsFunc(l.Instances, func(ip InstancePlan) bool { return ip.Decision != Copy })
}

// inexpressible refuses a plan that upstream's options cannot express.
func inexpressible(o *Options, plan *Plan) error {
	refuse := func(option, why string) error {
		return &OptionsError{
			[]string{option}, fmt.Sprintf("%s, which upstream's copy cannot do, and the work has to go there: %s", why, plan.WayReason),
		}
	}
	decided := map[digest.Digest]Decision{}
	for _, ip := range plan.List.Instances {
		if ip.Nested != nil {
			return refuse("ImageListSelection", "the list has nested lists")
		}
		if before, ok := decided[ip.Digest]; ok && before != ip.Decision {
			return refuse("InstanceIndexes", fmt.Sprintf("one of the entries with the digest %s is selected and another is not", ip.Digest))
		}
		decided[ip.Digest] = ip.Decision
	}
	if plan.Asked == AutoSparseManifestList && plan.sparse() {
		return refuse("SparseManifestListAction", "auto needs the registry's own refusal")
	}
	if len(o.EnsureCompressionVariantsExist) > 0 && !everything(plan.List) {
		return refuse("EnsureCompressionVariantsExist", "a subset is selected")
	}
	return nil
}
