package copy

import (
	"reflect"
	"slices"
	"testing"
	"time"

	encconfig "github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	ociManifest = imgspecv1.MediaTypeImageManifest
	ociIndex    = imgspecv1.MediaTypeImageIndex
	gzipLayer   = imgspecv1.MediaTypeImageLayerGzip
	zstdLayer   = imgspecv1.MediaTypeImageLayerZstd
	plainLayer  = imgspecv1.MediaTypeImageLayer
)

// wayImage is an image whose layers have the given media types, in OCI's format if the first is.
func wayImage(layers ...string) *manifest.Image {
	image := &manifest.Image{MediaType: ociManifest, Config: manifest.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig}}
	for _, layer := range layers {
		if _, docker := dockerLayers[layer]; docker {
			image.MediaType = manifest.MediaTypeDockerManifest
			image.Config.MediaType = manifest.MediaTypeDockerConfig
		}
		image.Layers = append(image.Layers, manifest.Descriptor{MediaType: layer})
	}
	return image
}

func elsewhere(image *manifest.Image) *manifest.Image {
	image.Layers[0].URLs = []string{"http://example.com/layer"}
	return image
}

// neverReasons are the options that hand nothing over by themselves, with what carries them out.
var neverReasons = map[string]string{
	"RemoveSignatures": "they are not read", "RemoveListSignatures": "they are not read",
	"SignPassphrase": "of SignBy", "SignSigstorePrivateKeyPassphrase": "of SignBySigstorePrivateKeyFile", "SignIdentity": "of either",
	"ReportWriter": "progress", "Progress": "progress", "ProgressInterval": "progress",
	"SourceCtx":          "the end",
	"ImageListSelection": "the plan", "Instances": "the plan", "InstancePlatforms": "the plan", "SparseManifestListAction": "the plan",
	"PreferGzipInstances": "the choice of the system's image", "ConcurrentBlobCopiesSemaphore": "the budget", "MaxParallelDownloads": "the budget",
	"OptimizeDestinationImageAlreadyExists": "what is there is always looked for",
	"InstanceIndexes":                       "the plan", "OptionalPlatforms": "the plan", "RequiredPlatforms": "the plan", "Attestations": "the plan",
	"MissingInstances": "the plan", "Referrers": "the plan", "ReferrerTypes": "the plan", "DigestTags": "the plan", "KeepVoid": "the plan",
	"ListSignatures": "the plan",
	"CheckBlobs":     "the comparison", "CompareDestination": "the comparison", "Report": "the report",
}

