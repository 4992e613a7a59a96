package copy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	compressiontypes "go.podman.io/image/v5/pkg/compression/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/handover"
	"github.com/sparsecopy/sparsecopy/copy/plan"

	encconfig "github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/pkg/compression"
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
func wayImage(layers ...string) *imgspecv1.Manifest {
	image := &imgspecv1.Manifest{MediaType: ociManifest, Config: imgspecv1.Descriptor{
		MediaType: imgspecv1.MediaTypeImageConfig, Digest: digest.FromString("config"), Size: 1,
	}}
	image.SchemaVersion = 2
	for _, layer := range layers {
		if strings.HasPrefix(layer, "application/vnd.docker.") {
			image.MediaType = manifest.MediaTypeDockerManifest
			image.Config.MediaType = manifest.MediaTypeDockerConfig
		}
		image.Layers = append(image.Layers, imgspecv1.Descriptor{MediaType: layer, Digest: digest.FromString(layer), Size: 1})
	}
	return image
}

func elsewhere(image *imgspecv1.Manifest) *imgspecv1.Manifest {
	image.Layers[0].URLs = []string{"http://example.com/layer"}
	return image
}

// wayTo plans to copy an image with o, and expects no error.
func wayTo(t *testing.T, o *Options, source, dest string, image *imgspecv1.Manifest, known func(*plan.Input)) *Plan {
	t.Helper()
	p, err := planTo(t, o, source, dest, image, known)
	require.NoError(t, err)
	return p
}

// planTo plans to copy an image with o.
func planTo(t *testing.T, o *Options, source, dest string, image *imgspecv1.Manifest, known func(*plan.Input)) (*Plan, error) {
	t.Helper()
	b, err := json.Marshal(image)
	require.NoError(t, err)
	choices := o.choices()
	choices.ImageListSelection = plan.CopyAllImages
	choices.InstancePlatforms, choices.OptionalPlatforms, choices.RequiredPlatforms = nil, nil, nil
	choices.Instances, choices.InstanceIndexes, choices.RemoveListSignatures = nil, nil, false
	choices.Referrers, choices.ReferrerTypes, choices.DigestTags = plan.NoReferrers, nil, false
	choices.DigestTagSuffixes, choices.EntriesAsReferrers = plan.CosignDigestTags, false
	in := plan.Input{Top: Document{MediaType: image.MediaType, Bytes: b}, Choices: choices, Way: wayFacts(o, source, dest)}
	if known != nil {
		known(&in)
	}
	return plan.New(in)
}

