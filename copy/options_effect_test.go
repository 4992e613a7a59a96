package copy_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	encconfig "github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/signature/sigstore"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// An effectTest sets options of copies from one signed list at a registry, and tells what became of
// them.
type effectTest struct {
	*copytest.Env
	t       *testing.T
	src     copytest.RegistryPlace
	fixture *imagetest.Fixture
	private string
	signing *copy.Copier // opens the key once, which takes as long as many copies
}

// copier returns a Copier for one copy with o; those with a key share one.
func (e *effectTest) copier(o copy.Options) *copy.Copier {
	if o.SignBySigstorePrivateKeyFile != "" {
		return e.signing
	}
	return e.Copier(o)
}

// seen is everything that a copy can be told by: its error, the destination, and what the report
// says.
func (e *effectTest) seen(t *testing.T, source string, o copy.Options) string {
	dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
	var r copy.Report
	o.Report = &r
	src := e.src
	if source == "signed" {
		src.Repo = "signed"
	}
	_, err := e.copier(o).Image(t.Context(), e.Policy, dst.Ref("v1"), src.Ref(source), e.Options(o))
	text := fmt.Sprintf("error %v\n%s\nwarnings %v", err, dst.Snapshot(dst.Repo), r.Warnings)
	if r.Plan != nil {
		text += "\nway " + string(r.Plan.Way)
	}
	return strings.ReplaceAll(text, dst.Host(), "HOST")
}

// differs fails the test unless a copy with one choice more is another one.
func (e *effectTest) differs(t *testing.T, source string, without copy.Options, set func(*copy.Options)) string {
	with := without
	set(&with)
	seen := e.seen(t, source, with)
	assert.NotEqual(t, e.seen(t, source, without), seen)
	return seen
}

