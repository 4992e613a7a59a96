package copy

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	encconfig "github.com/containers/ocicrypt/config"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/signature/sigstore"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// An effectTest sets options of copies from one signed list at a registry, and tells what became of them.
type effectTest struct {
	*env
	t       *testing.T
	src     registryPlace
	fixture *imagetest.Fixture
	private string
}

// seen is everything that a copy can be told by: its error, the destination, and what the report says.
func (e *effectTest) seen(t *testing.T, source string, o Options) string {
	dst := places["registry"](t).(registryPlace)
	var r Report
	o.Report = &r
	src := e.src
	if source == "signed" {
		src.repo = "signed"
	}
	_, err := e.copier(o).Image(t.Context(), e.policy, dst.ref("v1"), src.ref(source), e.options(o))
	text := fmt.Sprintf("error %v\n%s\nwarnings %v", err, dst.Snapshot(dst.repo), r.Warnings)
	if r.Plan != nil {
		text += "\nway " + string(r.Plan.Way)
	}
	return strings.ReplaceAll(text, dst.Host(), "HOST")
}

// differs fails the test unless a copy with one choice more is another one.
func (e *effectTest) differs(t *testing.T, source string, without Options, set func(*Options)) string {
	with := without
	set(&with)
	seen := e.seen(t, source, with)
	assert.NotEqual(t, e.seen(t, source, without), seen)
	return seen
}

