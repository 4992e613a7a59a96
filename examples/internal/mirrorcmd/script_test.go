package mirrorcmd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// tests are those of this package, in a home of their own.
type tests struct{ *testing.M }

func (t tests) Run() int { return hermetictest.Main(t.M.Run) }

// TestMain makes the test binary the program itself where scripts run it.
func TestMain(m *testing.M) {
	if now := os.Getenv(weekNow); now != "" {
		os.Exit(mirrorAt(now))
	}
	testscript.Main(tests{m}, map[string]func(){
		"mirror": func() { os.Exit(Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs testdata/script/*.txt. Beside the commands of testscript, they have
//
//	registry NAME [strict|zot|gitlab] [no-api] [auth|basic] [tls]
//	                                      starts a registry; $NAME is its host. zot says no more than that a list is invalid, gitlab wants
//	                                      subjects first and takes referrers tags for digests, no-api has no referrers API, auth wants user:secret by way of tokens;
//	                                      basic wants it itself, but not from those who only read
//	shutdown NAME                         stops it; stop is a command of testscript
//	push NAME FIXTURE REPO:TAG [OMIT...]  puts an image there: platforms, attested, related, nested, docker, single or next
//	attach NAME FIXTURE REPO THING        puts what the fixture "referred" has beside its list: sbom, sbom-signature
//	list NAME REPO FIXTURE SUBJECT THING [TYPE]
//	                                      adds a thing to what the referrers tag of a subject lists, with an artifact type
//	digest FIXTURE THING VAR              sets $VAR to a digest, $VAR_HEX to its number, and $VAR_TAG to the beginning of cosign's tags
//	delete NAME REPO FIXTURE THING        removes a manifest or blob
//	damage NAME REPO FIXTURE THING        changes the bytes of a blob
//	cut DIR DIGEST                        leaves one byte of a blob in the blobs directory of a layout
//	flip DIR DIGEST                       changes a byte of a blob there
//	drop DIR DIGEST                       removes a blob there
//	hashes FILE DIGEST                    demands that a file has the digest
//	names NAME REPO:TAG DIGEST            demands that the tag names the digest
//	lacks NAME REPO FIXTURE THING         demands that a manifest or blob is not there
//	signed NAME REPO FORM...              puts what cosign has signed into a repository, in these forms: tags, bundles; $SIGNED has the keys
//	policy FILE SCOPE KEY                 writes a policy that demands a signature with a key in a scope, and rejects everything else
//	tamper NAME REPO:TAG HOW              changes the list, and attaches to it what was attached before: digest, platform, order, added,
//	                                      annotation; or takes away the original (unattached), or gives it that of tag v2 (other)
//	signing-key NAME PASSPHRASE           makes a sigstore key: NAME.key and NAME.pub
//	rsa-key NAME                          makes keys to decrypt and encrypt with: NAME.key and NAME.pub
//	mirror ARGS...                        runs the program: it must succeed, or, after !, exit with 1
//	misuse ARGS...                        runs it: it must exit with 2
//
// and the condition
//
//	[policy]                              the machine has a policy.json for everybody
//
// A program that fails must say why in one line.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup:         setupScript,
		Condition:     scriptCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"registry": scriptRegistry, "shutdown": scriptShutdown, "push": scriptPush, "attach": scriptAttach, "list": scriptList, "digest": scriptDigest, "delete": scriptDelete,
			"damage": scriptDamage, "cut": scriptCut, "flip": scriptFlip, "drop": scriptDrop, "hashes": scriptHashes, "names": scriptNames, "lacks": scriptLacks,
			"signed": scriptSigned, "policy": scriptPolicy, "tamper": scriptTamper,
			"signing-key": scriptSigningKey, "rsa-key": scriptRSAKey,
			"mirror": scriptMirror, "misuse": scriptMisuse,
		},
	})
}

// setupScript gives the script a home of its own, with a policy that accepts everything and a
// registries.conf.
func setupScript(e *testscript.Env) error {
	home := filepath.Join(e.WorkDir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	variables, err := hermetictest.Environment(home)
	if err != nil {
		return err
	}
	for name, value := range variables {
		e.Setenv(name, value)
	}
	e.Setenv("TMPDIR", e.WorkDir)
	e.Setenv("SIGNED", imagetest.SignedFile(""))
	e.Setenv("GORACE", os.Getenv("GORACE")) // the program is this binary, which may have the race detector
	policy := filepath.Join(variables["XDG_CONFIG_HOME"], "containers", "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default": [{"type": "insecureAcceptAnything"}]}`), 0o600); err != nil {
		return err
	}
	e.Values[registriesKey{}] = map[string]*registrytest.Registry{}
	return nil
}

func scriptCondition(name string) (bool, error) {
	if name != "policy" {
		return false, fmt.Errorf("there is no condition %q", name)
	}
	for _, path := range []string{"/etc/containers/policy.json", "/usr/share/containers/policy.json"} {
		if _, err := os.Stat(path); err == nil {
			return true, nil
		}
	}
	return false, nil
}

type registriesKey struct{}

func registriesOf(ts *testscript.TestScript) map[string]*registrytest.Registry {
	return ts.Value(registriesKey{}).(map[string]*registrytest.Registry)
}

func wantArgs(ts *testscript.TestScript, neg bool, args []string, least int) {
	if neg || len(args) < least {
		ts.Fatalf("bad use of a command; see TestScripts")
	}
}

func registryOf(ts *testscript.TestScript, name string) *registrytest.Registry {
	r, ok := registriesOf(ts)[name]
	if !ok {
		ts.Fatalf("no registry %q", name)
	}
	return r
}

func scriptRegistry(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	var o registrytest.Options
	for _, arg := range args[1:] {
		switch arg {
		case "strict":
			o.Strict = true
		case "zot":
			o.ListPolicy = registrytest.Zot
		case "gitlab":
			o.ListPolicy, o.NoReferrers, o.DigestTags, o.RequireSubjects = registrytest.GitLab, true, true, true
		case "no-api":
			o.NoReferrers = true
		case "auth":
			o.Auth = &registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: "user", Password: "secret"}}}
		case "basic":
			o.Auth = &registrytest.Auth{AnonymousPull: true, OpenBase: true, Accounts: []registrytest.Account{{Username: "user", Password: "secret"}}}
		case "tls":
			o.TLS = true
		default:
			ts.Fatalf("unknown option %q", arg)
		}
	}
	r := registrytest.New(o)
	ts.Defer(r.Close)
	registriesOf(ts)[args[0]] = r
	ts.Setenv(args[0], r.Host())
	if o.TLS {
		dir := ts.MkAbs("certs-" + args[0])
		ts.Check(os.MkdirAll(dir, 0o755))
		ts.Check(os.WriteFile(filepath.Join(dir, "ca.crt"), r.CA(), 0o600))
		return
	}
	conf := ts.Getenv("CONTAINERS_REGISTRIES_CONF")
	f, err := os.OpenFile(conf, os.O_APPEND|os.O_WRONLY, 0)
	ts.Check(err)
	_, err = fmt.Fprintf(f, "[[registry]]\nlocation = %q\ninsecure = true\n", r.Host())
	ts.Check(err)
	ts.Check(f.Close())
}

func scriptShutdown(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	registryOf(ts, args[0]).Close()
}

// fixtures are made once: they do not change.
var fixtures = map[string]func() *imagetest.Fixture{
	"platforms": sync.OnceValue(func() *imagetest.Fixture { return imagetest.Platforms(3, 2, 1000) }),
	"attested":  sync.OnceValue(imagetest.WithAttestations),
	"nested":    sync.OnceValue(imagetest.Nested),
	// What accelerates images stands before them; then come a zstd twin, and an attestation of
	// nothing.
	"related": sync.OnceValue(func() *imagetest.Fixture {
		f := imagetest.New()
		for _, name := range []string{"amd64", "arm64", "nydus", "zstd"} {
			f.Image(name, imagetest.Platform("linux/"+name))
		}
		f.SOCIIndex("soci-amd64", "amd64")
		f.SOCIIndex("soci-arm64", "arm64")
		f.Attestation("att", "amd64")
		f.List(imagetest.Top, imagetest.Entries("soci-amd64", "soci-arm64"),
			imagetest.Entry("nydus", imagetest.Platform("linux/amd64"), imagetest.Nydus()),
			imagetest.Entry("amd64", f.SOCI("soci-amd64")), imagetest.Entry("arm64", f.SOCI("soci-arm64")),
			imagetest.Entry("zstd", imagetest.Platform("linux/amd64"), imagetest.ZstdEntry()), imagetest.Entry("att", imagetest.NoAnnotations()))
		return f
	}),
	// As BuildKit does since 0.32, and the other way round.
	"buildkit": sync.OnceValue(func() *imagetest.Fixture {
		f := imagetest.New()
		for _, name := range []string{"amd64", "arm64"} {
			f.Image(name, imagetest.Platform("linux/"+name))
			f.Attestation("att-"+name, name, imagetest.Subject(name), imagetest.ArtifactType("application/vnd.docker.attestation.manifest.v1+json"),
				imagetest.Config(imgspecv1.MediaTypeEmptyJSON, []byte("{}")))
		}
		f.List(imagetest.Top, imagetest.Entries("att-amd64", "att-arm64", "amd64", "arm64"))
		f.Artifact("sbom", imagetest.Subject("amd64"), imagetest.ArtifactType("application/spdx+json"), imagetest.Config(imgspecv1.MediaTypeEmptyJSON, []byte("{}")))
		f.Artifact("sbom-arm64", imagetest.Subject("arm64"), imagetest.ArtifactType("application/spdx+json"))
		return f
	}),
	"docker": sync.OnceValue(imagetest.DockerList),
	"single": sync.OnceValue(func() *imagetest.Fixture {
		f := imagetest.New()
		f.Layer("base", imagetest.File("etc/motd", "hello\n"))
		f.Image(imagetest.Top, imagetest.Platform("linux/arm64"), imagetest.Layers("base"))
		return f
	}),
	"referred": sync.OnceValue(func() *imagetest.Fixture {
		f := version("one")
		f.Artifact("sbom", imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/spdx+json"))
		f.Artifact("sbom-signature", imagetest.Subject("sbom"), imagetest.ArtifactType("application/x-signature"))
		return f
	}),
	// A second version: of two images, one shares a layer with the first.
	"first": sync.OnceValue(func() *imagetest.Fixture { return version("one") }),
	"next":  sync.OnceValue(func() *imagetest.Fixture { return version("two") }),
}

func version(text string) *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("base", imagetest.File("etc/motd", "the same in every version\n"))
	f.Layer("app", imagetest.File("app", text))
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("base", "app"))
	f.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Layers("base"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "arm64"))
	return f
}

func fixtureOf(ts *testscript.TestScript, name string) *imagetest.Fixture {
	make, ok := fixtures[name]
	if !ok {
		ts.Fatalf("no fixture %q", name)
	}
	return make()
}

// repoTag cuts REPO:TAG.
func repoTag(ts *testscript.TestScript, s string) (repo, tag string) {
	repo, tag, found := lastCut(s, ":")
	if !found {
		ts.Fatalf("%q is not REPO:TAG", s)
	}
	return repo, tag
}

func scriptPush(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3)
	repo, tag := repoTag(ts, args[2])
	fixtureOf(ts, args[1]).PushTo(registryOf(ts, args[0]), repo, tag, imagetest.Top, args[3:]...)
}

func scriptAttach(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 4)
	fixtureOf(ts, args[1]).PushTo(registryOf(ts, args[0]), args[2], "", args[3])
}

func scriptList(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 5)
	r, f := registryOf(ts, args[0]), fixtureOf(ts, args[2])
	entry := imgspecv1.Descriptor{
		MediaType: imgspecv1.MediaTypeImageManifest, Digest: f.Digest(args[4]), Size: f.Size(args[4]), ArtifactType: strings.Join(args[5:], ""),
	}
	tag := endpoint.ReferrersTag(f.Digest(args[3]))
	old, _, _ := r.Manifest(args[1], tag)
	merged, _, err := endpoint.MergeReferrers(old, []imgspecv1.Descriptor{entry})
	ts.Check(err)
	r.PutManifest(args[1], tag, imgspecv1.MediaTypeImageIndex, merged)
}

func scriptDigest(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3)
	d := fixtureOf(ts, args[0]).Digest(args[1])
	ts.Setenv(args[2], d.String())
	ts.Setenv(args[2]+"_HEX", d.Encoded())
	ts.Setenv(args[2]+"_TAG", d.Algorithm().String()+"-"+d.Encoded())
}

func scriptDelete(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 4)
	d, r := fixtureOf(ts, args[2]).Digest(args[3]), registryOf(ts, args[0])
	if !r.DeleteManifest(args[1], d) && !r.DeleteBlob(args[1], d) {
		ts.Fatalf("%s is not there", d)
	}
}

func scriptDamage(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 4)
	d, r := fixtureOf(ts, args[2]).Digest(args[3]), registryOf(ts, args[0])
	b, ok := r.Blob(args[1], d)
	if !ok {
		ts.Fatalf("%s is not there", d)
	}
	changed := append([]byte{}, b...)
	changed[0] ^= 1
	other := registrytest.Bytes(changed)
	other.Digest = d
	r.DeleteBlob(args[1], d)
	r.PutContent(args[1], other)
}

func scriptCut(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	ts.Check(os.Truncate(blobFile(ts, args), 1))
}

func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	content, err := os.ReadFile(blobFile(ts, args))
	ts.Check(err)
	content[0] ^= 1
	ts.Check(os.WriteFile(blobFile(ts, args), content, 0o600))
}

func scriptDrop(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	ts.Check(os.Remove(blobFile(ts, args)))
}

func blobFile(ts *testscript.TestScript, args []string) string {
	d := digest.Digest(args[1])
	return filepath.Join(ts.MkAbs(args[0]), d.Algorithm().String(), d.Encoded())
}

func scriptHashes(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	if got := digest.FromString(ts.ReadFile(args[0])); got != digest.Digest(args[1]) {
		ts.Fatalf("%s has digest %s", args[0], got)
	}
}

func scriptNames(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3)
	repo, tag := repoTag(ts, args[1])
	if got, _ := registryOf(ts, args[0]).Resolve(repo, tag); got != digest.Digest(args[2]) {
		ts.Fatalf("%s names %q", args[1], got)
	}
}

func scriptLacks(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 4)
	d, r := fixtureOf(ts, args[2]).Digest(args[3]), registryOf(ts, args[0])
	_, _, manifest := r.Manifest(args[1], d.String())
	if _, blob := r.Content(args[1], d); manifest || blob {
		ts.Fatalf("%s is there", d)
	}
}

func scriptMirror(ts *testscript.TestScript, neg bool, args []string) {
	want := StatusDone
	if neg {
		want = StatusFailed
	}
	runProgram(ts, want, args)
}

func scriptMisuse(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 0)
	runProgram(ts, StatusMisused, args)
}

func runProgram(ts *testscript.TestScript, want int, args []string) {
	err := ts.Exec("mirror", args...)
	status := 0
	if exit, ok := err.(*exec.ExitError); ok {
		status = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if status != want {
		ts.Fatalf("exit status %s, not %d", strconv.Itoa(status), want)
	}
	stderr := progressLines.ReplaceAllString(ts.ReadFile("stderr"), "")
	if want != StatusDone && (strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "mirror: ")) {
		ts.Fatalf("the reason should be one line: %q", stderr)
	}
}