// TestEveryOptionHasAnEffect sets each field of Options and sees what it does, or that it is
// refused. A field that is not here fails it.
func TestEveryOptionHasAnEffect(t *testing.T) {
	env, private, _ := copytest.NewSigningEnv(t)
	e := &effectTest{Env: env, t: t, private: private, signing: env.Copier(copy.Options{}), fixture: imagetest.New()}
	f := e.fixture
	f.Layer("zstd", imagetest.Zstd())
	f.Layer("elsewhere", imagetest.Foreign("http://127.0.0.1:1/layer"))
	f.Blob("encrypted", imgspecv1.MediaTypeImageLayerGzip+"+encrypted", []byte("who knows"))
	for _, arch := range []string{"amd64", "arm64"} {
		f.Image(arch, imagetest.Platform("linux/"+arch))
		f.Attestation("att-"+arch, arch)
	}
	f.Image("twin", imagetest.Platform("linux/amd64"), imagetest.Layers("zstd"))
	f.Image("foreign", imagetest.Platform("linux/amd64"), imagetest.Layers("elsewhere"))
	f.Image("secret", imagetest.Platform("linux/amd64"), imagetest.Layers("encrypted"))
	f.List("list", imagetest.Entries("amd64", "arm64", "att-amd64", "att-arm64"))
	f.List("twins", imagetest.Entry("amd64"), imagetest.Entry("twin", imagetest.Annotation("io.github.containers.compression.zstd", "true")))
	f.Artifact("chart")
	f.List("charts", imagetest.Entries("amd64", "chart"))
	e.src = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	e.src.Push(f, "list", "list")
	e.src.Push(f, "charts", "charts")
	e.src.Push(f, "twins", "twins")
	e.src.Push(f, "foreign", "foreign")
	e.src.Push(f, "secret", "secret")
	sparse := copytest.RegistryAt(t, e.src.Registry, "sparse")
	sparse.Push(f, "list", "list", "arm64")
	_, err := e.ImageWith(t.Context(), e.signing, copytest.RegistryAt(t, e.src.Registry, "signed").Ref("signed"), e.src.Ref("list"), copy.Options{
		ImageListSelection: copy.CopyAllImages, SignBySigstorePrivateKeyFile: private, SignSigstorePrivateKeyPassphrase: []byte("passphrase"),
	})
	require.NoError(t, err)

	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	specific := copy.Options{ImageListSelection: copy.CopySpecificImages}
	one := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64")}
	strip := one
	strip.SparseManifestListAction = copy.StripSparseManifestList
	byKey := copy.Options{SignBySigstorePrivateKeyFile: private, SignSigstorePrivateKeyPassphrase: []byte("passphrase")}
	// differs is for fields whose effect shows at the destination.
	differs := func(source string, without copy.Options, set func(*copy.Options)) func(*testing.T) {
		return func(t *testing.T) { e.differs(t, source, without, set) }
	}
	refused := func(source string, without copy.Options, set func(*copy.Options), want string) func(*testing.T) {
		return func(t *testing.T) { assert.Contains(t, e.differs(t, source, without, set), want) }
	}

	effects := map[string]func(*testing.T){
		"RemoveSignatures":     differs("signed", all, func(o *copy.Options) { o.RemoveSignatures = true }),
		"RemoveListSignatures": differs("signed", all, func(o *copy.Options) { o.RemoveListSignatures = true }),
		"Signers": func(t *testing.T) {
			s, err := sigstore.NewSigner(sigstore.WithPrivateKeyFile(private, []byte("passphrase")))
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			assert.Contains(t, e.differs(t, "list", copy.Options{}, func(o *copy.Options) { o.Signers = []*signer.Signer{s} }), ".sig sha256:")
		},
		// With the openpgp build tag, upstream makes no such signatures and says so.
		"SignBy":                       refused("list", copy.Options{}, func(o *copy.Options) { o.SignBy = "nobody" }, "signing"),
		"SignPassphrase":               nil, // SignBy alone is an error already, with the openpgp build tag
		"SignBySigstorePrivateKeyFile": refused("list", copy.Options{SignSigstorePrivateKeyPassphrase: []byte("passphrase")}, func(o *copy.Options) { o.SignBySigstorePrivateKeyFile = "nowhere" }, "nowhere"),
		"SignSigstorePrivateKeyPassphrase": differs("list", copy.Options{SignBySigstorePrivateKeyFile: private}, func(o *copy.Options) {
			o.SignSigstorePrivateKeyPassphrase = []byte("passphrase")
		}),
		"SignIdentity": refused("list", byKey, func(o *copy.Options) {
			o.SignIdentity = copytest.Must(reference.ParseNormalizedNamed("example.com/name-only"))
		}, "Sign identity must be"),
		"ReportWriter": func(t *testing.T) {
			var lines bytes.Buffer
			e.seen(t, "list", copy.Options{ReportWriter: &lines})
			assert.Contains(t, lines.String(), "Copying blob sha256:")
		},
		"SourceCtx": differs("list", copy.Options{}, func(o *copy.Options) {
			sys := *e.Sys
			sys.ArchitectureChoice = "arm64"
			o.SourceCtx = &sys
		}),
		"DestinationCtx": differs("list", copy.Options{}, func(o *copy.Options) {
			sys := *e.Sys
			sys.CompressionFormat = &compression.Zstd
			o.DestinationCtx = &sys
		}),
		"ProgressInterval": func(t *testing.T) {
			assert.Empty(t, e.events(t, copy.Options{Progress: make(chan types.ProgressProperties)}))
		},
		"Progress": func(t *testing.T) {
			assert.NotEmpty(t, e.events(t, copy.Options{Progress: make(chan types.ProgressProperties), ProgressInterval: time.Nanosecond}))
		},
		"Overview": func(t *testing.T) {
			o := copy.NewOverview(copy.OverviewOptions{})
			defer o.Close()
			e.seen(t, "list", copy.Options{Overview: o})
			assert.NotZero(t, o.Totals().Blobs)
		},
		"PreserveDigests":          refused("list", strip, func(o *copy.Options) { o.PreserveDigests = true }, "must not be changed"),
		"ForceManifestMIMEType":    differs("list", copy.Options{}, func(o *copy.Options) { o.ForceManifestMIMEType = manifest.MediaTypeDockerManifest }),
		"ImageListSelection":       differs("list", copy.Options{}, func(o *copy.Options) { o.ImageListSelection = copy.CopyAllImages }),
		"Instances":                differs("list", specific, func(o *copy.Options) { o.Instances = f.Digests("arm64") }),
		"InstancePlatforms":        differs("list", specific, func(o *copy.Options) { o.InstancePlatforms = copytest.Platforms("linux/arm64") }),
		"SparseManifestListAction": differs("list", one, func(o *copy.Options) { o.SparseManifestListAction = copy.StripSparseManifestList }),
		"PreferGzipInstances":      differs("twins", copy.Options{}, func(o *copy.Options) { o.PreferGzipInstances = types.OptionalBoolTrue }),
		"OciEncryptConfig": func(t *testing.T) {
			keys := func(o *copy.Options) { o.OciEncryptConfig = &encconfig.EncryptConfig{} }
			alone := copy.Options{}
			keys(&alone)
			assert.Equal(t, e.seen(t, "list", copy.Options{}), e.seen(t, "list", alone), "it encrypts nothing")
			e.differs(t, "list", copy.Options{OciEncryptLayers: &[]int{}}, keys)
		},
		"OciEncryptLayers":              refused("list", copy.Options{}, func(o *copy.Options) { o.OciEncryptLayers = &[]int{7} }, "layer index 7 out of range"),
		"OciDecryptConfig":              refused("secret", copy.Options{}, func(o *copy.Options) { o.OciDecryptConfig = &encconfig.DecryptConfig{} }, "decrypting layer"),
		"ConcurrentBlobCopiesSemaphore": e.counts,
		"MaxParallelDownloads": func(t *testing.T) {
			alone := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			alone.Push(f, "v1", "list")
			_, err := e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), alone.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, MaxParallelDownloads: 1})
			require.NoError(t, err)
			assert.Equal(t, 1, alone.Peak())
		},
		"OptimizeDestinationImageAlreadyExists": func(t *testing.T) {
			for _, optimize := range []bool{false, true} {
				dst := copytest.Places["registry"](t)
				for _, written := range []bool{true, false} {
					r, err := e.Image(t.Context(), dst.Ref("v1"), e.src.Ref("list"), copy.Options{ImageListSelection: copy.CopyAllImages, OptimizeDestinationImageAlreadyExists: optimize})
					require.NoError(t, err)
					assert.Equal(t, written, r.Written, "subsumed: what is there is always looked for")
				}
			}
		},
		"DownloadForeignLayers": differs("foreign", copy.Options{}, func(o *copy.Options) { o.DownloadForeignLayers = true }),
		"EnsureCompressionVariantsExist": differs("list", all, func(o *copy.Options) {
			o.EnsureCompressionVariantsExist = []copy.OptionCompressionVariant{{Algorithm: compression.Zstd}}
		}),
		"ForceCompressionFormat": refused("list", copy.Options{}, func(o *copy.Options) { o.ForceCompressionFormat = true }, "needs DestinationCtx.CompressionFormat"),
		"ReportResolvedReference": func(t *testing.T) {
			resolved := e.src.Ref("list")
			e.seen(t, "list", copy.Options{ReportResolvedReference: &resolved})
			assert.Nil(t, resolved)
		},
		"DestinationTimestamp": e.dates,
		"InstanceIndexes":      differs("list", specific, func(o *copy.Options) { o.InstanceIndexes = []int{1} }),
		"OptionalPlatforms":    differs("list", one, func(o *copy.Options) { o.OptionalPlatforms = copytest.Platforms("linux/s390x") }),
		"RequiredPlatforms":    refused("list", all, func(o *copy.Options) { o.RequiredPlatforms = copytest.Platforms("linux/s390x") }, "required platform linux/s390x"),
		"Attestations":         differs("list", strip, func(o *copy.Options) { o.Attestations = copy.DropAttestations }),
		"MissingInstances": func(t *testing.T) {
			for action, ok := range map[copy.MissingInstanceAction]bool{copy.FailOnMissing: false, copy.SkipMissing: true} {
				_, err := e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), sparse.Ref("list"), copy.Options{ImageListSelection: copy.CopyAllImages, MissingInstances: action})
				assert.Equal(t, ok, err == nil, "%v", err)
			}
		},
		"SingleImage": func(t *testing.T) {
			for action, ok := range map[copy.SingleImageAction]bool{copy.CheckSingleImage: false, copy.CopySingleImage: true} {
				_, err := e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), e.src.Ref("foreign"), copy.Options{
					ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("plan9/386"), SingleImage: action,
				})
				assert.Equal(t, ok, err == nil, "%v", err)
			}
		},
		"PlatformlessEntries":    differs("charts", one, func(o *copy.Options) { o.PlatformlessEntries = copy.KeepPlatformlessEntries }),
		"AlwaysSign":             e.signsAlways,
		"PreviousPublicKeyFiles": refused("list", byKey, func(o *copy.Options) { o.PreviousPublicKeyFiles = []string{"nowhere"} }, "is no public key"),
		"Referrers":              nil, // attached_test.go
		"ReferrerTypes":          nil, // only narrows Referrers: attached_test.go
		"DigestTags":             differs("signed", all, func(o *copy.Options) { o.DigestTags, o.RemoveListSignatures = true, true }),
		"EntriesAsReferrers":     nil, // entries_test.go
		"AttachOriginal":         differs("signed", strip, func(o *copy.Options) { o.AttachOriginal = true }),
		"VerifierID":             refused("list", all, func(o *copy.Options) { o.VerifierID = "https://mirror.example/" }, "it needs AttachOriginal and SignBySigstorePrivateKeyFile"),
		"OriginPolicy":           refused("list", all, func(o *copy.Options) { o.OriginPolicy = new(signature.PolicyContext) }, "it needs AttachOriginal and SignBySigstorePrivateKeyFile"),
		"PolicyURI":              refused("list", all, func(o *copy.Options) { o.PolicyURI = "https://mirror.example/" }, "it needs AttachOriginal and SignBySigstorePrivateKeyFile"),
		"PolicyDigest":           refused("list", all, func(o *copy.Options) { o.PolicyDigest = f.Digest("list") }, "it needs AttachOriginal and SignBySigstorePrivateKeyFile"),
		"BundleVerifier":         refused("list", all, func(o *copy.Options) { o.BundleVerifier = aVerifier{} }, "it needs AttachOriginal"),
		"ListSignatures":         nil, // listsignatures_test.go
		"ChangedSubjects":        nil, // plan/transform_test.go
		"WidenedChildTags":       nil, // internal/registries/sparse_test.go
		"KeepVoid":               nil, // only widens Referrers and DigestTags: attached_test.go
		"DigestTagSuffixes":      refused("list", all, func(o *copy.Options) { o.DigestTagSuffixes = copy.AllDigestTags }, "no digest tags are asked for"),
		"ReferrersFrom":          refused("list", all, func(o *copy.Options) { o.ReferrersFrom = &copy.ReferrersSource{} }, "it needs Referrers or DigestTags"),
		"AnnotateTransformed":    nil, // recall_test.go
		"Earlier":                nil, // earlier_test.go
		"Recheck":                nil, // earlier_test.go
		"CheckBlobs": func(t *testing.T) {
			for check, copied := range map[bool]int{false: 0, true: 1} {
				dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
				dst.Push(f, "v1", "list")
				require.True(t, dst.DeleteBlob(dst.Repo, f.Digest("amd64.layer")))
				r, err := e.Image(t.Context(), dst.Ref("v1"), e.src.Ref("list"), copy.Options{ImageListSelection: copy.CopyAllImages, CheckBlobs: check})
				require.NoError(t, err)
				assert.Equal(t, copied, r.BlobsCopied)
			}
		},
		"Replacing": func(t *testing.T) {
			dst := copytest.Places["registry"](t)
			var asked []digest.Digest
			refusal := errors.New("not that one")
			o := copy.Options{ImageListSelection: copy.CopyAllImages, Replacing: func(_ context.Context, named digest.Digest, plan *copy.Plan) error {
				assert.NotEqual(t, named, plan.Digest)
				asked = append(asked, named)
				return refusal
			}}
			for _, name := range []string{"list", "list", "twins"} { // to nothing, to the same, and to something else
				_, err := e.Image(t.Context(), dst.Ref("v1"), e.src.Ref(name), o)
				if name == "twins" {
					require.ErrorIs(t, err, refusal)
				} else {
					require.NoError(t, err)
				}
			}
			assert.Equal(t, []digest.Digest{f.Digest("list")}, asked)
		},
		"CompareDestination": func(t *testing.T) {
			dst := copytest.Places["registry"](t)
			dst.Push(f, "v1", "list")
			for compare, copies := range map[bool]int{false: 4, true: 0} {
				p, err := e.Copier(copy.Options{}).Prepare(t.Context(), e.Policy, dst.Ref("v1"), e.src.Ref("list"), e.Options(copy.Options{ImageListSelection: copy.CopyAllImages, CompareDestination: compare}))
				require.NoError(t, err)
				assert.Len(t, p.Plan().Copies, copies)
				require.NoError(t, p.Close())
			}
		},
		"Report": func(t *testing.T) {
			r, err := e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), e.src.Ref("list"), copy.Options{})
			require.NoError(t, err)
			assert.True(t, r.Written)
		},
	}
	for field := range reflect.TypeFor[copy.Options]().Fields() {
		if !field.IsExported() {
			continue
		}
		effect, ok := effects[field.Name]
		assert.True(t, ok, "%s: say here what it does", field.Name)
		if effect != nil {
			t.Run(field.Name, effect)
		}
		delete(effects, field.Name)
	}
	assert.Empty(t, effects, "fields that there are not")
}