// TestEveryOptionHasAnEffect sets each field of Options and sees what it does, or that it is refused. A field that is not
// here fails it.
func TestEveryOptionHasAnEffect(t *testing.T) {
	env, private, _ := newSigningEnv(t)
	e := &effectTest{env: env, t: t, private: private, fixture: imagetest.New()}
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
	e.src = registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	e.src.push(f, "list", "list")
	e.src.push(f, "twins", "twins")
	e.src.push(f, "foreign", "foreign")
	e.src.push(f, "secret", "secret")
	sparse := registryPlace{t, e.src.Registry, "sparse"}
	sparse.push(f, "list", "list", "arm64")
	_, err := e.image(t.Context(), registryPlace{t, e.src.Registry, "signed"}.ref("signed"), e.src.ref("list"), Options{
		ImageListSelection: CopyAllImages, SignBySigstorePrivateKeyFile: private, SignSigstorePrivateKeyPassphrase: []byte("passphrase"),
	})
	require.NoError(t, err)

	all := Options{ImageListSelection: CopyAllImages}
	specific := Options{ImageListSelection: CopySpecificImages}
	one := Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64")}
	strip := one
	strip.SparseManifestListAction = StripSparseManifestList
	byKey := Options{SignBySigstorePrivateKeyFile: private, SignSigstorePrivateKeyPassphrase: []byte("passphrase")}
	// differs is for fields whose effect shows at the destination.
	differs := func(source string, without Options, set func(*Options)) func(*testing.T) {
		return func(t *testing.T) { e.differs(t, source, without, set) }
	}
	refused := func(source string, without Options, set func(*Options), want string) func(*testing.T) {
		return func(t *testing.T) { assert.Contains(t, e.differs(t, source, without, set), want) }
	}

	effects := map[string]func(*testing.T){
		"RemoveSignatures":     differs("signed", all, func(o *Options) { o.RemoveSignatures = true }),
		"RemoveListSignatures": differs("signed", all, func(o *Options) { o.RemoveListSignatures = true }),
		"Signers": func(t *testing.T) {
			s, err := sigstore.NewSigner(sigstore.WithPrivateKeyFile(private, []byte("passphrase")))
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			assert.Contains(t, e.differs(t, "list", Options{}, func(o *Options) { o.Signers = []*signer.Signer{s} }), ".sig sha256:")
		},
		// With the openpgp build tag, upstream makes no such signatures and says so.
		"SignBy": refused("list", Options{}, func(o *Options) { o.SignBy = "nobody" }, "signing"),
		"SignPassphrase": func(t *testing.T) {
			u := UpstreamOptions(&Options{SignBy: "nobody", SignPassphrase: "secret"}, &Plan{})
			assert.Equal(t, "secret", u.SignPassphrase, "SignBy alone is an error already, with the openpgp build tag")
		},
		"SignBySigstorePrivateKeyFile": refused("list", Options{SignSigstorePrivateKeyPassphrase: []byte("passphrase")}, func(o *Options) { o.SignBySigstorePrivateKeyFile = "nowhere" }, "nowhere"),
		"SignSigstorePrivateKeyPassphrase": differs("list", Options{SignBySigstorePrivateKeyFile: private}, func(o *Options) {
			o.SignSigstorePrivateKeyPassphrase = []byte("passphrase")
		}),
		"SignIdentity": refused("list", byKey, func(o *Options) {
			o.SignIdentity = must(reference.ParseNormalizedNamed("example.com/name-only"))
		}, "Sign identity must be"),
		"ReportWriter": func(t *testing.T) {
			var lines bytes.Buffer
			e.seen(t, "list", Options{ReportWriter: &lines})
			assert.Contains(t, lines.String(), "Copying blob sha256:")
		},
		"SourceCtx": differs("list", Options{}, func(o *Options) {
			sys := *e.sys
			sys.ArchitectureChoice = "arm64"
			o.SourceCtx = &sys
		}),
		"DestinationCtx": differs("list", Options{}, func(o *Options) {
			sys := *e.sys
			sys.CompressionFormat = &compression.Zstd
			o.DestinationCtx = &sys
		}),
		"ProgressInterval": func(t *testing.T) {
			assert.Empty(t, e.events(t, Options{Progress: make(chan types.ProgressProperties)}))
		},
		"Progress": func(t *testing.T) {
			assert.NotEmpty(t, e.events(t, Options{Progress: make(chan types.ProgressProperties), ProgressInterval: time.Nanosecond}))
		},
		"Overview": func(t *testing.T) {
			o := NewOverview(OverviewOptions{})
			defer o.Close()
			e.seen(t, "list", Options{Overview: o})
			assert.NotZero(t, o.Totals().Blobs)
		},
		"PreserveDigests":          refused("list", strip, func(o *Options) { o.PreserveDigests = true }, "must not be changed"),
		"ForceManifestMIMEType":    differs("list", Options{}, func(o *Options) { o.ForceManifestMIMEType = manifest.MediaTypeDockerManifest }),
		"ImageListSelection":       differs("list", Options{}, func(o *Options) { o.ImageListSelection = CopyAllImages }),
		"Instances":                differs("list", specific, func(o *Options) { o.Instances = f.Digests("arm64") }),
		"InstancePlatforms":        differs("list", specific, func(o *Options) { o.InstancePlatforms = platforms("linux/arm64") }),
		"SparseManifestListAction": differs("list", one, func(o *Options) { o.SparseManifestListAction = StripSparseManifestList }),
		"PreferGzipInstances":      differs("twins", Options{}, func(o *Options) { o.PreferGzipInstances = types.OptionalBoolTrue }),
		"OciEncryptConfig": func(t *testing.T) {
			seen := e.differs(t, "list", Options{}, func(o *Options) { o.OciEncryptConfig = &encconfig.EncryptConfig{} })
			assert.Contains(t, seen, "way upstream", "alone, it encrypts nothing there")
		},
		"OciEncryptLayers":              refused("list", Options{}, func(o *Options) { o.OciEncryptLayers = &[]int{7} }, "layer index 7 out of range"),
		"OciDecryptConfig":              refused("secret", Options{}, func(o *Options) { o.OciDecryptConfig = &encconfig.DecryptConfig{} }, "decrypting layer"),
		"ConcurrentBlobCopiesSemaphore": e.counts,
		"MaxParallelDownloads": func(t *testing.T) {
			alone := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
			alone.push(f, "v1", "list")
			_, err := e.image(t.Context(), places["registry"](t).ref("v1"), alone.ref("v1"), Options{ImageListSelection: CopyAllImages, MaxParallelDownloads: 1})
			require.NoError(t, err)
			assert.Equal(t, 1, alone.Peak())
		},
		"OptimizeDestinationImageAlreadyExists": func(t *testing.T) {
			for _, optimize := range []bool{false, true} {
				dst := places["registry"](t)
				for _, written := range []bool{true, false} {
					r, err := e.image(t.Context(), dst.ref("v1"), e.src.ref("list"), Options{ImageListSelection: CopyAllImages, OptimizeDestinationImageAlreadyExists: optimize})
					require.NoError(t, err)
					assert.Equal(t, written, r.Written, "subsumed: what is there is always looked for")
				}
			}
		},
		"DownloadForeignLayers": differs("foreign", Options{}, func(o *Options) { o.DownloadForeignLayers = true }),
		"EnsureCompressionVariantsExist": differs("list", all, func(o *Options) {
			o.EnsureCompressionVariantsExist = []OptionCompressionVariant{{Algorithm: compression.Zstd}}
		}),
		"ForceCompressionFormat": refused("list", Options{}, func(o *Options) { o.ForceCompressionFormat = true }, "needs DestinationCtx.CompressionFormat"),
		"ReportResolvedReference": func(t *testing.T) {
			resolved := e.src.ref("list")
			e.seen(t, "list", Options{ReportResolvedReference: &resolved})
			assert.Nil(t, resolved)
		},
		"DestinationTimestamp": e.dates,
		"InstanceIndexes":      differs("list", specific, func(o *Options) { o.InstanceIndexes = []int{1} }),
		"OptionalPlatforms":    differs("list", one, func(o *Options) { o.OptionalPlatforms = platforms("linux/s390x") }),
		"RequiredPlatforms":    refused("list", all, func(o *Options) { o.RequiredPlatforms = platforms("linux/s390x") }, "required platform linux/s390x"),
		"Attestations":         differs("list", strip, func(o *Options) { o.Attestations = DropAttestations }),
		"MissingInstances": func(t *testing.T) {
			for action, ok := range map[MissingInstanceAction]bool{FailOnMissing: false, SkipMissing: true} {
				_, err := e.image(t.Context(), places["registry"](t).ref("v1"), sparse.ref("list"), Options{ImageListSelection: CopyAllImages, MissingInstances: action})
				assert.Equal(t, ok, err == nil, "%v", err)
			}
		},
		"Referrers":        refused("list", byKey, func(o *Options) { o.Referrers = AllReferrers }, "Referrers"),
		"ReferrerTypes":    nil, // only narrows Referrers: attached_test.go
		"DigestTags":       refused("list", byKey, func(o *Options) { o.DigestTags = true }, "DigestTags"),
		"ListSignatures":   nil, // listsignatures_test.go
		"WidenedChildTags": nil, // registries_sparse_test.go
		"KeepVoid":         nil, // only widens Referrers and DigestTags: attached_test.go
		"CheckBlobs": func(t *testing.T) {
			for check, copied := range map[bool]int{false: 0, true: 1} {
				dst := places["registry"](t).(registryPlace)
				dst.push(f, "v1", "list")
				require.True(t, dst.DeleteBlob(dst.repo, f.Digest("amd64.layer")))
				r, err := e.image(t.Context(), dst.ref("v1"), e.src.ref("list"), Options{ImageListSelection: CopyAllImages, CheckBlobs: check})
				require.NoError(t, err)
				assert.Equal(t, copied, r.BlobsCopied)
			}
		},
		"CompareDestination": func(t *testing.T) {
			dst := places["registry"](t)
			dst.push(f, "v1", "list")
			for compare, copies := range map[bool]int{false: 4, true: 0} {
				p, err := e.copier(Options{}).Prepare(t.Context(), e.policy, dst.ref("v1"), e.src.ref("list"), e.options(Options{ImageListSelection: CopyAllImages, CompareDestination: compare}))
				require.NoError(t, err)
				assert.Len(t, p.Plan().Copies, copies)
				require.NoError(t, p.Close())
			}
		},
		"Report": func(t *testing.T) {
			r, err := e.image(t.Context(), places["registry"](t).ref("v1"), e.src.ref("list"), Options{})
			require.NoError(t, err)
			assert.True(t, r.Written)
		},
	}
	for field := range reflect.TypeFor[Options]().Fields() {
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
func (e *effectTest) events(t *testing.T, o Options) []types.ProgressProperties {
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

// counts copies with a semaphore of one slot, which is taken during every request.
func (e *effectTest) counts(t *testing.T) {
	only := semaphore.NewWeighted(1)
	o := registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if !assert.False(t, only.TryAcquire(1), "%s %s is not counted", req.Method, req.URL) {
			only.Release(1)
		}
		return registrytest.Answer{}
	}}
	src, dst := registryPlace{t, registrytest.Start(t, o), "app"}, registryPlace{t, registrytest.Start(t, o), "app"}
	src.push(e.fixture, "v1", "list")
	prepared, err := Prepare(t.Context(), e.policy, dst.ref("v1"), src.ref("v1"),
		e.options(Options{ImageListSelection: CopyAllImages, ConcurrentBlobCopiesSemaphore: only}))
	require.NoError(t, err)
	_, err = prepared.Execute(t.Context())
	require.NoError(t, err)
	require.NoError(t, prepared.Close())
	assert.Equal(t, e.fixture.Digest("list"), dst.top("v1"))
	assert.True(t, only.TryAcquire(1), "what was taken is given back")
}

// dates copies into an archive whose entries are dated.
func (e *effectTest) dates(t *testing.T) {
	at := time.Unix(1_000_000_000, 0)
	file := filepath.Join(t.TempDir(), "archive.tar")
	ref, err := ociarchive.NewReference(file, "v1")
	require.NoError(t, err)
	r, err := e.image(t.Context(), ref, e.src.ref("list"), Options{DestinationTimestamp: &at})
	require.NoError(t, err)
	assert.Equal(t, Upstream, r.Plan.Way)
	content, err := os.Open(file)
	require.NoError(t, err)
	defer content.Close()
	header, err := tar.NewReader(content).Next()
	require.NoError(t, err)
	assert.True(t, header.ModTime.Equal(at), header.ModTime)
}
