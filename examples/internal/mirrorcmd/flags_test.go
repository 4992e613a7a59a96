package mirrorcmd

import (
	"bytes"
	"crypto/elliptic"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/bundlejudge/bundletest"
	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// settings are all that a command line can change.
type settings struct {
	copy.Options
	source, dest *types.SystemContext
	referrers    types.SystemContext // zero if there is no referrers source
	output       output
	digestFile   string
	yes          bool
	compare      bool
	times        times
	uploads      uploads
	limits       copy.CopierOptions
	caching      caching
	changes      transform.Settings
}

// parse returns what a command is set to by arguments.
func parse(t *testing.T, command string, args ...string) (*settings, *cobra.Command) {
	t.Helper()
	hermetictest.Home(t)
	env := &environment{stdin: strings.NewReader(""), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, getenv: os.Getenv}
	copying, planning := &copyCommand{env: env}, &planCommand{env: env}
	cmd, sel, access, out := finished(copying), &copying.sel, &copying.access, &copying.out
	if command == "plan" {
		cmd, sel, access, out = finished(planning), &planning.sel, &planning.access, &planning.out
	}
	cmd.InitDefaultHelpFlag()
	require.NoError(t, cmd.ParseFlags(append([]string{"--insecure-policy"}, args...)))
	ends, err := env.prepare([]string{"docker://a.example/x", "docker://b.example/x"}, sel, access, out)
	require.NoError(t, err)
	t.Cleanup(ends.close)
	var referrers types.SystemContext
	if from := ends.options.ReferrersFrom; from != nil {
		referrers = *from.SystemContext
	}
	return &settings{
		referrers: referrers,
		Options:   ends.options, source: ends.options.SourceCtx, dest: ends.options.DestinationCtx, output: *out,
		digestFile: copying.digestFile, yes: copying.yes, compare: planning.compare, times: access.times, uploads: access.uploads, limits: env.limits(access), caching: access.caching,
		changes: sel.changes,
	}, cmd
}

// TestEveryFlag demands that each flag has help, and that giving it changes what it is about, and
// to what.
func TestEveryFlag(t *testing.T) {
	dir := t.TempDir()
	authFile := filepath.Join(dir, "auth.json")
	require.NoError(t, os.WriteFile(authFile, []byte("{}"), 0o600))
	conf := filepath.Join(dir, "registries.conf")
	require.NoError(t, os.WriteFile(conf, nil, 0o600))
	private, public, err := rsaKey()
	require.NoError(t, err)
	file := func(name string, content []byte) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, content, 0o600))
		return name
	}
	key, publicKey, parameters := file("key", private), "jwe:"+file("public", public), file("params.yaml", []byte("privateKeyFile: "+filepath.Join(dir, "key")+"\n"))
	signing := []string{"--sign-by-sigstore-private-key", key}
	stripping := []string{"--all", "--sparse", "strip"}
	stating := slices.Concat(stripping, signing, []string{"--attach-original", "--verifier-id", "https://other.example"})
	pem := file("pem", bundletest.NewKey(t, elliptic.P256()).Public(t))
	policy := file("policy", []byte(`{"default": [{"type": "reject"}]}`))
	root := file("root", bundletest.NewAuthority(t).Root(t, bundletest.Parts{Log: true}))
	some := digest.FromString("some")
	elsewhere := []string{"--referrers", "--referrers-source", "docker://r.example/a"}
	amd64 := []copy.InstancePlatformFilter{{OS: "linux", Architecture: "amd64"}}
	nine := 9
	type get = func(*settings) any
	rows := map[string]struct {
		args []string // the flag
		with []string // other flags that it needs
		get  get
		want any
	}{
		"platform": {[]string{"--platform", "linux/amd64", "--platform", "!windows/*,!linux/arm"}, nil,
			func(s *settings) any { return s.InstancePlatforms },
			[]copy.InstancePlatformFilter{{OS: "linux", Architecture: "amd64"}, {OS: "windows", Architecture: "*", Exclude: true}, {OS: "linux", Architecture: "arm", Exclude: true}}},
		"optional-platform":      {[]string{"--optional-platform", "linux/amd64"}, nil, func(s *settings) any { return s.OptionalPlatforms }, amd64},
		"require-platform":       {[]string{"--require-platform", "linux/amd64"}, nil, func(s *settings) any { return s.RequiredPlatforms }, amd64},
		"digest":                 {[]string{"--digest", some.String()}, nil, func(s *settings) any { return s.Instances }, []digest.Digest{some}},
		"index":                  {[]string{"--index", "0,2"}, nil, func(s *settings) any { return s.InstanceIndexes }, []int{0, 2}},
		"all":                    {[]string{"--all"}, nil, func(s *settings) any { return s.ImageListSelection }, copy.CopyAllImages},
		"sparse":                 {[]string{"--sparse", "auto"}, []string{"--all"}, func(s *settings) any { return s.SparseManifestListAction }, copy.AutoSparseManifestList},
		"attestations":           {[]string{"--attestations", "drop"}, []string{"--all"}, func(s *settings) any { return s.Attestations }, copy.DropAttestations},
		"single":                 {[]string{"--single", "copy"}, []string{"--platform", "linux/amd64"}, func(s *settings) any { return s.SingleImage }, copy.CopySingleImage},
		"platformless-entries":   {[]string{"--platformless-entries", "keep"}, []string{"--platform", "linux/amd64"}, func(s *settings) any { return s.PlatformlessEntries }, copy.KeepPlatformlessEntries},
		"skip-missing":           {[]string{"--skip-missing"}, []string{"--all"}, func(s *settings) any { return s.MissingInstances }, copy.SkipMissing},
		"remove-signatures":      {[]string{"--remove-signatures"}, nil, func(s *settings) any { return s.RemoveSignatures }, true},
		"remove-list-signatures": {[]string{"--remove-list-signatures"}, []string{"--all"}, func(s *settings) any { return s.RemoveListSignatures }, true},
		"list-signatures":        {[]string{"--list-signatures", "warn"}, []string{"--all"}, func(s *settings) any { return s.ListSignatures }, copy.WarnListSignatures},
		"referrers":              {[]string{"--referrers"}, nil, func(s *settings) any { return s.Referrers }, copy.AllReferrers},
		"digest-tags":            {[]string{"--digest-tags"}, nil, func(s *settings) any { return s.DigestTags }, true},
		"entries-as-referrers":   {[]string{"--entries-as-referrers"}, []string{"--all"}, func(s *settings) any { return s.EntriesAsReferrers }, true},
		"referrers-source": {[]string{"--referrers-source", "docker://r.example/a"}, []string{"--referrers"}, func(s *settings) any {
			if s.ReferrersFrom == nil {
				return ""
			}
			return s.ReferrersFrom.Reference.DockerReference().Name()
		}, "r.example/a"},
		"referrers-source-tls-verify":     {[]string{"--referrers-source-tls-verify=false"}, elsewhere, func(s *settings) any { return s.referrers.DockerInsecureSkipTLSVerify }, types.OptionalBoolTrue},
		"referrers-source-creds":          {[]string{"--referrers-source-creds", "u:p"}, elsewhere, func(s *settings) any { return s.referrers.DockerAuthConfig }, &types.DockerAuthConfig{Username: "u", Password: "p"}},
		"referrers-source-no-creds":       {[]string{"--referrers-source-no-creds"}, elsewhere, func(s *settings) any { return s.referrers.DockerAuthConfig }, &types.DockerAuthConfig{}},
		"referrers-source-authfile":       {[]string{"--referrers-source-authfile", authFile}, elsewhere, func(s *settings) any { return s.referrers.AuthFilePath }, authFile},
		"referrers-source-cert-dir":       {[]string{"--referrers-source-cert-dir", dir}, elsewhere, func(s *settings) any { return s.referrers.DockerCertPath }, dir},
		"referrers-source-registry-token": {[]string{"--referrers-source-registry-token", "t"}, elsewhere, func(s *settings) any { return s.referrers.DockerBearerRegistryToken }, "t"},
		"keep-void":                       {[]string{"--keep-void"}, []string{"--digest-tags"}, func(s *settings) any { return s.KeepVoid }, true},
		"preserve-digests":                {[]string{"--preserve-digests"}, nil, func(s *settings) any { return s.PreserveDigests }, true},
		"check-blobs":                     {[]string{"--check-blobs"}, nil, func(s *settings) any { return s.CheckBlobs }, true},
		"widened-child-tags":              {[]string{"--widened-child-tags"}, []string{"--all"}, func(s *settings) any { return s.WidenedChildTags }, true},
		"parallel":                        {[]string{"--parallel", "3"}, nil, func(s *settings) any { return s.MaxParallelDownloads }, uint(3)},
		"compare":                         {[]string{"--compare"}, nil, func(s *settings) any { return s.compare }, true},
		"output":                          {[]string{"--output", "json"}, nil, func(s *settings) any { return s.output.json }, true},
		"quiet":                           {[]string{"--quiet"}, nil, func(s *settings) any { return s.output.quiet }, true},
		"debug":                           {[]string{"--debug"}, nil, func(s *settings) any { return s.output.debug }, true},
		"command-timeout":                 {[]string{"--command-timeout", "90s"}, nil, func(s *settings) any { return s.output.timeout }, 90 * time.Second},
		"digestfile":                      {[]string{"--digestfile", "f"}, nil, func(s *settings) any { return s.digestFile }, "f"},
		"yes":                             {[]string{"--yes"}, nil, func(s *settings) any { return s.yes }, true},
		"src-tls-verify":                  {[]string{"--src-tls-verify=false"}, nil, func(s *settings) any { return s.source.DockerInsecureSkipTLSVerify }, types.OptionalBoolTrue},
		"dest-tls-verify":                 {[]string{"--dest-tls-verify=true"}, nil, func(s *settings) any { return s.dest.DockerInsecureSkipTLSVerify }, types.OptionalBoolFalse},
		"log-format":                      {[]string{"--log-format", "json"}, nil, func(s *settings) any { return s.output.logJSON }, true},
		"src-creds":                       {[]string{"--src-creds", "u:p:q"}, nil, func(s *settings) any { return s.source.DockerAuthConfig }, &types.DockerAuthConfig{Username: "u", Password: "p:q"}},
		"dest-creds":                      {[]string{"--dest-creds", "u:"}, nil, func(s *settings) any { return s.dest.DockerAuthConfig }, &types.DockerAuthConfig{Username: "u"}},
		"src-no-creds":                    {[]string{"--src-no-creds"}, nil, func(s *settings) any { return s.source.DockerAuthConfig }, &types.DockerAuthConfig{}},
		"dest-no-creds":                   {[]string{"--dest-no-creds"}, nil, func(s *settings) any { return s.dest.DockerAuthConfig }, &types.DockerAuthConfig{}},
		"authfile":                        {[]string{"--authfile", authFile}, nil, func(s *settings) any { return s.source.AuthFilePath + s.dest.AuthFilePath }, authFile + authFile},
		"src-authfile":                    {[]string{"--src-authfile", authFile}, nil, func(s *settings) any { return s.source.AuthFilePath }, authFile},
		"dest-authfile":                   {[]string{"--dest-authfile", authFile}, nil, func(s *settings) any { return s.dest.AuthFilePath }, authFile},
		"src-cert-dir":                    {[]string{"--src-cert-dir", dir}, nil, func(s *settings) any { return s.source.DockerCertPath }, dir},
		"dest-cert-dir":                   {[]string{"--dest-cert-dir", dir}, nil, func(s *settings) any { return s.dest.DockerCertPath }, dir},
		"src-registry-token":              {[]string{"--src-registry-token", "t"}, nil, func(s *settings) any { return s.source.DockerBearerRegistryToken }, "t"},
		"dest-registry-token":             {[]string{"--dest-registry-token", "t"}, nil, func(s *settings) any { return s.dest.DockerBearerRegistryToken }, "t"},
		"registries.d":                    {[]string{"--registries.d", dir}, nil, func(s *settings) any { return s.source.RegistriesDirPath + s.dest.RegistriesDirPath }, dir + dir},
		"registries-conf":                 {[]string{"--registries-conf", conf}, nil, func(s *settings) any { return s.source.SystemRegistriesConfPath + s.dest.SystemRegistriesConfPath }, conf + conf},
		"stall-timeout":                   {[]string{"--stall-timeout", "1m"}, nil, func(s *settings) any { return s.times.options().StallTimeout }, time.Minute},
		"blob-timeout":                    {[]string{"--blob-timeout", "1h"}, nil, func(s *settings) any { return s.times.options().BlobTimeout }, time.Hour},
		"answer-timeout":                  {[]string{"--answer-timeout", "1m"}, nil, func(s *settings) any { return s.times.options().AnswerTimeout }, time.Minute},
		"cache-dir":                       {[]string{"--cache-dir", dir}, nil, func(s *settings) any { return s.caching.dir }, dir},
		"no-cache":                        {[]string{"--no-cache"}, nil, func(s *settings) any { return s.caching.none }, true},
		"resume-dir": {
			args: []string{"--resume-dir", dir}, get: func(s *settings) any { return s.uploads.resumeDir }, want: dir,
		},
		"chunk-size": {
			args: []string{"--chunk-size", "64M"}, get: func(s *settings) any { return s.uploads.chunk }, want: uint64(64_000_000),
		},
		"fsync":                        {[]string{"--fsync", "off"}, nil, func(s *settings) any { return s.limits.NoSync }, true},
		"hard-links":                   {[]string{"--hard-links"}, nil, func(s *settings) any { return s.limits.HardLinks }, true},
		"trust-source":                 {[]string{"--trust-source"}, nil, func(s *settings) any { return s.limits.TrustSource }, true},
		"min-remaining":                {[]string{"--min-remaining", "20"}, nil, func(s *settings) any { return s.times.options().MinRemaining }, uint(20)},
		"no-ranges":                    {[]string{"--no-ranges"}, nil, func(s *settings) any { return s.times.options().NoRanges }, true},
		"override-arch":                {[]string{"--override-arch", "a"}, nil, func(s *settings) any { return s.source.ArchitectureChoice }, "a"},
		"override-os":                  {[]string{"--override-os", "o"}, nil, func(s *settings) any { return s.source.OSChoice }, "o"},
		"override-variant":             {[]string{"--override-variant", "v"}, nil, func(s *settings) any { return s.source.VariantChoice }, "v"},
		"sign-by-sigstore":             {[]string{"--sign-by-sigstore", parameters}, nil, func(s *settings) any { return len(s.Signers) }, 1},
		"sign-by-sigstore-private-key": {signing, nil, func(s *settings) any { return s.SignBySigstorePrivateKeyFile }, key},
		"sign-passphrase-file":         {[]string{"--sign-passphrase-file", conf}, signing, func(s *settings) any { return s.changes.SignPassphraseFile }, conf},
		"sign-identity":                {[]string{"--sign-identity", "c.example/x:1"}, signing, func(s *settings) any { return fmt.Sprint(s.SignIdentity) }, "c.example/x:1"},
		"dest-compress-format": {[]string{"--dest-compress-format", "zstd:chunked"}, nil, func(s *settings) any {
			return s.dest.CompressionFormat != nil && s.dest.CompressionFormat.Name() == "zstd:chunked"
		}, true},
		"dest-compress-level":        {[]string{"--dest-compress-level", "9"}, nil, func(s *settings) any { return s.dest.CompressionLevel }, &nine},
		"dest-force-compress-format": {[]string{"--dest-force-compress-format"}, []string{"--dest-compress-format", "gzip"}, func(s *settings) any { return s.ForceCompressionFormat }, true},
		"encryption-key":             {[]string{"--encryption-key", publicKey}, nil, func(s *settings) any { return s.OciEncryptConfig != nil && s.OciEncryptLayers != nil }, true},
		"encrypt-layer":              {[]string{"--encrypt-layer", "0,-1"}, []string{"--encryption-key", publicKey}, func(s *settings) any { return *s.OciEncryptLayers }, []int{0, -1}},
		"decryption-key":             {[]string{"--decryption-key", key}, nil, func(s *settings) any { return s.OciDecryptConfig != nil }, true},
		"always-sign":                {[]string{"--always-sign"}, signing, func(s *settings) any { return s.AlwaysSign }, true},
		"annotate-transformed":       {[]string{"--annotate-transformed"}, nil, func(s *settings) any { return s.AnnotateTransformed }, true},
		"changed-subjects":           {[]string{"--changed-subjects", "drop"}, nil, func(s *settings) any { return s.ChangedSubjects }, copy.DropChangedSubjects},
		"attach-original":            {[]string{"--attach-original"}, stripping, func(s *settings) any { return s.AttachOriginal }, true},
		"verifier-id":                {append(slices.Clone(signing), "--verifier-id", "https://mirror.example"), append(slices.Clone(stripping), "--attach-original"), func(s *settings) any { return s.VerifierID }, "https://mirror.example"},
		"origin-policy":              {[]string{"--origin-policy", policy}, stating, func(s *settings) any { return s.OriginPolicy != nil }, true},
		"policy-uri":                 {[]string{"--policy-uri", "https://mirror.example/policy.json"}, stating, func(s *settings) any { return s.PolicyURI }, "https://mirror.example/policy.json"},
		"previous-public-key":        {[]string{"--previous-public-key", pem, "--previous-public-key", key}, stating, func(s *settings) any { return s.PreviousPublicKeyFiles }, []string{pem, key}},
		"origin-key":                 {[]string{"--origin-key", pem}, stating, func(s *settings) any { return s.BundleVerifier != nil }, true},
		"origin-trusted-root":        {[]string{"--origin-trusted-root", root}, append([]string{"--origin-key", pem}, stating...), func(s *settings) any { return s.changes.Original.Origin.TrustedRoot }, root},
		"origin-certificate-identity": {[]string{"--origin-certificate-identity", "a@publisher.example", "--origin-certificate-issuer", "https://issuer.example", "--origin-trusted-root", root}, stating,
			func(s *settings) any { return s.BundleVerifier != nil }, true},
		"origin-certificate-issuer": {[]string{"--origin-certificate-issuer", "https://issuer.example", "--origin-certificate-identity", "a@publisher.example", "--origin-trusted-root", root}, stating,
			func(s *settings) any { return s.changes.Original.Origin.CertificateIssuer }, "https://issuer.example"},
		"policy-digest": {[]string{"--policy-digest", some.String()}, stating, func(s *settings) any { return s.PolicyDigest }, some},
		"format":        {[]string{"--format", "v2s2"}, nil, func(s *settings) any { return s.ForceManifestMIMEType }, manifest.MediaTypeDockerManifest},
	}
	// What these do can only be seen from outside: TestPolicies, TestHelp, and the script
	// copy-transform.
	outside := map[string]bool{"sign-by": true, "policy": true, "insecure-policy": true, "help": true}

	seen := map[string]bool{}
	for _, command := range []string{"copy", "plan"} {
		_, cmd := parse(t, command)
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			assert.NotEmpty(t, flag.Usage, "%s --%s has no help", command, flag.Name)
			row, ok := rows[flag.Name]
			if !ok {
				assert.True(t, outside[flag.Name], "%s --%s is tested nowhere", command, flag.Name)
				return
			}
			seen[flag.Name] = true
			if command == "plan" && (flag.Name == "check-blobs" || flag.Name == "widened-child-tags") {
				row.with = append([]string{"--compare"}, row.with...)
			}
			before, _ := parse(t, command, row.with...)
			after, _ := parse(t, command, append(row.args, row.with...)...)
			assert.Equal(t, row.want, row.get(after), "%s --%s", command, flag.Name)
			assert.NotEqual(t, row.get(before), row.get(after), "%s --%s changes nothing", command, flag.Name)
		})
	}
	for name := range rows {
		assert.True(t, seen[name], "--%s is no flag", name)
	}
}

