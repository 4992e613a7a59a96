package mirrorcmd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// nobody is a host that refuses connections: its port is given to none who asks for any.
const nobody = "127.0.0.1:1"

// TestBadInput copies what cannot be copied: one clear line, a status, and a destination that is
// what it was.
func TestBadInput(t *testing.T) {
	f := imagetest.Platforms(3, 1, 1000)
	pushed := func(r *registrytest.Registry) { f.PushTo(r, repo, tag, imagetest.Top) }
	raw := func(mediaType, text string) func(*registrytest.Registry) {
		return func(r *registrytest.Registry) { r.PutManifest(repo, tag, mediaType, []byte(text)) }
	}
	strip := []string{"--platform", "linux/amd64", "--sparse", "strip"}
	for _, c := range []struct {
		name   string
		source registrytest.Options
		push   func(*registrytest.Registry)
		args   []string
		status int
		says   []string
	}{
		{
			name: "nothing there", push: func(*registrytest.Registry) {}, args: strip,
			status: StatusFailed, says: []string{"404", "MANIFEST_UNKNOWN"},
		},
		{
			name: "no access", source: registrytest.Options{Auth: &registrytest.Auth{Accounts: []registrytest.Account{{Username: "u", Password: "p"}}}},
			push: pushed, args: strip,
			status: StatusFailed, says: []string{"source", "401", "--src-creds"},
		},
		{
			name: "no access with a wrong password",
			source: registrytest.Options{Auth: &registrytest.Auth{
				Bearer: true, Accounts: []registrytest.Account{{Username: "u", Password: "p"}},
			}},
			push: pushed, args: append([]string{"--src-creds", "u:wrong-secret"}, strip...),
			status: StatusFailed, says: []string{"source", "401"},
		},
		{
			name: "a child with another digest",
			push: func(r *registrytest.Registry) {
				pushed(r)
				b, mediaType := f.Document("arm64")
				r.PutManifest(repo, f.Digest("amd64").String(), mediaType, b)
			},
			args: strip, status: StatusFailed, says: []string{"source", f.Digest("amd64").String()},
		},
		{
			name: "a truncated blob",
			push: func(r *registrytest.Registry) {
				pushed(r)
				truncated := registrytest.Bytes(f.Content("amd64.0")[:100])
				truncated.Digest, truncated.Size = f.Digest("amd64.0"), f.Size("amd64.0")
				r.DeleteBlob(repo, truncated.Digest)
				r.PutContent(repo, truncated)
			},
			args: strip, status: StatusFailed, says: []string{"source", f.Digest("amd64.0").String()},
		},
		{
			name: "a blob with other bytes",
			push: func(r *registrytest.Registry) {
				pushed(r)
				other := registrytest.Bytes(bytes.Repeat([]byte{1}, int(f.Size("amd64.0"))))
				other.Digest = f.Digest("amd64.0")
				r.DeleteBlob(repo, other.Digest)
				r.PutContent(repo, other)
			},
			args: strip, status: StatusFailed, says: []string{"source", f.Digest("amd64.0").String()},
		},
		{
			name: "a config that is a path",
			push: func(r *registrytest.Registry) {
				child := r.PutManifest(repo, "child", imgspecv1.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"mediaType":"`+imgspecv1.MediaTypeImageManifest+
					`","config":{"mediaType":"`+imgspecv1.MediaTypeImageConfig+`","digest":"../../x","size":2},"layers":[]}`))
				b, _, _ := r.Manifest(repo, "child")
				raw(imgspecv1.MediaTypeImageIndex, listOf(entry(child, len(b), "amd64")))(r)
			},
			args: []string{"--all"}, status: StatusFailed, says: []string{"../../x"},
		},
		{
			name: "100,000 entries", push: raw(imgspecv1.MediaTypeImageIndex, hugeList(100_000)), args: strip,
			status: StatusFailed, says: []string{"source"},
		},
		{
			name: "no entries", push: raw(imgspecv1.MediaTypeImageIndex, listOf()), args: strip,
			status: StatusFailed, says: []string{"linux/amd64"},
		},
		{
			name: "an image for another platform", push: func(r *registrytest.Registry) { f.PushTo(r, repo, tag, "arm64") }, args: strip,
			status: StatusFailed, says: []string{"no instances found for platform linux/amd64", "linux/arm64"},
		},
		{
			name: "neither image nor list", push: raw(imgspecv1.MediaTypeImageIndex, "<html>\x1b[31mred\n</html>"), args: strip,
			status: StatusFailed, says: []string{"source"},
		},
		{
			name: "two keys that differ in case", push: raw(imgspecv1.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[],"Manifests":[]}`), args: strip,
			status: StatusFailed, says: []string{"anifests"},
		},
		{
			name: "a platform that the list lacks", push: pushed, args: []string{"--platform", "linux/s390x"},
			status: StatusFailed, says: []string{"no instances found for platform linux/s390x", "linux/arm/v7"},
		},
		{
			name: "a missing child", push: func(r *registrytest.Registry) { f.PushTo(r, repo, tag, imagetest.Top, "amd64") }, args: strip,
			status: StatusFailed, says: []string{"missing at the source", f.Digest("amd64").String(), "--skip-missing"},
		},
		{
			name: "a required platform that is not selected", push: pushed, args: append([]string{"--require-platform", "linux/arm64"}, strip...),
			status: StatusFailed, says: []string{"required platform linux/arm64", "not selected"},
		},
		{
			name: "a list that must not change", push: pushed, args: append([]string{"--preserve-digests"}, strip...),
			status: StatusFailed, says: []string{"must not be changed", "--preserve-digests is set"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := registrytest.Start(t, c.source), registrytest.Start(t, registrytest.Options{Strict: true})
			c.push(src)
			old := pushOld(dst)
			r := mirror(t, "copy", append(c.args, refTo(src), refTo(dst))...)
			t.Log(r.stderr)
			r.failed(t, c.status, c.says...)
			assert.Empty(t, r.stdout)
			assert.NotContains(t, r.stderr, "wrong-secret")
			assert.NotContains(t, r.stderr, "\x1b")
			imagetest.CheckUnchanged(t, dst, repo, tag, old)
		})
	}
}

func entry(d digest.Digest, size int, arch string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":%q}}`, imgspecv1.MediaTypeImageManifest, d, size, arch)
}