// neverReasons are the options that change no image and hand nothing over by themselves, with what
// carries them out.
var neverReasons = map[string]string{
	"RemoveSignatures": "they are not read", "RemoveListSignatures": "they are not read",
	"Earlier": "what is there", "Recheck": "what is there",
	"Signers": "the signatures", "SignBy": "the signatures", "SignPassphrase": "the signatures",
	"SignBySigstorePrivateKeyFile": "the signatures", "SignSigstorePrivateKeyPassphrase": "the signatures",
	"SignIdentity": "the signatures", "AlwaysSign": "the signatures", "PreviousPublicKeyFiles": "the signatures",
	"VerifierID": "what the mirror says", "OriginPolicy": "what the mirror says", "PolicyURI": "what the mirror says", "PolicyDigest": "what the mirror says",
	"BundleVerifier": "what the mirror says",
	"ReportWriter":   "progress", "Progress": "progress", "ProgressInterval": "progress",
	"SourceCtx":          "the end",
	"ImageListSelection": "the plan", "Instances": "the plan", "InstancePlatforms": "the plan", "SparseManifestListAction": "the plan",
	"PreferGzipInstances": "the choice of the system's image", "ConcurrentBlobCopiesSemaphore": "the budget", "MaxParallelDownloads": "the budget",
	"OptimizeDestinationImageAlreadyExists": "what is there is always looked for",
	"InstanceIndexes":                       "the plan", "OptionalPlatforms": "the plan", "RequiredPlatforms": "the plan", "Attestations": "the plan",
	"MissingInstances": "the plan", "Referrers": "the plan", "ReferrerTypes": "the plan", "DigestTags": "the plan", "DigestTagSuffixes": "the plan", "ReferrersFrom": "the plan",
	"SingleImage": "the plan", "PlatformlessEntries": "the plan", "EntriesAsReferrers": "the plan", "KeepVoid": "the plan", "WidenedChildTags": "the plan", "AttachOriginal": "the plan",
	"ListSignatures": "the plan", "ChangedSubjects": "the plan",
	"AnnotateTransformed": "the plan", "CheckBlobs": "the comparison", "CompareDestination": "the comparison", "Report": "the report", "Overview": "progress",
	"Replacing": "asked before anything is copied",
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
		image   *imgspecv1.Manifest // nil: gzip
		dest    string              // "": docker
		want    string              // what the reason contains: the option, if it is one; "" if the image is carried
		whole   bool                // upstream does the whole work
		// impossible is set if the options cannot be carried out.
		impossible bool
	}
	rows := []row{
		{name: "nothing"},
		// Options that only upstream can carry out.
		{name: "OciEncryptConfig", options: Options{OciEncryptConfig: &encconfig.EncryptConfig{}}},
		{name: "OciEncryptConfig and layers", options: Options{OciEncryptConfig: &encconfig.EncryptConfig{}, OciEncryptLayers: &[]int{}}, want: "OciEncryptConfig"},
		{name: "OciEncryptLayers", options: Options{OciEncryptLayers: &[]int{}}, want: "OciEncryptLayers"},
		{
			name:    "EnsureCompressionVariantsExist",
			options: Options{EnsureCompressionVariantsExist: []OptionCompressionVariant{{Algorithm: compression.Zstd}}},
			want:    "EnsureCompressionVariantsExist", impossible: true,
		},
		{name: "ForceCompressionFormat", options: Options{ForceCompressionFormat: true}, want: "ForceCompressionFormat"},
		// Options that only some transports know.
		{name: "DestinationTimestamp", options: Options{DestinationTimestamp: &at}, dest: "oci-archive", want: "DestinationTimestamp", whole: true},
		{name: "DestinationTimestamp, no effect", options: Options{DestinationTimestamp: &at}},
		{name: "ReportResolvedReference", options: Options{ReportResolvedReference: new(types.ImageReference)}},
		{name: "ReportResolvedReference, storage", options: Options{ReportResolvedReference: new(types.ImageReference)}, dest: "containers-storage", want: "not written natively", whole: true},
		// Options that change some images.
		{name: "forced type is there", options: Options{ForceManifestMIMEType: ociManifest}},
		{name: "forced type is not there", options: Options{ForceManifestMIMEType: ociManifest}, image: docker, want: "ForceManifestMIMEType"},
		{name: "forced type and digests", options: Options{ForceManifestMIMEType: ociManifest, PreserveDigests: true}, image: docker},
		{name: "gzip is there", options: sys(types.SystemContext{CompressionFormat: &compression.Gzip})},
		{name: "gzip is not there", options: sys(types.SystemContext{CompressionFormat: &compression.Gzip}), image: wayImage(gzipLayer, zstdLayer), want: "DestinationCtx.CompressionFormat"},
		{name: "gzip is not there, digests", options: Options{PreserveDigests: true, DestinationCtx: &types.SystemContext{CompressionFormat: &compression.Gzip}}, image: wayImage(zstdLayer)},
		{name: "gzip is not there, directory", options: sys(types.SystemContext{CompressionFormat: &compression.Gzip}), image: wayImage(zstdLayer), dest: "dir"},
		{name: "zstd is there", options: sys(types.SystemContext{CompressionFormat: &compression.Zstd}), image: wayImage(zstdLayer)},
		{name: "zstd:chunked may be there", options: sys(types.SystemContext{CompressionFormat: &compression.ZstdChunked}), image: wayImage(zstdLayer), want: "DestinationCtx.CompressionFormat"},
		{name: "zstd and Docker", options: sys(types.SystemContext{CompressionFormat: &compression.Zstd}), image: docker, dest: "dir", want: "DestinationCtx.CompressionFormat"},
		{name: "zstd and Docker, digests", options: Options{PreserveDigests: true, DestinationCtx: &types.SystemContext{CompressionFormat: &compression.Zstd}}, image: docker},
		{name: "zstd and forced Docker, digests", options: Options{PreserveDigests: true, ForceManifestMIMEType: manifest.MediaTypeDockerManifest, DestinationCtx: &types.SystemContext{CompressionFormat: &compression.Zstd}}, image: docker, want: "DestinationCtx.CompressionFormat", impossible: true},
		{name: "bzip2", options: sys(types.SystemContext{CompressionFormat: &compression.Bzip2}), want: "DestinationCtx.CompressionFormat", impossible: true},
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
		{name: "docker-archive", dest: "docker-archive", want: "not written natively", whole: true},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			p, err := planTo(t, &r.options, "docker", cmp.Or(r.dest, "docker"), cmp.Or(r.image, gzip), nil)
			if r.impossible {
				var invalid *OptionsError
				require.ErrorAs(t, err, &invalid)
				assert.Contains(t, invalid.Options, r.want)
				return
			}
			require.NoError(t, err)
			if r.whole {
				assert.Equal(t, Upstream, p.Way)
				assert.Contains(t, p.WayReason, r.want)
				return
			}
			assert.Equal(t, Native, p.Way, p.WayReason)
			if r.want == "" {
				assert.Empty(t, p.Image.Transform)
				return
			}
			assert.Contains(t, p.Image.Transform, r.want)
			facts, choices := wayFacts(&r.options, "docker", cmp.Or(r.dest, "docker")), r.options.choices()
			if isOption := reflect.ValueOf(r.options).FieldByName(strings.Split(r.want, ".")[0]).IsValid(); isOption && plan.CertainWay(facts) == Native {
				usual := access.Transports[cmp.Or(r.dest, "docker")].Layers
				assert.True(t, facts.MayChangeImages(&choices, usual), "a destination is not compared with what may change")
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
				for _, dest := range []string{"docker", "oci", "oci-archive", "dir"} {
					p := wayTo(t, &o, "docker", dest, gzip, nil)
					assert.Equal(t, Native, p.Way, "%s to %s: %s", field.Name, dest, p.WayReason)
					assert.Empty(t, p.Image.Transform, "%s to %s", field.Name, dest)
				}
				continue
			}
			assert.True(t, isIn, "%s: say here when it is a reason", field.Name)
		}
	})
	t.Run("signed", func(t *testing.T) {
		image := wayImage(plainLayer)
		signed := func(in *plan.Input) {
			in.Way.Signed = map[digest.Digest]bool{digest.FromBytes(in.Top.Bytes): true}
		}
		digested := func(in *plan.Input) { in.DestinationDigest = digest.FromBytes(in.Top.Bytes) }
		assert.Empty(t, wayTo(t, &Options{}, "docker", "docker", image, signed).Image.Transform, "a signed image is not compressed")
		assert.Empty(t, wayTo(t, &Options{}, "docker", "docker", image, digested).Image.Transform, "nor is one for a digest")
		image.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
		assert.Empty(t, wayTo(t, &Options{}, "docker", "docker", image, nil).Image.Transform, "nor is an artifact")
		schema1 := func(in *plan.Input) {
			in.Top = Document{MediaType: manifest.MediaTypeDockerSchema1, Bytes: []byte(`{"schemaVersion":1,"fsLayers":[],"history":[]}`)}
		}
		assert.Contains(t, wayTo(t, &Options{}, "docker", "docker", image, schema1).Image.Transform, "schema 1")
		assert.Contains(t, wayTo(t, &Options{}, "docker-archive", "docker", image, nil).WayReason, "the source transport")
	})
}