// TestUpstreamReason goes through every option, and what matters of images and transports.
func TestUpstreamReason(t *testing.T) {
	gzip := wayImage(gzipLayer)
	docker := wayImage(manifest.MediaTypeDockerLayerGzip)
	at := time.Unix(1, 0)
	sys := func(s types.SystemContext) Options { return Options{DestinationCtx: &s} }
	type row struct {
		name    string
		options Options
		image   *manifest.Image // nil: gzip
		dest    string          // "": docker
		want    string          // the option that is the reason, or what the reason contains; "" for natively
	}
	rows := []row{
		{name: "nothing"},
		// Options that only upstream can carry out.
		{name: "Signers", options: Options{Signers: []*signer.Signer{nil}}, want: "Signers"},
		{name: "SignBy", options: Options{SignBy: "key"}, want: "SignBy"},
		{name: "SignBySigstorePrivateKeyFile", options: Options{SignBySigstorePrivateKeyFile: "key"}, want: "SignBySigstorePrivateKeyFile"},
		{name: "OciEncryptConfig", options: Options{OciEncryptConfig: &encconfig.EncryptConfig{}}, want: "OciEncryptConfig"},
		{name: "OciEncryptLayers", options: Options{OciEncryptLayers: &[]int{}}, want: "OciEncryptLayers"},
		{
			name:    "EnsureCompressionVariantsExist",
			options: Options{EnsureCompressionVariantsExist: []OptionCompressionVariant{{Algorithm: compression.Zstd}}},
			want:    "EnsureCompressionVariantsExist",
		},
		{name: "ForceCompressionFormat", options: Options{ForceCompressionFormat: true}, want: "ForceCompressionFormat"},
		// Options that only some transports know.
		{name: "DestinationTimestamp", options: Options{DestinationTimestamp: &at}, dest: "oci-archive", want: "DestinationTimestamp"},
		{name: "DestinationTimestamp, no effect", options: Options{DestinationTimestamp: &at}},
		{name: "ReportResolvedReference", options: Options{ReportResolvedReference: new(types.ImageReference)}},
		{name: "ReportResolvedReference, storage", options: Options{ReportResolvedReference: new(types.ImageReference)}, dest: "containers-storage", want: "not written natively"},
		// Options that change some images.
		{name: "forced type is there", options: Options{ForceManifestMIMEType: ociManifest}},
		{name: "forced type is not there", options: Options{ForceManifestMIMEType: ociManifest}, image: docker, want: "ForceManifestMIMEType"},
		{name: "forced type and digests", options: Options{ForceManifestMIMEType: ociManifest, PreserveDigests: true}, image: docker, want: "ForceManifestMIMEType"},
		{name: "gzip is there", options: sys(types.SystemContext{CompressionFormat: &compression.Gzip})},
		{name: "gzip is not there", options: sys(types.SystemContext{CompressionFormat: &compression.Gzip}), image: wayImage(gzipLayer, zstdLayer), want: "DestinationCtx.CompressionFormat"},
		{name: "gzip is not there, digests", options: Options{PreserveDigests: true, DestinationCtx: &types.SystemContext{CompressionFormat: &compression.Gzip}}, image: wayImage(zstdLayer)},
		{name: "gzip is not there, directory", options: sys(types.SystemContext{CompressionFormat: &compression.Gzip}), image: wayImage(zstdLayer), dest: "dir"},
		{name: "zstd is there", options: sys(types.SystemContext{CompressionFormat: &compression.Zstd}), image: wayImage(zstdLayer)},
		{name: "zstd:chunked may be there", options: sys(types.SystemContext{CompressionFormat: &compression.ZstdChunked}), image: wayImage(zstdLayer), want: "DestinationCtx.CompressionFormat"},
		{name: "zstd and Docker", options: sys(types.SystemContext{CompressionFormat: &compression.Zstd}), image: docker, dest: "dir", want: "DestinationCtx.CompressionFormat"},
		{name: "zstd and Docker, digests", options: Options{PreserveDigests: true, DestinationCtx: &types.SystemContext{CompressionFormat: &compression.Zstd}}, image: docker},
		{name: "zstd and forced Docker, digests", options: Options{PreserveDigests: true, ForceManifestMIMEType: manifest.MediaTypeDockerManifest, DestinationCtx: &types.SystemContext{CompressionFormat: &compression.Zstd}}, image: docker, want: "DestinationCtx.CompressionFormat"},
		{name: "bzip2", options: sys(types.SystemContext{CompressionFormat: &compression.Bzip2}), want: "DestinationCtx.CompressionFormat"},
		{name: "level only", options: sys(types.SystemContext{CompressionLevel: new(int)})},
		{name: "decrypt nothing", options: Options{OciDecryptConfig: &encconfig.DecryptConfig{}}},
		{name: "decrypt", options: Options{OciDecryptConfig: &encconfig.DecryptConfig{}}, image: wayImage(gzipLayer + "+encrypted"), want: "OciDecryptConfig"},
		{name: "encrypted", image: wayImage(gzipLayer + "+encrypted")},
		{name: "encrypted, to be compressed", image: wayImage(plainLayer + "+encrypted")},
		{name: "download nothing", options: Options{DownloadForeignLayers: true}},
		{name: "download", options: Options{DownloadForeignLayers: true}, image: elsewhere(wayImage(gzipLayer)), want: "DownloadForeignLayers"},
		{name: "DirForceCompress elsewhere", options: sys(types.SystemContext{DirForceCompress: true})},
		{name: "DirForceCompress", options: sys(types.SystemContext{DirForceCompress: true}), dest: "dir"},
		{name: "DirForceCompress, plain", options: sys(types.SystemContext{DirForceCompress: true}), dest: "dir", image: wayImage(plainLayer), want: "uncompressed layers"},
		{name: "DirForceDecompress", options: sys(types.SystemContext{DirForceDecompress: true}), dest: "dir", want: "DestinationCtx.DirForceDecompress"},
		{name: "DirForceDecompress, plain", options: sys(types.SystemContext{DirForceDecompress: true}), dest: "dir", image: wayImage(plainLayer)},
		{name: "DirForceDecompress, digests", options: Options{PreserveDigests: true, DestinationCtx: &types.SystemContext{DirForceDecompress: true}}, dest: "dir"},
		{name: "DockerDisableDestSchema1MIMETypes", options: sys(types.SystemContext{DockerDisableDestSchema1MIMETypes: true})},
		// What destinations want.
		{name: "plain", image: wayImage(plainLayer), want: "uncompressed layers"},
		{name: "plain, Docker", image: wayImage(manifest.MediaTypeDockerLayer), want: "uncompressed layers"},
		{name: "plain, digests", options: Options{PreserveDigests: true}, image: wayImage(plainLayer)},
		{name: "plain, accepted", options: sys(types.SystemContext{OCIAcceptUncompressedLayers: true}), image: wayImage(plainLayer), dest: "oci"},
		{name: "plain, accepted elsewhere", options: sys(types.SystemContext{OCIAcceptUncompressedLayers: true}), image: wayImage(plainLayer), want: "uncompressed layers"},
		{name: "plain, directory", image: wayImage(plainLayer), dest: "dir"},
		{name: "plain and elsewhere", image: elsewhere(wayImage(imgspecv1.MediaTypeImageLayerNonDistributable))}, //nolint:staticcheck // still in use
		{name: "of unknown type", image: wayImage("application/vnd.in-toto+json")},
		{name: "elsewhere", image: elsewhere(wayImage(gzipLayer))},
		{name: "elsewhere, directory", image: elsewhere(wayImage(gzipLayer)), dest: "dir", want: "elsewhere"},
		{name: "Docker, layout", image: docker, dest: "oci", want: "does not store"},
		{name: "Docker, archive", image: docker, dest: "oci-archive", want: "does not store"},
		{name: "Docker, directory", image: docker, dest: "dir"},
		{name: "docker-archive", dest: "docker-archive", want: "not written natively"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			in := wayInput{options: &r.options, source: "docker", destination: r.dest}
			if in.destination == "" {
				in.destination = "docker"
			}
			image := r.image
			if image == nil {
				image = gzip
			}
			d := digest.FromString("image")
			in.images = map[digest.Digest]*manifest.Image{d: image}
			in.mediaTypes = map[digest.Digest]string{d: image.MediaType}
			got := upstreamReason(in)
			if r.want == "" {
				assert.Zero(t, got)
				return
			}
			require.NotEmpty(t, got.text)
			if got.option != "" {
				assert.Equal(t, r.want, got.option)
			} else {
				assert.Contains(t, got.text, r.want)
			}
			if upstreamReason(wayInput{options: in.options, source: "docker", destination: in.destination}).text == "" {
				assert.True(t, got.option == "" || mayChangeImages(in), "a destination is not compared with what may change")
			}
		})
	}

	t.Run("every option", func(t *testing.T) {
		for field := range reflect.TypeFor[Options]().Fields() {
			if !field.IsExported() {
				continue
			}
			isIn := slices.ContainsFunc(rows, func(r row) bool { return !reflect.ValueOf(r.options).FieldByIndex(field.Index).IsZero() })
			if _, never := neverReasons[field.Name]; never {
				assert.False(t, isIn, "%s: it is no reason, and in the table", field.Name)
				var o Options
				set(t, reflect.ValueOf(&o).Elem().FieldByIndex(field.Index))
				d := digest.FromString("image")
				for _, dest := range []string{"docker", "oci", "oci-archive", "dir"} {
					in := wayInput{options: &o, source: "docker", destination: dest, images: map[digest.Digest]*manifest.Image{d: gzip}, mediaTypes: map[digest.Digest]string{d: ociManifest}}
					assert.Zero(t, upstreamReason(in), "%s to %s", field.Name, dest)
				}
				continue
			}
			assert.True(t, isIn, "%s: say here when it is a reason", field.Name)
		}
	})
	t.Run("signed", func(t *testing.T) {
		d := digest.FromString("image")
		image := wayImage(plainLayer)
		in := wayInput{
			options: &Options{}, source: "docker", destination: "docker", signed: map[digest.Digest]bool{d: true},
			mediaTypes: map[digest.Digest]string{d: ociManifest}, images: map[digest.Digest]*manifest.Image{d: image},
		}
		assert.Zero(t, upstreamReason(in), "a signed image is not compressed")
		in.signed, in.digested = nil, true
		assert.Zero(t, upstreamReason(in), "nor is one for a digest")
		image.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
		in.digested = false
		assert.Zero(t, upstreamReason(in), "nor is an artifact")
		in.images[d] = nil
		assert.Contains(t, upstreamReason(in).text, "schema 1")
		in.source = "docker-archive"
		assert.Contains(t, upstreamReason(in).text, "the source transport")
	})
	t.Run("lists", func(t *testing.T) {
		for forced, types := range map[string][2]string{
			ociManifest:                      {ociIndex, manifest.MediaTypeDockerList},
			manifest.MediaTypeDockerManifest: {manifest.MediaTypeDockerList, ociIndex},
			manifest.MediaTypeDockerSchema1:  {manifest.MediaTypeDockerList, ociIndex},
			ociIndex:                         {ociIndex, manifest.MediaTypeDockerList},
		} {
			in := wayInput{options: &Options{ForceManifestMIMEType: forced}, source: "docker", destination: "docker"}
			in.mediaTypes = map[digest.Digest]string{digest.FromString("list"): types[0]}
			assert.Zero(t, upstreamReason(in), forced)
			in.mediaTypes = map[digest.Digest]string{digest.FromString("list"): types[1]}
			assert.Equal(t, "ForceManifestMIMEType", upstreamReason(in).option, forced)
		}
	})
}