func listOf(entries ...string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, imgspecv1.MediaTypeImageIndex, strings.Join(entries, ","))
}

func hugeList(n int) string {
	entries := make([]string, n)
	for i := range entries {
		entries[i] = entry(digest.FromString(fmt.Sprint(i)), i, "amd64")
	}
	return listOf(entries...)
}

func TestUnreachable(t *testing.T) {
	f := imagetest.Platforms(2, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	old := pushOld(dst)

	mirror(t, "copy", "--all", "docker://"+nobody+"/x:1", refTo(dst)).failed(t, StatusFailed, "source", nobody, "refused")
	mirror(t, "copy", "--all", refTo(src), "docker://"+nobody+"/x:1").failed(t, StatusFailed, "destination", nobody, "refused")
	imagetest.CheckUnchanged(t, dst, repo, tag, old)
}

func TestTLS(t *testing.T) {
	f := imagetest.Platforms(2, 1, 1000)
	plain, secure := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{TLS: true})
	f.PushTo(plain, repo, tag, imagetest.Top)
	certs := t.TempDir()
	require.NoError(t, secure.WriteCertsDir(certs))
	copyWith := func(args ...string) outcome {
		return runAll(t.Context(), t, "", append([]string{"copy", "--all", "--insecure-policy", refTo(plain), refTo(secure)}, args...)...)
	}

	copyWith().failed(t, StatusFailed, "source", "--src-tls-verify=false")
	copyWith("--src-tls-verify=false").failed(t, StatusFailed, "destination", "certificate", "--dest-cert-dir")
	assert.Empty(t, secure.Repos())
	copyWith("--src-tls-verify=false", "--dest-cert-dir", filepath.Join(certs, secure.Host())).done(t)
	imagetest.CheckRegistry(t, secure, repo, imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestMisuse writes command lines that are wrong: status 2, one line, and no request to anybody.
func TestMisuse(t *testing.T) {
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	refs := []string{refTo(src), refTo(dst)}
	with := func(args ...string) []string {
		return append(append([]string{"copy", "--insecure-policy"}, args...), refs...)
	}
	for _, c := range []struct {
		name string
		args []string
		says []string
	}{
		{"no command", nil, []string{"no command"}},
		{"unknown command", []string{"clone"}, []string{`"clone"`, "--help"}},
		{"no references", []string{"copy"}, []string{"SOURCE and DESTINATION", "0 arguments"}},
		{"three references", append(with(), "docker://x/y"), []string{"3 arguments"}},
		{"unknown flag", with("--plattform", "linux/amd64"), []string{"--plattform"}},
		{"no transport", []string{"copy", "--insecure-policy", "alpine:3", refs[1]}, []string{`SOURCE "alpine:3"`, "is a short name", "write docker.io/library/alpine:3"}},
		{"no transport at all", []string{"copy", "--insecure-policy", refs[0], "mirror/alpine"}, []string{`DESTINATION "mirror/alpine"`, "write docker://HOST/mirror/alpine"}},
		{"bad reference", []string{"copy", "--insecure-policy", "docker://UPPER/x", refs[1]}, []string{"SOURCE", "lowercase"}},
		{"credentials in a reference", []string{"copy", "docker://me:wrong-secret@host/x", refs[1]}, []string{"--src-creds"}},
		{"credentials of an inspection", []string{"inspect", "docker://me:wrong-secret@host/x"}, []string{"use --creds"}},
		{"credentials of a bundle", []string{"bundle", "create", "b", "docker://me:wrong-secret@host/x"}, []string{"use --src-creds"}},
		{"credentials of a destination", []string{"copy", refs[0], "docker://me:wrong-secret@host/x"}, []string{"use --dest-creds"}},
		{"credentials of a referrers source", with("--referrers", "--referrers-source", "docker://me@host/x"), []string{"use --referrers-source-creds"}},
		{"referrers source without transport", with("--referrers", "--referrers-source", "host/x"), []string{"--referrers-source", "write docker://HOST/NAME"}},
		{"layout as referrers source", with("--referrers", "--referrers-source", "oci:x"), []string{"--referrers-source", "write docker://HOST/NAME"}},
		{"credentials in a URL", []string{"copy", "https://me:wrong-secret@host/x", refs[1]}, []string{"--src-creds"}},
		{"credentials with a slash", []string{"copy", "docker://me:wrong-secret/x@host/x@sha256:" + strings.Repeat("0", 64), refs[1]}, []string{"--src-creds"}},
		{"bad platform", with("--platform", "linux"), []string{"--platform", "linux"}},
		{"empty platform", with("--platform", "linux/amd64,"), []string{"--platform", "empty"}},
		{"excluding requirement", with("--require-platform", "!windows/*"), []string{"only --platform can exclude"}},
		{"excluding option", with("--optional-platform", "!windows/*"), []string{"only --platform can exclude"}},
		{"bad digest", with("--digest", "sha256:1"), []string{"--digest"}},
		{"bad position", with("--index", "-1"), []string{"--index", "count from 0"}},
		{"bad action", with("--all", "--sparse", "drop"), []string{"--sparse", "keep, strip or auto"}},
		{"bad attestations", with("--all", "--attestations", "some"), []string{"--attestations", "default, follow, drop or all"}},
		{"bad output", with("--output", "yaml"), []string{"--output", "text or json"}},
		{"bad number", with("--parallel", "0"), []string{"--parallel", "from 1"}},
		{"bad time", with("--command-timeout", "-1s"), []string{"--command-timeout"}},
		{"no time", with("--blob-timeout", "0s"), []string{"--blob-timeout"}},
		{"all and some", with("--all", "--platform", "linux/amd64"), []string{"--all and --platform"}},
		{"strip without selection", with("--sparse", "strip"), []string{"--sparse needs --platform"}},
		{"list signatures of one image", with("--remove-list-signatures"), []string{"--remove-list-signatures needs"}},
		{"system with selection", with("--override-arch", "arm64", "--all"), []string{"--override-arch", "--all"}},
		{"quiet JSON", with("--quiet", "--output", "json"), []string{"--quiet and --output json"}},
		{"two policies", with("--policy", "p.json"), []string{"--policy and --insecure-policy"}},
		{"two credentials", with("--src-creds", "u:wrong-secret", "--src-no-creds"), []string{"--src-creds, --src-no-creds"}},
		{"no user", with("--dest-creds", ":wrong-secret"), []string{"--dest-creds names no user"}},
		{"blobs of a plan", append([]string{"plan", "--insecure-policy", "--check-blobs"}, refs...), []string{"--check-blobs has no effect on a plan without --compare"}},
		{"children of a plan", append([]string{"plan", "--insecure-policy", "--all", "--widened-child-tags"}, refs...), []string{"--widened-child-tags has no effect on a plan without --compare"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := runAll(t.Context(), t, "", c.args...)
			r.failed(t, StatusMisused, c.says...)
			assert.NotContains(t, r.stderr, "wrong-secret")
			assert.Empty(t, r.stdout)
		})
	}
	assert.Zero(t, src.Count(nil)+dst.Count(nil))
}

func TestPolicies(t *testing.T) {
	f := imagetest.Platforms(2, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	old := pushOld(dst)
	dir := t.TempDir()
	file := func(content string) string {
		name := filepath.Join(dir, digest.FromString(content).Encoded())
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		return name
	}
	without := []string{"copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", refTo(src), refTo(dst)}
	with := func(policy string) []string { return append(slices.Clip(without), "--policy", policy) }

	if _, err := os.Stat("/etc/containers/policy.json"); err != nil {
		runAll(t.Context(), t, "", without...).failed(t, StatusFailed, "no usable signature policy", "--policy", "--insecure-policy")
	}
	runAll(t.Context(), t, "", with(filepath.Join(dir, "none"))...).failed(t, StatusMisused, "signature policy", "none")
	runAll(t.Context(), t, "", with(file("{"))...).failed(t, StatusMisused, "signature policy")
	runAll(t.Context(), t, "", with(file(`{"default":[{"type":"reject"}]}`))...).failed(t, StatusFailed, "rejected", "each image of it that is copied; registries.d says")
	imagetest.CheckUnchanged(t, dst, repo, tag, old)
	runAll(t.Context(), t, "", with(file(`{"default":[{"type":"insecureAcceptAnything"}]}`))...).done(t)
	imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f})
}

func TestCredentials(t *testing.T) {
	f := imagetest.Platforms(2, 1, 1000)
	locked := registrytest.Options{Auth: &registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: "me", Password: "topsecret"}}}}
	basic := registrytest.Options{Auth: &registrytest.Auth{Accounts: []registrytest.Account{{Username: "me", Password: "topsecret"}}}}
	src, dst := registrytest.Start(t, locked), registrytest.Start(t, basic)
	f.PushTo(src, repo, tag, imagetest.Top)
	authFile := filepath.Join(t.TempDir(), "auth.json")
	require.NoError(t, os.WriteFile(authFile, []byte(fmt.Sprintf(`{"auths":{%q:{"auth":"bWU6dG9wc2VjcmV0"},%q:{"auth":"bWU6dG9wc2VjcmV0"}}}`, src.Host(), dst.Host())), 0o600))
	twice := strings.Repeat("topsecret\n", 2)
	base := []string{"copy", "--all", "--debug", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", refTo(src), refTo(dst)}
	for _, c := range []struct {
		name  string
		args  []string
		stdin string
		ok    bool
	}{
		{"given", []string{"--src-creds", "me:topsecret", "--dest-creds", "me:topsecret"}, "", true},
		{"from stdin", []string{"--src-creds", "me", "--dest-creds", "me"}, twice, true},
		{"too few on stdin", []string{"--src-creds", "me", "--dest-creds", "me"}, "topsecret\n", false},
		{"one file", []string{"--authfile", authFile}, "", true},
		{"two files", []string{"--src-authfile", authFile, "--dest-authfile", authFile}, "", true},
		{"a file that is not there", []string{"--authfile", authFile + "x"}, "", false},
		{"a file and none", []string{"--authfile", authFile, "--src-no-creds"}, "", false},
		{"a bad token", []string{"--src-registry-token", "topsecret", "--dest-creds", "me:topsecret"}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := runAll(t.Context(), t, c.stdin, append(slices.Clip(base), c.args...)...)
			assert.Equal(t, c.ok, r.status == StatusDone, r.stderr)
			for _, secret := range []string{"topsecret", "bWU6dG9wc2VjcmV0"} {
				assert.NotContains(t, r.stdout+r.stderr, secret)
			}
		})
	}
}