// TestCompressionsAreUpstreams holds the names of compressions in package plan to upstream's.
func TestCompressionsAreUpstreams(t *testing.T) {
	for layer, format := range map[string]*compressiontypes.Algorithm{gzipLayer: &compression.Gzip, zstdLayer: &compression.Zstd} {
		o := Options{DestinationCtx: &types.SystemContext{CompressionFormat: format}}
		assert.Empty(t, wayTo(t, &o, "docker", "docker", wayImage(layer), nil).Image.Transform, layer)
	}
}

// TestCheckGroup refuses lists where there is no place for them.
func TestCheckGroup(t *testing.T) {
	list, image := Document{MediaType: ociIndex}, Document{MediaType: ociManifest}
	all, some := &Options{ImageListSelection: CopyAllImages}, &Options{ImageListSelection: CopySpecificImages}
	for _, single := range []string{"containers-storage", "docker-archive", "docker-daemon"} {
		for _, o := range []*Options{all, some} {
			var invalid *OptionsError
			require.ErrorAs(t, handover.CheckGroup(o.ImageListSelection, list, single), &invalid)
			assert.Equal(t, []string{"ImageListSelection"}, invalid.Options)
			assert.Contains(t, invalid.Reason, `destination transport "`+single+`" does not support copying multiple images as a group`)
			assert.NoError(t, handover.CheckGroup(o.ImageListSelection, image, single))
		}
		assert.NoError(t, handover.CheckGroup(CopySystemImage, list, single))
	}
	for _, other := range []string{"docker", "oci", "oci-archive", "dir", "unheard-of"} {
		assert.NoError(t, handover.CheckGroup(all.ImageListSelection, list, other))
	}
}

