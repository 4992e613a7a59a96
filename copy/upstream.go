package copy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	upstream "go.podman.io/image/v5/copy"
	compression "go.podman.io/image/v5/pkg/compression/types"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// traits are what the engine needs to know about a transport without opening anything: opening some destinations erases them.
type traits struct {
	source      bool                   // can be read natively
	destination bool                   // can be written natively
	peekable    bool                   // a destination can be opened without changing it
	mediaTypes  []string               // that a destination stores; nil means any
	layers      types.LayerCompression // what a destination wants done to layers
	foreign     bool                   // a destination leaves layers with URLs where they are
	timestamps  bool                   // a destination can date what it creates
	single      bool                   // a destination holds images, and has no place for lists
}

// transportTraits are those of the transports that the engine serves natively, and of those that upstream has to serve of which
// something is known.
var transportTraits = map[string]traits{
	"containers-storage": {single: true}, "docker-archive": {single: true}, "docker-daemon": {single: true},
	"docker": {source: true, destination: true, peekable: true, layers: types.Compress, foreign: true},
	"oci": {
		source: true, destination: true, peekable: true, layers: types.Compress, foreign: true,
		mediaTypes: []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex},
	},
	"oci-archive": {
		source: true, destination: true, layers: types.Compress, foreign: true, timestamps: true,
		mediaTypes: []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex},
	},
	"dir": {source: true, destination: true, layers: types.PreserveOriginal},
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

// A wayReason says why the work has to be done by upstream's copy; its zero value, that it is done natively.
type wayReason struct {
	option string // the field of Options that is the cause, "" if it is something else
	text   string
}

// upstreamReason decides who does the work. Before the images have been read, it says what is certain without them.
func upstreamReason(in wayInput) wayReason {
	dest := wanted(transportTraits[in.destination], in)
	if reason := reasonInOptions(in.options, dest); reason.text != "" {
		return reason
	}
	if !transportTraits[in.source].source {
		return wayReason{text: fmt.Sprintf("the source transport %s is not read natively", in.source)}
	}
	if !dest.destination {
		return wayReason{text: fmt.Sprintf("the destination transport %s is not written natively", in.destination)}
	}
	return reasonInImages(in, dest)
}

// checkGroup refuses to copy a list, as upstream does, to a destination that has no place for it.
func checkGroup(o *Options, top Document, destination string) error {
	if !isList(top) || o.ImageListSelection == CopySystemImage || !transportTraits[destination].single {
		return nil
	}
	return &OptionsError{[]string{"ImageListSelection"}, fmt.Sprintf(
		"copying multiple images: destination transport %q does not support copying multiple images as a group", destination)}
}

// wanted returns the traits of a destination under options.
func wanted(t traits, in wayInput) traits {
	sys := in.options.DestinationCtx
	switch {
	case sys == nil:
	case in.destination == "dir" && sys.DirForceCompress:
		t.layers = types.Compress
	case in.destination == "dir" && sys.DirForceDecompress:
		t.layers = types.Decompress
	case t.mediaTypes != nil && sys.OCIAcceptUncompressedLayers:
		t.layers = types.PreserveOriginal
	}
	return t
}

// reasonInOptions names an option that only upstream can carry out, whatever the images are.
func reasonInOptions(o *Options, dest traits) wayReason {
	format := compressionFormat(o)
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
			return wayReason{c.option, c.option + " " + c.does}
		}
	}
	return wayReason{}
}

// mayChangeImages says whether an option asks for images to be as they need not be at the source. Then a digest that the destination
// has already says nothing.
func mayChangeImages(in wayInput) bool {
	o := in.options
	dest := wanted(transportTraits[in.destination], in)
	return o.ForceManifestMIMEType != "" || compressionFormat(o) != "" || o.OciDecryptConfig != nil || o.DownloadForeignLayers ||
		dest.layers != transportTraits[in.destination].layers
}

