package copy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/signature/sigstore"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A signedRepo is a repository whose list and images have sigstore attachments, and simple signatures in a lookaside store, for the
// reference that the repository's tag v1 has.
type signedRepo struct {
	*env
	src     registryPlace
	fixture *imagetest.Fixture
	private string // paths of keys
	public  string
	gpg     []byte // public key of the simple signatures
}

// newSignedRepo signs with upstream's own code, but for simple signatures: with the openpgp build tag, upstream verifies but does not sign.
func newSignedRepo(t testing.TB) *signedRepo {
	e, private, public := newSigningEnv(t)
	lookaside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(e.sys.RegistriesDirPath, "default.yaml"),
		[]byte("default-docker:\n  use-sigstore-attachments: true\n  lookaside: file://"+lookaside+"\n"), 0o600))
	s := &signedRepo{env: e, fixture: imagetest.Platforms(3, 1, 100), private: private, public: public}
	s.src = signedSource(t, e, s.fixture, private, registrytest.Options{})
	entity, err := openpgp.NewEntity("Signer", "", "signer@example.com", nil)
	require.NoError(t, err)
	var key bytes.Buffer
	require.NoError(t, entity.Serialize(&key))
	s.gpg = key.Bytes()
	for _, name := range []string{imagetest.Top, "amd64", "arm64", "arm/v7"} {
		d := s.fixture.Digest(name)
		dir := filepath.Join(lookaside, "app@"+strings.Replace(d.String(), ":", "=", 1))
		require.NoError(t, os.MkdirAll(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "signature-1"), s.simple(entity, d), 0o600))
	}
	return s
}

// simple makes a signature as containers-signature(5) says.
func (s *signedRepo) simple(entity *openpgp.Entity, d digest.Digest) []byte {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"type":     "atomic container signature",
			"image":    map[string]string{"docker-manifest-digest": d.String()},
			"identity": map[string]string{"docker-reference": s.src.Host() + "/app:v1"},
		},
		"optional": map[string]any{},
	})
	require.NoError(s.t, err)
	var message bytes.Buffer
	w, err := openpgp.Sign(&message, entity, nil, nil)
	require.NoError(s.t, err)
	_, err = w.Write(payload)
	require.NoError(s.t, err)
	require.NoError(s.t, w.Close())
	return message.Bytes()
}

// must unwraps what policy constructors return.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// policies are ways to judge the repository, by the default requirement. unscoped ones name no repository.
func (s *signedRepo) policies() map[string]signature.PolicyRequirement {
	repo := s.src.Host() + "/app"
	other := must(sigstore.GenerateKeyPair([]byte("other")))
	identities := map[string]signature.PolicyReferenceMatch{
		"matchExact":           signature.NewPRMMatchExact(),
		"matchRepoDigest":      signature.NewPRMMatchRepoDigestOrExact(),
		"matchRepository":      signature.NewPRMMatchRepository(),
		"exactRepository":      must(signature.NewPRMExactRepository(repo)),
		"other repository":     must(signature.NewPRMExactRepository("example.com/app")),
		"exactReference":       must(signature.NewPRMExactReference(repo + ":v1")),
		"other reference":      must(signature.NewPRMExactReference(repo + ":v2")),
		"remap to itself":      must(signature.NewPRMRemapIdentity(s.src.Host(), s.src.Host())),
		"remap to another":     must(signature.NewPRMRemapIdentity(s.src.Host(), "example.com")),
		"remap something else": must(signature.NewPRMRemapIdentity("example.com", s.src.Host())),
	}
	all := map[string]signature.PolicyRequirement{
		"accept": signature.NewPRInsecureAcceptAnything(),
		"reject": signature.NewPRReject(),
		"sigstoreSigned by another key": must(signature.NewPRSigstoreSigned(
			signature.PRSigstoreSignedWithKeyData(other.PublicKey), signature.PRSigstoreSignedWithSignedIdentity(signature.NewPRMMatchRepository()))),
	}
	for name, identity := range identities {
		all["sigstoreSigned, "+name] = must(signature.NewPRSigstoreSigned(
			signature.PRSigstoreSignedWithKeyPath(s.public), signature.PRSigstoreSignedWithSignedIdentity(identity)))
		all["signedBy, "+name] = must(signature.NewPRSignedByKeyData(signature.SBKeyTypeGPGKeys, s.gpg, identity))
	}
	return all
}