func TestOneLine(t *testing.T) {
	assert.Equal(t, "a; b", oneLine("a\nb\n"))
	assert.Equal(t, `\x1b[31mred\x00`, oneLine("\x1b[31mred\x00"))
	assert.Equal(t, "größer → ok", oneLine("größer → ok"))
	assert.Less(t, len(oneLine(strings.Repeat("x", 1<<20))), maxLine+100)
}

func TestInWords(t *testing.T) {
	byFlags, byFile := &environment{}, &environment{byFile: true}
	assert.Equal(t, "--preserve-digests is set", byFlags.inWords("PreserveDigests is set"))
	assert.Equal(t, "signed; --remove-list-signatures, removes", byFlags.inWords("signed; RemoveListSignatures, removes"))
	assert.Equal(t, "signed; remove-list-signatures, removes", byFile.inWords("signed; RemoveListSignatures, removes"))
}

// TestTold: what is an option and a word is taken for a word, but in what is about options.
func TestTold(t *testing.T) {
	byFlags, byFile := &environment{}, &environment{byFile: true}
	text := "transformed: ForceCompressionFormat changes layers, DestinationCtx.CompressionFormat.\nAttestations: Referrers (Signers)\n"
	assert.Equal(t, "transformed: --dest-force-compress-format changes layers, --dest-compress-format.\nAttestations: Referrers (--sign-by-sigstore)\n", byFlags.told(text))
	assert.Equal(t, "transformed: dest-force-compress-format changes layers, dest-compress-format.\nAttestations: Referrers (sign-by-sigstore)\n", byFile.told(text))
	assert.Equal(t, "--attestations needs --digest", byFlags.inWords("Attestations needs Instances"))
}