// TestCheckGroup refuses lists where there is no place for them.
func TestCheckGroup(t *testing.T) {
	list, image := Document{MediaType: ociIndex}, Document{MediaType: ociManifest}
	all, some := &Options{ImageListSelection: CopyAllImages}, &Options{ImageListSelection: CopySpecificImages}
	for _, single := range []string{"containers-storage", "docker-archive", "docker-daemon"} {
		for _, o := range []*Options{all, some} {
			var invalid *OptionsError
			require.ErrorAs(t, checkGroup(o, list, single), &invalid)
			assert.Equal(t, []string{"ImageListSelection"}, invalid.Options)
			assert.Contains(t, invalid.Reason, `destination transport "`+single+`" does not support copying multiple images as a group`)
			assert.NoError(t, checkGroup(o, image, single))
		}
		assert.NoError(t, checkGroup(&Options{}, list, single))
	}
	for _, other := range []string{"docker", "oci", "oci-archive", "dir", "unheard-of"} {
		assert.NoError(t, checkGroup(all, list, other))
	}
}

// TestInexpressible refuses what upstream's options cannot say, with the names of both options.
func TestInexpressible(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	list := func(instances ...InstancePlan) *Plan {
		return &Plan{List: &ListPlan{Digest: "list", Instances: instances}}
	}
	reason := wayReason{"SignBy", "SignBy makes a new signature"}
	variants := &Options{EnsureCompressionVariantsExist: []OptionCompressionVariant{{Algorithm: compression.Zstd}}}
	nested := &ListPlan{}
	sparse := list(InstancePlan{Digest: a, Decision: Copy}, InstancePlan{Digest: b, Decision: Skip})
	sparse.Asked, sparse.List.Absent = AutoSparseManifestList, []digest.Digest{b}
	for name, c := range map[string]struct {
		options *Options
		plan    *Plan
		reason  wayReason
		want    []string // nil if it can be expressed
	}{
		"subset":                        {&Options{}, list(InstancePlan{Digest: a, Decision: Copy}, InstancePlan{Digest: b, Decision: Skip}), reason, nil},
		"one of two equal digests":      {&Options{}, list(InstancePlan{Digest: a, Decision: Copy}, InstancePlan{Digest: a, Decision: Skip}), reason, []string{"InstanceIndexes", "SignBy"}},
		"both of two equal digests":     {&Options{}, list(InstancePlan{Digest: a, Decision: Copy}, InstancePlan{Digest: a, Decision: Copy}), reason, nil},
		"nested list":                   {&Options{}, list(InstancePlan{Digest: a, Decision: Copy, Nested: nested}), reason, []string{"ImageListSelection", "SignBy"}},
		"nested list, not selected":     {&Options{}, list(InstancePlan{Digest: b, Decision: Copy}, InstancePlan{Digest: a, Decision: Skip, Nested: nested}), reason, nil},
		"nested list, not by an option": {&Options{}, list(InstancePlan{Digest: a, Decision: Copy, Nested: nested}), wayReason{text: "it is so"}, []string{"ImageListSelection"}},
		"auto":                          {&Options{}, sparse, reason, []string{"SparseManifestListAction", "SignBy"}},
		"variants of a subset":          {variants, list(InstancePlan{Digest: a, Decision: Copy}, InstancePlan{Digest: b, Decision: Skip}), wayReason{"EnsureCompressionVariantsExist", "adds"}, []string{"EnsureCompressionVariantsExist", "ImageListSelection"}},
		"variants of everything":        {variants, list(InstancePlan{Digest: a, Decision: Copy}), wayReason{"EnsureCompressionVariantsExist", "adds"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := upstreamOptions(c.options, c.plan, c.reason)
			if c.want == nil {
				require.NoError(t, err)
				if everything(c.plan.List) {
					assert.Equal(t, upstream.CopyAllImages, u.ImageListSelection)
				} else {
					assert.Equal(t, upstream.CopySpecificImages, u.ImageListSelection)
				}
				return
			}
			var invalid *OptionsError
			require.ErrorAs(t, err, &invalid)
			assert.Equal(t, c.want, invalid.Options)
		})
	}
}