// TestPolicyLikeUpstreams holds the verdicts of policies against upstream's, with what is selected, and where to.
func TestPolicyLikeUpstreams(t *testing.T) {
	s := newSignedRepo(t)
	verdicts := map[string]int{}
	for name, requirement := range s.policies() {
		for selection, o := range map[string]Options{
			"all":     {ImageListSelection: CopyAllImages},
			"system":  {},
			"subset":  {ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm64")},
			"nothing": {ImageListSelection: CopySpecificImages},
			"handed over": {
				ImageListSelection: CopyAllImages, ForceManifestMIMEType: "application/vnd.docker.distribution.manifest.v2+json", RemoveSignatures: true,
			},
		} {
			for ref, src := range map[string]types.ImageReference{
				"tag": s.src.ref("v1"), "other tag": s.src.ref("unsigned"), "digest": s.src.ref(s.fixture.Digest(imagetest.Top).String()),
			} {
				if ref != "tag" && selection != "all" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s by %s", name, selection, ref), func(t *testing.T) {
					policy := s.newPolicy(&signature.Policy{Default: signature.PolicyRequirements{requirement}})
					theirs, ours := places["layout"](t), places["layout"](t)
					o := *s.options(o)
					o.RemoveSignatures = true // a layout has no place for them
					_, err := upstream.Image(t.Context(), policy, theirs.ref("v1"), src, &upstream.Options{
						SourceCtx: o.SourceCtx, DestinationCtx: o.DestinationCtx, ImageListSelection: o.ImageListSelection,
						InstancePlatforms: upstreamFilters(o.InstancePlatforms), RemoveSignatures: true, ForceManifestMIMEType: o.ForceManifestMIMEType,
					})
					_, ourErr := Image(t.Context(), policy, ours.ref("v1"), src, &o)
					assert.Equal(t, kindOf(err), kindOf(ourErr), "upstream: %v\nours: %v", err, ourErr)
					assert.Equal(t, theirs.top("v1"), ours.top("v1"))
					verdicts[kindOf(err)]++
				})
			}
		}
	}
	assert.Greater(t, verdicts[noError], 20)
	assert.Greater(t, verdicts[rejected], 20)
}

// TestPolicyScopesLikeUpstreams holds against upstream's which part of a policy decides about a source: the one for its transport, and there the
// most specific scope.
func TestPolicyScopesLikeUpstreams(t *testing.T) {
	accept, reject := signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}, signature.PolicyRequirements{signature.NewPRReject()}
	verdicts := map[string]int{}
	for _, from := range []string{"docker", "oci", "oci-archive", "dir", "docker-archive", "tarball"} {
		c := newFixedCase(t, "oci", Options{})
		c.from, c.r, c.fixture, c.source = from, rand.New(rand.NewPCG(1, 2)), imagetest.Platforms(1, 1, 100), "amd64"
		src := c.newSource()
		scopes := append([]string{""}, src.PolicyConfigurationNamespaces()...)
		if identity := src.PolicyConfigurationIdentity(); identity != "" {
			scopes = append(scopes, identity)
		}
		for _, scope := range append(scopes, "/somewhere/else") {
			for name, policy := range map[string]*signature.Policy{
				"accept only": {Default: reject, Transports: map[string]signature.PolicyTransportScopes{from: {scope: accept}}},
				"reject only": {Default: accept, Transports: map[string]signature.PolicyTransportScopes{from: {scope: reject}}},
				"of another":  {Default: accept, Transports: map[string]signature.PolicyTransportScopes{"atomic": {scope: reject}}},
			} {
				t.Run(fmt.Sprintf("%s/%s %q", from, name, scope), func(t *testing.T) {
					d := newFixedCase(t, "dir", Options{})
					d.e.policy = d.e.newPolicy(policy)
					theirs, ours := d.upstreams(src), d.ours(src, d.options)
					assert.Empty(t, d.compare(theirs, ours))
					verdicts[kindOf(ours.err)]++
				})
			}
		}
	}
	assert.Greater(t, verdicts[noError], 20)
	assert.Greater(t, verdicts[rejected], 20)
}

// TestContextsOfBothEnds wants other credentials at each end, natively and through upstream: one context is not taken for the other.
func TestContextsOfBothEnds(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	registry := func(account string) registryPlace {
		return registryPlace{t, registrytest.Start(t, registrytest.Options{
			Auth: &registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: account, Password: account}}},
		}), "app"}
	}
	as := func(account string) *types.SystemContext {
		sys := *e.sys
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: account, Password: account}
		return &sys
	}
	src := registry("reader")
	src.push(f, "v1", imagetest.Top)
	for name, o := range map[string]Options{
		"native": {ImageListSelection: CopyAllImages}, "native, one": {},
		"handed over":      {ImageListSelection: CopyAllImages, ForceManifestMIMEType: manifest.MediaTypeDockerManifest},
		"handed over, one": {ForceManifestMIMEType: manifest.MediaTypeDockerManifest},
	} {
		t.Run(name, func(t *testing.T) {
			dst := registry("writer")
			o.SourceCtx, o.DestinationCtx = as("reader"), as("writer")
			_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
			require.NoError(t, err)
			written := dst.top("v1")
			for _, wrong := range [][2]string{{"writer", "reader"}, {"reader", "reader"}, {"writer", "writer"}} {
				o.SourceCtx, o.DestinationCtx = as(wrong[0]), as(wrong[1])
				_, err := e.image(t.Context(), dst.ref("v2"), src.ref("v1"), o)
				require.Error(t, err, wrong)
			}
			assert.NotEmpty(t, written)
			assert.Empty(t, dst.top("v2"))
		})
	}
}