// TestErrorsAreInWords: no error that names what may help names it as the library's option.
func TestErrorsAreInWords(t *testing.T) {
	some := digest.FromString("some")
	for _, err := range []error{
		&copy.OptionsError{Options: []string{"KeepVoid", "DigestTags"}, Reason: "Referrers need it"},
		&copy.CannotModifyError{List: some, Reason: "it is signed, and its signatures (1) would become invalid; AttachOriginal lets them travel along, RemoveListSignatures removes them"},
		&copy.AttachmentError{Digest: some, Subject: some, Refusal: errors.New("no")},
		&copy.TagListError{Err: errors.New("no")},
		&copy.SparseRefusedError{List: some, Refusal: errors.New("no"), NotStripped: "PreserveDigests is set"},
		&copy.MissingError{Missing: []copy.MissingInstance{{Digest: some, Platform: "linux/amd64"}}},
		&copy.WidenError{},
		&copy.NoMatchError{Asked: []string{"linux/amd64"}, Offered: []string{"linux/arm64"}, Single: true},
		&copy.BlobsRefusedError{List: some, Blobs: 1, Refusal: errors.New("no")},
		errors.New("transforming an image: OciEncryptConfig encrypts layers"),
	} {
		for _, e := range []*environment{{sel: &selection{}}, {byFile: true}} {
			text := e.explain(fmt.Errorf("copying: %w", err))
			for option := range optionFlags {
				assert.NotRegexp(t, `\b`+option+`\b`, text)
			}
		}
	}
}