// TestUpstreamGetsEveryOption fills in every field that upstream has, and finds it in what upstream
// gets.
func TestUpstreamGetsEveryOption(t *testing.T) {
	// Decided by the plan, or without meaning for the one image that the plan has here.
	planned := []string{"Instances", "InstancePlatforms", "SparseManifestListAction"}
	// It borrows Signers when it runs.
	planned = append(planned, "Signers", "SignBy", "SignPassphrase", "SignBySigstorePrivateKeyFile", "SignSigstorePrivateKeyPassphrase")
	var o Options
	ours := reflect.ValueOf(&o).Elem()
	theirs := reflect.TypeFor[upstream.Options]()
	for field := range theirs.Fields() {
		if field.IsExported() && !slices.Contains(planned, field.Name) {
			set(t, ours.FieldByName(field.Name))
		}
	}
	u := upstreamOptions(&o, &Plan{})
	for field := range theirs.Fields() {
		if field.IsExported() && !slices.Contains(planned, field.Name) {
			got := reflect.ValueOf(u).Elem().FieldByName(field.Name)
			assert.False(t, got.IsZero(), field.Name)
			assert.Equal(t, ours.FieldByName(field.Name).Interface(), got.Interface(), field.Name)
		}
	}
}

// set makes a value that is not zero.
func set(t *testing.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint:
		v.SetUint(1)
	case reflect.Uint8: // types.OptionalBool
		v.SetUint(1)
	case reflect.String:
		v.SetString("x")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Func:
		v.Set(reflect.MakeFunc(v.Type(), func([]reflect.Value) []reflect.Value { return []reflect.Value{reflect.Zero(reflect.TypeFor[error]())} }))
	case reflect.Chan:
		v.Set(reflect.MakeChan(v.Type(), 0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Interface:
		switch v.Type() {
		case reflect.TypeFor[reference.Named]():
			v.Set(reflect.ValueOf(named(t, "example.com/app:v1")))
		case reflect.TypeFor[BundleVerifier]():
			v.Set(reflect.ValueOf(struct{ BundleVerifier }{}))
		default:
			v.Set(reflect.ValueOf(&bytes.Buffer{}))
		}
	default:
		t.Fatalf("a field of kind %s", v.Kind())
	}
}

func named(t *testing.T, name string) reference.Named {
	t.Helper()
	ref, err := reference.ParseNormalizedNamed(name)
	require.NoError(t, err)
	return ref
}