// TestSignaturesLikeUpstreams carries signatures of both kinds as upstream does.
func TestSignaturesLikeUpstreams(t *testing.T) {
	s := newSignedRepo(t)
	for name, o := range map[string]Options{
		"all":               {ImageListSelection: CopyAllImages},
		"keep":              {ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm64")},
		"strip":             {ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm64"), SparseManifestListAction: StripSparseManifestList},
		"strip, no list's":  {ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm64"), SparseManifestListAction: StripSparseManifestList, RemoveListSignatures: true},
		"system":            {},
		"remove":            {ImageListSelection: CopyAllImages, RemoveSignatures: true},
		"remove the list's": {ImageListSelection: CopyAllImages, RemoveListSignatures: true},
		"only the list":     {ImageListSelection: CopySpecificImages},
		"convert":           {ImageListSelection: CopyAllImages, ForceManifestMIMEType: "application/vnd.docker.distribution.manifest.v2+json"},
	} {
		for _, to := range []string{"docker", "dir", "oci"} {
			t.Run(name+" to "+to, func(t *testing.T) {
				c := &diffCase{t: t, e: s.env, to: to}
				run := func(image func(types.ImageReference, *Options) error) (error, []string, []int) {
					end := c.newEnd(to, "")
					err := image(end.ref, s.options(o))
					if err != nil {
						return err, nil, nil
					}
					var counts []int
					for _, name := range []string{imagetest.Top, "amd64", "arm64", "arm/v7"} {
						if to != "oci" {
							counts = append(counts, signaturesOrNone(t, s.env, end.ref, s.fixture.Digest(name)))
						}
					}
					return nil, end.lines(), counts
				}
				theirErr, theirLines, theirCounts := run(func(dest types.ImageReference, o *Options) error {
					_, err := upstream.Image(t.Context(), s.policy, dest, s.src.ref("v1"), &upstream.Options{
						SourceCtx: o.SourceCtx, DestinationCtx: o.DestinationCtx, ImageListSelection: o.ImageListSelection,
						InstancePlatforms: upstreamFilters(o.InstancePlatforms), RemoveSignatures: o.RemoveSignatures, RemoveListSignatures: o.RemoveListSignatures,
						ForceManifestMIMEType: o.ForceManifestMIMEType, SparseManifestListAction: upstream.SparseManifestListAction(o.SparseManifestListAction),
					})
					return err
				})
				ourErr, ourLines, ourCounts := run(func(dest types.ImageReference, o *Options) error {
					_, err := Image(t.Context(), s.policy, dest, s.src.ref("v1"), o)
					return err
				})
				assert.True(t, alike(theirErr, ourErr), "upstream: %v\nours: %v", theirErr, ourErr)
				assert.Equal(t, theirCounts, ourCounts)
				if !strings.HasPrefix(name, "strip") {
					assert.Empty(t, compareLines(theirLines, ourLines))
				}
			})
		}
	}
}

func signaturesOrNone(t testing.TB, e *env, ref types.ImageReference, d digest.Digest) int {
	if ref.Transport().Name() != "docker" {
		return 0 // the lines tell
	}
	return signaturesAt(t, e, ref, d).Len()
}

// TestNewSignatures signs copies: whole lists, kept and stripped ones, and single images. What is signed, and for whom, is as upstream has
// it.
func TestNewSignatures(t *testing.T) {
	e, private, public := newSigningEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	src.push(f, "v1", imagetest.Top)
	byKey := Options{SignBySigstorePrivateKeyFile: private, SignSigstorePrivateKeyPassphrase: []byte("passphrase")}
	bySigner := func(t *testing.T) Options {
		s, err := sigstore.NewSigner(sigstore.WithPrivateKeyFile(private, []byte("passphrase")))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return Options{Signers: []*signer.Signer{s}}
	}
	for name, c := range map[string]struct {
		selection Options
		signed    []string // instances
		absent    []string
	}{
		"all":    {Options{ImageListSelection: CopyAllImages}, []string{"amd64", "arm64", "arm/v7"}, nil},
		"keep":   {Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm64")}, []string{"arm64"}, []string{"amd64", "arm/v7"}},
		"strip":  {Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm64"), SparseManifestListAction: StripSparseManifestList}, []string{"arm64"}, []string{"amd64", "arm/v7"}},
		"system": {Options{}, []string{"amd64"}, []string{"arm64", "arm/v7"}},
	} {
		for by, signing := range map[string]func(*testing.T) Options{"key": func(*testing.T) Options { return byKey }, "signer": bySigner} {
			if by == "signer" && name != "keep" {
				continue // a signer made of the key is the same
			}
			t.Run(name+" by "+by, func(t *testing.T) {
				dst := places["registry"](t).(registryPlace)
				o := signing(t)
				o.ImageListSelection, o.InstancePlatforms = c.selection.ImageListSelection, c.selection.InstancePlatforms
				o.SparseManifestListAction = c.selection.SparseManifestListAction
				r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
				require.NoError(t, err)
				assert.Equal(t, Upstream, r.Plan.Way)
				for _, d := range append(f.Digests(c.signed...), r.DestinationDigest) {
					assert.Equal(t, 1, signaturesAt(t, e, dst.ref("v1"), d).Len(), f.Name(d))
				}
				for _, d := range f.Digests(c.absent...) {
					assert.Equal(t, 0, signaturesAt(t, e, dst.ref("v1"), d).Len(), f.Name(d))
				}
				// Whoever trusts the key for the destination takes what is there.
				repo := dst.Host() + "/" + dst.repo
				policy := sigstorePolicy(t, e, public, repo)
				_, err = e.copier(Options{}).Image(t.Context(), policy, places["layout"](t).ref("v1"), dst.ref("v1"), e.options(Options{
					ImageListSelection: CopyAllImages, MissingInstances: SkipMissing, RemoveSignatures: true,
				}))
				require.NoError(t, err)
			})
		}
	}
	t.Run("for another identity", func(t *testing.T) {
		dst := places["registry"](t).(registryPlace)
		identity, err := reference.ParseNormalizedNamed("example.com/signed:v1")
		require.NoError(t, err)
		o := byKey
		o.SignIdentity = identity
		_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
		require.NoError(t, err)
		for repo, ok := range map[string]bool{"example.com/signed": true, dst.Host() + "/" + dst.repo: false} {
			_, err = e.copier(Options{}).Image(t.Context(), sigstorePolicy(t, e, public, repo), places["layout"](t).ref("v1"), dst.ref("v1"), e.options(Options{RemoveSignatures: true}))
			assert.Equal(t, ok, err == nil, "%s: %v", repo, err)
		}
		o.SignIdentity = reference.TrimNamed(identity)
		_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
		assert.ErrorContains(t, err, "Sign identity must be a fully specified reference")
	})
	t.Run("next to those that are there", func(t *testing.T) {
		signed := signedSource(t, e, f, private, registrytest.Options{})
		dst := places["registry"](t).(registryPlace)
		o := byKey
		o.ImageListSelection = CopyAllImages
		_, err := e.image(t.Context(), dst.ref("v1"), signed.ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, 2, signaturesAt(t, e, dst.ref("v1"), f.Digest("arm64")).Len())
	})
	t.Run("by GPG", func(t *testing.T) {
		dst := places["registry"](t)
		_, theirs := upstream.Image(t.Context(), e.policy, dst.ref("v1"), src.ref("v1"), &upstream.Options{SourceCtx: e.sys, DestinationCtx: e.sys, SignBy: "nobody"})
		_, ours := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{SignBy: "nobody"})
		require.Error(t, theirs)
		require.ErrorContains(t, ours, theirs.Error())
		assert.Empty(t, dst.top("v1"))
	})
	t.Run("of what is converted", func(t *testing.T) {
		dst := places["registry"](t).(registryPlace)
		o := byKey
		o.ImageListSelection, o.ForceManifestMIMEType = CopyAllImages, "application/vnd.docker.distribution.manifest.v2+json"
		r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, 1, signaturesAt(t, e, dst.ref("v1"), r.DestinationDigest).Len())
		assert.False(t, slices.Contains(f.Digests(imagetest.Top), r.DestinationDigest))
	})
}

// TestPolicyJudgesWhatIsThere rejects an image of which the destination has a copy already, when others are copied.
func TestPolicyJudgesWhatIsThere(t *testing.T) {
	e, private, public := newSigningEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := signedSource(t, e, f, private, registrytest.Options{})
	require.True(t, src.DeleteTag("app", strings.Replace(f.Digest("arm64").String(), ":", "-", 1)+".sig"))
	dst := places["registry"](t)
	dst.push(f, "v1", "arm64")
	e.policy = sigstorePolicy(t, e, public, src.Host()+"/app")
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages, RemoveSignatures: true})
	var rejected *RejectedError
	require.ErrorAs(t, err, &rejected)
	assert.Equal(t, f.Digest("arm64"), rejected.Digest)
	assert.Equal(t, f.Digest("arm64"), dst.top("v1"))
}