// TestDigestTagsFlag: with or without a value.
func TestDigestTagsFlag(t *testing.T) {
	for value, want := range map[string]copy.Options{
		"cosign": {DigestTags: true}, "true": {DigestTags: true}, "false": {},
		"all": {DigestTags: true, DigestTagSuffixes: copy.AllDigestTags},
	} {
		o := copy.Options{DigestTagSuffixes: copy.AllDigestTags}
		flag := &digestTags{&o}
		require.NoError(t, flag.Set(value))
		assert.Equal(t, want, o, value)
		if value != "true" && value != "false" {
			assert.Equal(t, value, flag.String())
		}
	}
	assert.EqualError(t, (&digestTags{&copy.Options{}}).Set("some"), "write cosign or all")
}

// TestSelections checks which selection of the library the flags stand for.
func TestSelections(t *testing.T) {
	for _, c := range []struct {
		args []string
		want copy.ImageListSelection
	}{
		{nil, copy.CopySystemImage},
		{[]string{"--require-platform", "linux/amd64"}, copy.CopySystemImage},
		{[]string{"--all"}, copy.CopyAllImages},
		{[]string{"--platform", "!windows/*"}, copy.CopySpecificImages},
		{[]string{"--optional-platform", "linux/arm"}, copy.CopySpecificImages},
		{[]string{"--digest", digest.FromString("x").String()}, copy.CopySpecificImages},
		{[]string{"--index", "1"}, copy.CopySpecificImages},
	} {
		s, _ := parse(t, "copy", c.args...)
		assert.Equal(t, c.want, s.ImageListSelection, "%v", c.args)
	}
}