// events returns the events of a copy.
func (e *effectTest) events(t *testing.T, o copy.Options) []types.ProgressProperties {
	var events []types.ProgressProperties
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range o.Progress {
			events = append(events, event)
		}
	}()
	e.seen(t, "list", o)
	close(o.Progress)
	<-done
	return events
}

// signsAlways signs twice, with one key.
func (e *effectTest) signsAlways(t *testing.T) {
	for always, want := range map[bool]int{false: 1, true: 2} {
		dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
		for range 2 {
			_, err := e.ImageWith(t.Context(), e.signing, dst.Ref("v1"), e.src.Ref("list"), copy.Options{
				SignBySigstorePrivateKeyFile: e.private, SignSigstorePrivateKeyPassphrase: []byte("passphrase"), AlwaysSign: always,
			})
			require.NoError(t, err)
		}
		assert.Equal(t, want, copytest.SignaturesAt(t, e.Env, dst.Ref("v1"), dst.Top("v1")).Len())
	}
}

// counts copies with a semaphore of one slot, which is taken during every request.
func (e *effectTest) counts(t *testing.T) {
	only := semaphore.NewWeighted(1)
	o := registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if !assert.False(t, only.TryAcquire(1), "%s %s is not counted", req.Method, req.URL) {
			only.Release(1)
		}
		return registrytest.Answer{}
	}}
	src, dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app"), copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	src.Push(e.fixture, "v1", "list")
	prepared, err := copy.Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"),
		e.Options(copy.Options{ImageListSelection: copy.CopyAllImages, ConcurrentBlobCopiesSemaphore: only}))
	require.NoError(t, err)
	_, err = prepared.Execute(t.Context())
	require.NoError(t, err)
	require.NoError(t, prepared.Close())
	assert.Equal(t, e.fixture.Digest("list"), dst.Top("v1"))
	assert.True(t, only.TryAcquire(1), "what was taken is given back")
}

// dates copies into an archive whose entries are dated.
func (e *effectTest) dates(t *testing.T) {
	at := time.Unix(1_000_000_000, 0)
	file := filepath.Join(t.TempDir(), "archive.tar")
	ref, err := ociarchive.NewReference(file, "v1")
	require.NoError(t, err)
	r, err := e.Image(t.Context(), ref, e.src.Ref("list"), copy.Options{DestinationTimestamp: &at})
	require.NoError(t, err)
	assert.Equal(t, copy.Upstream, r.Plan.Way)
	content, err := os.Open(file)
	require.NoError(t, err)
	defer content.Close()
	header, err := tar.NewReader(content).Next()
	require.NoError(t, err)
	assert.True(t, header.ModTime.Equal(at), header.ModTime)
}