// TestWordsAreThere holds the names that messages recommend against the flags and keys that there
// are.
func TestWordsAreThere(t *testing.T) {
	for option, flag := range optionFlags {
		cmd, _, err := testRoot().Find([]string{"copy"})
		require.NoError(t, err)
		assert.NotNil(t, cmd.Flags().Lookup(strings.TrimPrefix(flag, "--")), flag)
		assert.Contains(t, optionNames(t), option)
	}
	for option, key := range optionKeys {
		assert.Contains(t, optionNames(t), option)
		if flag, ok := strings.CutPrefix(key, "--"); ok {
			cmd, _, err := testRoot().Find([]string{"sync"})
			require.NoError(t, err)
			assert.NotNil(t, cmd.Flags().Lookup(flag), key)
			continue
		}
		_, err := syncfile.Parse("f", fmt.Appendf(nil, "images:\n- {source: 'docker://a.example/a:1', destination: 'docker://m.example/a', %s: {}}\n", key), func(what, text string) (types.ImageReference, error) {
			return parseReference(what, text)
		})
		assert.NotContains(t, fmt.Sprint(err), "has no key", key)
	}
}

// optionNames are the fields of copy.Options, and those of the context of the destination.
func optionNames(t *testing.T) []string {
	var names []string
	for field := range reflect.TypeFor[copy.Options]().Fields() {
		names = append(names, field.Name)
	}
	for field := range reflect.TypeFor[types.SystemContext]().Fields() {
		names = append(names, "DestinationCtx."+field.Name)
	}
	require.NotEmpty(t, names)
	return names
}