// TestDefaults checks that the defaults are the library's.
func TestDefaults(t *testing.T) {
	s, _ := parse(t, "copy")
	assert.Equal(t, copy.KeepSparseManifestList, s.SparseManifestListAction)
	assert.Equal(t, copy.DefaultAttestations, s.Attestations)
	assert.Zero(t, s.MaxParallelDownloads, "the library decides: a number counts small blobs as it counts large ones")
	assert.Equal(t, types.OptionalBoolUndefined, s.source.DockerInsecureSkipTLSVerify, "registries.conf decides")
}

func TestAuthFileFromEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.json")
	require.NoError(t, os.WriteFile(file, []byte("{}"), 0o600))
	for _, c := range []struct {
		given end
		all   string
		want  string
	}{{end{}, "", file}, {end{}, "x", "x"}, {end{authFile: "y"}, "x", "y"}} {
		a := &access{flags: pflag.NewFlagSet("", pflag.ContinueOnError), authFile: c.all}
		sys, err := a.systemContext(types.SystemContext{}, &c.given, &environment{getenv: func(string) string { return file }}, nil)
		require.NoError(t, err)
		assert.Equal(t, c.want, sys.AuthFilePath)
	}
	_, err := (&access{flags: pflag.NewFlagSet("", pflag.ContinueOnError)}).systemContext(types.SystemContext{}, &end{}, &environment{getenv: func(string) string { return file + "x" }}, nil)
	assert.ErrorContains(t, err, "$REGISTRY_AUTH_FILE: open "+file+"x")
	assert.False(t, isMisuse(err), "no flag names it")
}