// knownFormats are the names of the compressions that manifests can state; "" stands for none asked for.
var knownFormats = []string{"", compression.GzipAlgorithmName, compression.ZstdAlgorithmName, compression.ZstdChunkedAlgorithmName}

// compressionFormat returns the name of the compression that is asked for, "" if none is.
func compressionFormat(o *Options) string {
	if o.DestinationCtx == nil || o.DestinationCtx.CompressionFormat == nil {
		return ""
	}
	return o.DestinationCtx.CompressionFormat.Name()
}

// reasonInImages names an image that has to change at the destination, or that the engine does not understand.
func reasonInImages(in wayInput, dest traits) wayReason {
	for _, d := range sortedKeys(in.mediaTypes) {
		mt := in.mediaTypes[d]
		if forced := forcedType(in.options, mt); mt != forced {
			return wayReason{"ForceManifestMIMEType", fmt.Sprintf("ForceManifestMIMEType converts %s, which is %s", short(d), mt)}
		}
		if dest.mediaTypes != nil && !slices.Contains(dest.mediaTypes, mt) {
			return wayReason{text: fmt.Sprintf("%s has to be converted: the destination does not store %q", short(d), mt)}
		}
	}
	for _, d := range sortedKeys(in.images) {
		image := in.images[d]
		if image == nil {
			return wayReason{text: fmt.Sprintf("%s is a Docker schema 1 image", short(d))}
		}
		fixed := in.options.PreserveDigests || in.digested || in.signed[d]
		if reason := reasonInImage(in.options, dest, image, fixed); reason.text != "" {
			reason.text = fmt.Sprintf("%s %s", short(d), reason.text)
			return reason
		}
	}
	return wayReason{}
}

// forcedType returns the media type that a manifest or list of type mt has to have, mt itself if none is forced.
func forcedType(o *Options, mt string) string {
	forced := cmp.Or(o.ForceManifestMIMEType, mt)
	if !manifest.IsListMediaType(mt) {
		return forced
	}
	switch forced {
	case manifest.MediaTypeDockerManifest, manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerSchema1Signed:
		return manifest.MediaTypeDockerList
	case imgspecv1.MediaTypeImageManifest:
		return imgspecv1.MediaTypeImageIndex
	}
	return forced
}

// reasonInImage says why an image has to change. fixed is set if its manifest must not: then its layers stay as they are, unless
// somebody asks for the impossible, which upstream has the words for.
func reasonInImage(o *Options, dest traits, image *manifest.Image, fixed bool) wayReason {
	format := compressionFormat(o)
	const formatOption = "DestinationCtx.CompressionFormat"
	needsOCI := format != "" && format != compression.GzipAlgorithmName && image.MediaType != imgspecv1.MediaTypeImageManifest
	if needsOCI && (!fixed || o.ForceManifestMIMEType != "") { // upstream refuses to force what does not state the format
		return wayReason{formatOption, fmt.Sprintf("has to be converted: %s does not state %s", image.MediaType, format)}
	}
	for _, layer := range image.Layers {
		elsewhere := len(layer.URLs) > 0
		algorithm, changeable := compressionOf(image, layer)
		switch {
		case elsewhere && o.DownloadForeignLayers:
			return wayReason{"DownloadForeignLayers", "has layers that are elsewhere, which DownloadForeignLayers wants"}
		case elsewhere && dest.foreign:
			continue
		case elsewhere:
			return wayReason{text: "has layers that are elsewhere, which the destination wants"}
		case o.OciDecryptConfig != nil && encrypted(layer.MediaType):
			return wayReason{"OciDecryptConfig", "has encrypted layers, which OciDecryptConfig decrypts"}
		case fixed || !changeable:
		case dest.layers == types.Compress && algorithm == "":
			return wayReason{text: "has uncompressed layers, which the destination wants compressed"}
		case dest.layers == types.Compress && format != "" && algorithm != format:
			return wayReason{formatOption, fmt.Sprintf("has %s layers, which %s wants to be %s", algorithm, formatOption, format)}
		case dest.layers == types.Decompress && algorithm != "":
			return wayReason{"DestinationCtx.DirForceDecompress", "has compressed layers, which DestinationCtx.DirForceDecompress decompresses"}
		}
	}
	return wayReason{}
}

