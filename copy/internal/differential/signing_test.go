package differential

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

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// A signedRepo is a repository whose list and images have sigstore attachments, and simple
// signatures in a lookaside store, for the reference that the repository's tag v1 has.
type signedRepo struct {
	*copytest.Env
	src     copytest.RegistryPlace
	fixture *imagetest.Fixture
	private string // paths of keys
	public  string
	gpg     []byte // public key of the simple signatures
}

// newSignedRepo signs with upstream's own code, but for simple signatures: with the openpgp build
// tag, upstream verifies but does not sign.
func newSignedRepo(t testing.TB) *signedRepo {
	e, private, public := newSigningEnv(t)
	lookaside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(e.Sys.RegistriesDirPath, "default.yaml"),
		[]byte("default-docker:\n  use-sigstore-attachments: true\n  lookaside: file://"+lookaside+"\n"), 0o600))
	s := &signedRepo{Env: e, fixture: imagetest.Platforms(3, 1, 100), private: private, public: public}
	s.src = copytest.SignedSource(t, e, s.fixture, registrytest.Options{})
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
	require.NoError(s.T, err)
	var message bytes.Buffer
	w, err := openpgp.Sign(&message, entity, nil, nil)
	require.NoError(s.T, err)
	_, err = w.Write(payload)
	require.NoError(s.T, err)
	require.NoError(s.T, w.Close())
	return message.Bytes()
}

// policies are ways to judge the repository, by the default requirement. unscoped ones name no
// repository.
func (s *signedRepo) policies() map[string]signature.PolicyRequirement {
	repo := s.src.Host() + "/app"
	identities := map[string]signature.PolicyReferenceMatch{
		"matchExact":           signature.NewPRMMatchExact(),
		"matchRepoDigest":      signature.NewPRMMatchRepoDigestOrExact(),
		"matchRepository":      signature.NewPRMMatchRepository(),
		"exactRepository":      copytest.Must(signature.NewPRMExactRepository(repo)),
		"other repository":     copytest.Must(signature.NewPRMExactRepository("example.com/app")),
		"exactReference":       copytest.Must(signature.NewPRMExactReference(repo + ":v1")),
		"other reference":      copytest.Must(signature.NewPRMExactReference(repo + ":v2")),
		"remap to itself":      copytest.Must(signature.NewPRMRemapIdentity(s.src.Host(), s.src.Host())),
		"remap to another":     copytest.Must(signature.NewPRMRemapIdentity(s.src.Host(), "example.com")),
		"remap something else": copytest.Must(signature.NewPRMRemapIdentity("example.com", s.src.Host())),
	}
	all := map[string]signature.PolicyRequirement{
		"accept": signature.NewPRInsecureAcceptAnything(),
		"reject": signature.NewPRReject(),
		"sigstoreSigned by another key": copytest.Must(signature.NewPRSigstoreSigned(
			signature.PRSigstoreSignedWithKeyPath(imagetest.SignedFile("other.pub")), signature.PRSigstoreSignedWithSignedIdentity(signature.NewPRMMatchRepository()))),
	}
	for name, identity := range identities {
		all["sigstoreSigned, "+name] = copytest.Must(signature.NewPRSigstoreSigned(
			signature.PRSigstoreSignedWithKeyPath(s.public), signature.PRSigstoreSignedWithSignedIdentity(identity)))
		all["signedBy, "+name] = copytest.Must(signature.NewPRSignedByKeyData(signature.SBKeyTypeGPGKeys, s.gpg, identity))
	}
	return all
}