// TestWaysOut: what may help is named as a flag, or as a key, and what the registry says stands
// once.
func TestWaysOut(t *testing.T) {
	flags, file := &environment{sel: &selection{flags: pflag.NewFlagSet("", pflag.ContinueOnError)}}, &environment{byFile: true}

	single := &copy.NoMatchError{Asked: []string{"linux/amd64"}, Offered: []string{"linux/arm64"}, Single: true}
	assert.Contains(t, flags.explain(single), "; --single copy copies it")
	assert.Contains(t, file.explain(single), "; single: copy copies it")
	assert.NotContains(t, flags.explain(&copy.NoMatchError{Asked: single.Asked, Offered: single.Offered}), "--single")

	some := digest.FromString("some")
	answer := &copy.RegistryError{Method: "PUT", URL: "http://reg.example/v2/x", Status: 400}
	refused := &copy.Error{Op: "writing list", Side: copy.DestinationSide, Object: some.String(),
		Err: &copy.BlobsRefusedError{List: some, Blobs: 2, Refusal: fmt.Errorf("writing manifest: %w", answer)}}
	assert.Regexp(t, `^the destination refuses the list `+some.String()+`, in which 2 entries name blobs .*image-manifest=true: `+regexp.QuoteMeta(answer.Error())+`$`, flags.explain(refused))

	options := &copy.OptionsError{Options: []string{"ImageListSelection"}, Reason: "no"}
	assert.Equal(t, "--all: no", flags.explain(options))
	assert.Equal(t, "platforms: no", file.explain(options))
	var sel selection
	sel.define(pflag.NewFlagSet("", pflag.ContinueOnError))
	require.NoError(t, sel.flags.Parse([]string{"--index", "1", "--platform", "linux/amd64"}))
	assert.Equal(t, "--platform, --index: no", (&environment{sel: &sel}).explain(options))
}

func TestIsMisuse(t *testing.T) {
	assert.False(t, isMisuse(errors.New("x")))
	assert.True(t, isMisuse(fmt.Errorf("wrapped: %w", misusef("x"))))
}

// TestRateLimitIsExplained with what allows more pulls, if anything does.
func TestRateLimitIsExplained(t *testing.T) {
	limit := copy.RateLimit{Registry: "hub.example", Limit: 100, Window: time.Hour, Until: time.Unix(0, 0)}
	for want, held := range map[string]copy.RateLimitError{
		"; an account may have more: log in":  {RateLimit: limit},
		"0 of 100 pulls in 1h0m0s are left":   {RateLimit: copy.RateLimit{Registry: "hub.example", User: "alice", Limit: 100, Window: time.Hour}},
		"; a lower --min-remaining uses them": {RateLimit: copy.RateLimit{Registry: "hub.example", Remaining: 5}, MinRemaining: 5},
	} {
		text := (&environment{}).explain(fmt.Errorf("reading: %w", &held))
		assert.True(t, strings.HasSuffix(text, want), text)
	}
}

// TestTooLong says what to change where a proxy takes no request that is long enough.
func TestTooLong(t *testing.T) {
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.TooLarge})
	imagetest.Platforms(2, 1, 100).PushTo(src, repo, tag, imagetest.Top)
	mirror(t, "copy", "--all", refTo(src), refTo(dst)).failed(t, StatusFailed, "413", "takes no longer request", "client_max_body_size")
}