// compressionOf returns the name of a layer's compression by its media type, "" for none. Upstream leaves layers whose type it does
// not know, and those of artifacts, as they are: they are not changeable.
func compressionOf(image *manifest.Image, layer manifest.Descriptor) (algorithm string, changeable bool) {
	known := ociLayers
	if image.MediaType == manifest.MediaTypeDockerManifest {
		known = dockerLayers
	} else if image.Config.MediaType != imgspecv1.MediaTypeImageConfig {
		return "", false
	}
	algorithm, changeable = known[layer.MediaType]
	return algorithm, changeable
}

// The media types of layers, and their compressions.
var (
	ociLayers = map[string]string{
		imgspecv1.MediaTypeImageLayer:                     "",
		imgspecv1.MediaTypeImageLayerGzip:                 compression.GzipAlgorithmName,
		imgspecv1.MediaTypeImageLayerZstd:                 compression.ZstdAlgorithmName,
		imgspecv1.MediaTypeImageLayerNonDistributable:     "",                            //nolint:staticcheck // still in use
		imgspecv1.MediaTypeImageLayerNonDistributableGzip: compression.GzipAlgorithmName, //nolint:staticcheck // still in use
		imgspecv1.MediaTypeImageLayerNonDistributableZstd: compression.ZstdAlgorithmName, //nolint:staticcheck // still in use
	}
	dockerLayers = map[string]string{
		manifest.MediaTypeDockerLayer:            "",
		manifest.MediaTypeDockerLayerGzip:        compression.GzipAlgorithmName,
		manifest.MediaTypeDockerForeignLayer:     "",
		manifest.MediaTypeDockerForeignLayerGzip: compression.GzipAlgorithmName,
	}
)

// encrypted says whether a layer's media type is that of an encrypted one.
func encrypted(mediaType string) bool { return strings.HasSuffix(mediaType, "+encrypted") }

func sortedKeys[V any](m map[digest.Digest]V) []digest.Digest {
	keys := make([]digest.Digest, 0, len(m))
	for d := range m {
		keys = append(keys, d)
	}
	slices.Sort(keys)
	return keys
}

// upstreamOptions translates options and plan for upstream's copy. It fails with an *OptionsError for what upstream cannot express.
func upstreamOptions(o *Options, plan *Plan, reason wayReason) (*upstream.Options, error) {
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
	if err := inexpressible(o, plan, reason); err != nil {
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

// inexpressible refuses a plan that upstream's options cannot express. The error names the option that asks for it, and the one that makes
// it upstream's work, if it is one.
func inexpressible(o *Options, plan *Plan, reason wayReason) error {
	refuse := func(option, why string) error {
		options := []string{option}
		if reason.option != "" && reason.option != option {
			options = append(options, reason.option)
		}
		return &OptionsError{options, fmt.Sprintf("%s, which upstream's copy cannot do, and the work has to go there: %s", why, reason.text)}
	}
	if len(o.EnsureCompressionVariantsExist) > 0 && !everything(plan.List) {
		reason.option = "ImageListSelection"
		return refuse("EnsureCompressionVariantsExist", "variants are to be added to a subset")
	}
	decided := map[digest.Digest]Decision{}
	for _, ip := range plan.List.Instances {
		if ip.Nested != nil && ip.Decision == Copy {
			return refuse("ImageListSelection", "nested lists are selected")
		}
		if before, ok := decided[ip.Digest]; ok && before != ip.Decision {
			return refuse("InstanceIndexes", fmt.Sprintf("one of the entries with the digest %s is selected and another is not", ip.Digest))
		}
		decided[ip.Digest] = ip.Decision
	}
	if plan.Asked == AutoSparseManifestList && plan.sparse() {
		return refuse("SparseManifestListAction", "auto needs the registry's own refusal")
	}
	return nil
}