// TestPolicyLikeUpstreams holds the verdicts of policies against upstream's, with what is selected,
// and where to.
func TestPolicyLikeUpstreams(t *testing.T) {
	s := newSignedRepo(t)
	verdicts := map[string]int{}
	for name, requirement := range s.policies() {
		for selection, o := range map[string]copy.Options{
			"all":     {ImageListSelection: copy.CopyAllImages},
			"system":  {},
			"subset":  {ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64")},
			"nothing": {ImageListSelection: copy.CopySpecificImages},
			"handed over": {
				ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: "application/vnd.docker.distribution.manifest.v2+json", RemoveSignatures: true,
			},
		} {
			for ref, src := range map[string]types.ImageReference{
				"tag": s.src.Ref("v1"), "other tag": s.src.Ref("unsigned"), "digest": s.src.Ref(s.fixture.Digest(imagetest.Top).String()),
			} {
				if ref != "tag" && selection != "all" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s by %s", name, selection, ref), func(t *testing.T) {
					policy := s.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{requirement}})
					theirs, ours := copytest.Places["layout"](t), copytest.Places["layout"](t)
					o := *s.Options(o)
					o.RemoveSignatures = true // a layout has no place for them
					_, err := upstream.Image(t.Context(), policy, theirs.Ref("v1"), src, &upstream.Options{
						SourceCtx: o.SourceCtx, DestinationCtx: o.DestinationCtx, ImageListSelection: o.ImageListSelection,
						InstancePlatforms: copytest.UpstreamFilters(o.InstancePlatforms), RemoveSignatures: true, ForceManifestMIMEType: o.ForceManifestMIMEType,
					})
					_, ourErr := copy.Image(t.Context(), policy, ours.Ref("v1"), src, &o)
					assert.Equal(t, kindOf(err), kindOf(ourErr), "upstream: %v\nours: %v", err, ourErr)
					assert.Equal(t, theirs.Top("v1"), ours.Top("v1"))
					verdicts[kindOf(err)]++
				})
			}
		}
	}
	assert.Greater(t, verdicts[noError], 20)
	assert.Greater(t, verdicts[rejected], 20)
}

// TestPolicyScopesLikeUpstreams holds against upstream's which part of a policy decides about a
// source: the one for its transport, and there the most specific scope.
func TestPolicyScopesLikeUpstreams(t *testing.T) {
	accept, reject := signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}, signature.PolicyRequirements{signature.NewPRReject()}
	verdicts := map[string]int{}
	for _, from := range []string{"docker", "oci", "oci-archive", "dir", "docker-archive", "tarball"} {
		c := newFixedCase(t, "oci", copy.Options{})
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
					d := newFixedCase(t, "dir", copy.Options{})
					d.e.Policy = d.e.NewPolicy(policy)
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

// TestContextsOfBothEnds wants other credentials at each end, natively and through upstream: one
// context is not taken for the other.
func TestContextsOfBothEnds(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	registry := func(account string) copytest.RegistryPlace {
		return copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
			Auth: &registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: account, Password: account}}},
		}), "app")
	}
	as := func(account string) *types.SystemContext {
		sys := *e.Sys
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: account, Password: account}
		return &sys
	}
	src := registry("reader")
	src.Push(f, "v1", imagetest.Top)
	for name, o := range map[string]copy.Options{
		"native": {ImageListSelection: copy.CopyAllImages}, "native, one": {},
		"handed over":      {ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: manifest.MediaTypeDockerManifest},
		"handed over, one": {ForceManifestMIMEType: manifest.MediaTypeDockerManifest},
	} {
		t.Run(name, func(t *testing.T) {
			dst := registry("writer")
			o.SourceCtx, o.DestinationCtx = as("reader"), as("writer")
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			written := dst.Top("v1")
			for _, wrong := range [][2]string{{"writer", "reader"}, {"reader", "reader"}, {"writer", "writer"}} {
				o.SourceCtx, o.DestinationCtx = as(wrong[0]), as(wrong[1])
				_, err := e.Image(t.Context(), dst.Ref("v2"), src.Ref("v1"), o)
				require.Error(t, err, wrong)
			}
			assert.NotEmpty(t, written)
			assert.Empty(t, dst.Top("v2"))
		})
	}
}

// TestSignaturesLikeUpstreams carries signatures of both kinds as upstream does.
func TestSignaturesLikeUpstreams(t *testing.T) {
	s := newSignedRepo(t)
	for name, o := range map[string]copy.Options{
		"all":               {ImageListSelection: copy.CopyAllImages},
		"keep":              {ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64")},
		"strip":             {ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"), SparseManifestListAction: copy.StripSparseManifestList},
		"strip, no list's":  {ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"), SparseManifestListAction: copy.StripSparseManifestList, RemoveListSignatures: true},
		"system":            {},
		"remove":            {ImageListSelection: copy.CopyAllImages, RemoveSignatures: true},
		"remove the list's": {ImageListSelection: copy.CopyAllImages, RemoveListSignatures: true},
		"only the list":     {ImageListSelection: copy.CopySpecificImages},
		"convert":           {ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: "application/vnd.docker.distribution.manifest.v2+json"},
	} {
		for _, to := range []string{"docker", "dir", "oci"} {
			t.Run(name+" to "+to, func(t *testing.T) {
				c := &diffCase{t: t, e: s.Env, to: to}
				run := func(image func(types.ImageReference, *copy.Options) error) (error, []string, []int) {
					end := c.newEnd(to, "")
					err := image(end.ref, s.Options(o))
					if err != nil {
						return err, nil, nil
					}
					var counts []int
					for _, name := range []string{imagetest.Top, "amd64", "arm64", "arm/v7"} {
						if to != "oci" {
							counts = append(counts, signaturesOrNone(t, s.Env, end.ref, s.fixture.Digest(name)))
						}
					}
					return nil, end.lines(), counts
				}
				theirErr, theirLines, theirCounts := run(func(dest types.ImageReference, o *copy.Options) error {
					_, err := upstream.Image(t.Context(), s.Policy, dest, s.src.Ref("v1"), &upstream.Options{
						SourceCtx: o.SourceCtx, DestinationCtx: o.DestinationCtx, ImageListSelection: o.ImageListSelection,
						InstancePlatforms: copytest.UpstreamFilters(o.InstancePlatforms), RemoveSignatures: o.RemoveSignatures, RemoveListSignatures: o.RemoveListSignatures,
						ForceManifestMIMEType: o.ForceManifestMIMEType, SparseManifestListAction: upstream.SparseManifestListAction(o.SparseManifestListAction),
					})
					return err
				})
				ourErr, ourLines, ourCounts := run(func(dest types.ImageReference, o *copy.Options) error {
					_, err := copy.Image(t.Context(), s.Policy, dest, s.src.Ref("v1"), o)
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

func signaturesOrNone(t testing.TB, e *copytest.Env, ref types.ImageReference, d digest.Digest) int {
	if ref.Transport().Name() != "docker" {
		return 0 // the lines tell
	}
	return copytest.SignaturesAt(t, e, ref, d).Len()
}

// TestNewSignatures signs copies: whole lists, kept and stripped ones, and single images. What is
// signed, and for whom, is as upstream has it.
func TestNewSignatures(t *testing.T) {
	e, private, public := newSigningEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	byKey := copy.Options{SignBySigstorePrivateKeyFile: private, SignSigstorePrivateKeyPassphrase: []byte("passphrase")}
	bySigner := func(t *testing.T) copy.Options {
		s, err := sigstore.NewSigner(sigstore.WithPrivateKeyFile(private, []byte("passphrase")))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return copy.Options{Signers: []*signer.Signer{s}}
	}
	for name, c := range map[string]struct {
		selection copy.Options
		signed    []string // instances
		absent    []string
	}{
		"all":    {copy.Options{ImageListSelection: copy.CopyAllImages}, []string{"amd64", "arm64", "arm/v7"}, nil},
		"keep":   {copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64")}, []string{"arm64"}, []string{"amd64", "arm/v7"}},
		"strip":  {copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"), SparseManifestListAction: copy.StripSparseManifestList}, []string{"arm64"}, []string{"amd64", "arm/v7"}},
		"system": {copy.Options{}, []string{"amd64"}, []string{"arm64", "arm/v7"}},
	} {
		for by, signing := range map[string]func(*testing.T) copy.Options{"key": func(*testing.T) copy.Options { return byKey }, "signer": bySigner} {
			if by == "signer" && name != "keep" {
				continue // a signer made of the key is the same
			}
			t.Run(name+" by "+by, func(t *testing.T) {
				dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
				o := signing(t)
				o.ImageListSelection, o.InstancePlatforms = c.selection.ImageListSelection, c.selection.InstancePlatforms
				o.SparseManifestListAction = c.selection.SparseManifestListAction
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Equal(t, copy.Native, r.Plan.Way)
				for _, d := range append(f.Digests(c.signed...), r.DestinationDigest) {
					assert.Equal(t, 1, copytest.SignaturesAt(t, e, dst.Ref("v1"), d).Len(), f.Name(d))
				}
				for _, d := range f.Digests(c.absent...) {
					assert.Equal(t, 0, copytest.SignaturesAt(t, e, dst.Ref("v1"), d).Len(), f.Name(d))
				}
				// Whoever trusts the key for the destination takes what is there.
				repo := dst.Host() + "/" + dst.Repo
				policy := copytest.SigstorePolicy(t, e, public, repo)
				_, err = e.Copier(copy.Options{}).Image(t.Context(), policy, copytest.Places["layout"](t).Ref("v1"), dst.Ref("v1"), e.Options(copy.Options{
					ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing, RemoveSignatures: true,
				}))
				require.NoError(t, err)
			})
		}
	}
	t.Run("for another identity", func(t *testing.T) {
		dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
		identity, err := reference.ParseNormalizedNamed("example.com/signed:v1")
		require.NoError(t, err)
		o := byKey
		o.SignIdentity = identity
		_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		for repo, ok := range map[string]bool{"example.com/signed": true, dst.Host() + "/" + dst.Repo: false} {
			_, err = e.Copier(copy.Options{}).Image(t.Context(), copytest.SigstorePolicy(t, e, public, repo), copytest.Places["layout"](t).Ref("v1"), dst.Ref("v1"), e.Options(copy.Options{RemoveSignatures: true}))
			assert.Equal(t, ok, err == nil, "%s: %v", repo, err)
		}
		o.SignIdentity = reference.TrimNamed(identity)
		_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		assert.ErrorContains(t, err, "Sign identity must be a fully specified reference")
	})
	t.Run("next to those that are there", func(t *testing.T) {
		signed := copytest.SignedSource(t, e, f, registrytest.Options{})
		dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
		o := byKey
		o.ImageListSelection = copy.CopyAllImages
		_, err := e.Image(t.Context(), dst.Ref("v1"), signed.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, 2, copytest.SignaturesAt(t, e, dst.Ref("v1"), f.Digest("arm64")).Len())
	})
	t.Run("by GPG", func(t *testing.T) {
		dst := copytest.Places["registry"](t)
		_, theirs := upstream.Image(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &upstream.Options{SourceCtx: e.Sys, DestinationCtx: e.Sys, SignBy: "nobody"})
		_, ours := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{SignBy: "nobody"})
		require.Error(t, theirs)
		require.ErrorContains(t, ours, theirs.Error())
		assert.Empty(t, dst.Top("v1"))
	})
	t.Run("of what is converted", func(t *testing.T) {
		dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
		o := byKey
		o.ImageListSelection, o.ForceManifestMIMEType = copy.CopyAllImages, "application/vnd.docker.distribution.manifest.v2+json"
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, 1, copytest.SignaturesAt(t, e, dst.Ref("v1"), r.DestinationDigest).Len())
		assert.False(t, slices.Contains(f.Digests(imagetest.Top), r.DestinationDigest))
	})
}

// TestPolicyJudgesWhatIsThere rejects an image of which the destination has a copy already, when
// others are copied.
func TestPolicyJudgesWhatIsThere(t *testing.T) {
	e, _, public := newSigningEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.SignedSource(t, e, f, registrytest.Options{})
	require.True(t, src.DeleteTag("app", strings.Replace(f.Digest("arm64").String(), ":", "-", 1)+".sig"))
	dst := copytest.Places["registry"](t)
	dst.Push(f, "v1", "arm64")
	e.Policy = copytest.SigstorePolicy(t, e, public, src.Host()+"/app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, RemoveSignatures: true})
	var rejected *copy.RejectedError
	require.ErrorAs(t, err, &rejected)
	assert.Equal(t, f.Digest("arm64"), rejected.Digest)
	assert.Equal(t, f.Digest("arm64"), dst.Top("v1"))
}
