package mirrorcmd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/bundle"
	"github.com/sparsecopy/sparsecopy/examples/internal/difference"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/internal/schematest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestCopyOfConvertedImages counts what a conversion writes.
func TestCopyOfConvertedImages(t *testing.T) {
	src := registrytest.Start(t, registrytest.Options{})
	imagetest.DockerList().PushTo(src, repo, tag, imagetest.Top)
	layout := "oci:" + filepath.Join(t.TempDir(), "layout") + ":1"

	r := mirror(t, "copy", "--platform", "linux/amd64,linux/arm64", "--sparse", "strip", refTo(src), layout).done(t)

	assert.Contains(t, r.stdout, "written: 3 manifests, 5 blobs (")
	assert.NotContains(t, r.stdout, "(0 B)")
	assert.Regexp(t, `linux/amd64 +sha256:[0-9a-f]+ +transformed into sha256:[0-9a-f]+ +[0-9.]+ kB +[0-9]`, r.stdout)
	assert.Contains(t, r.stdout, "\ntransformed: 2 images: ")
	assert.Contains(t, r.stdout, "(stripped and converted)")
}

// TestCopyTellsOfUploadsThatWentOn: whoever starts a copy again sees whether that was of use.
func TestCopyTellsOfUploadsThatWentOn(t *testing.T) {
	for want, end := range map[string]copy.EndReport{
		"\n1 upload went on\n":                       {Resumed: 1},
		"\n2 uploads begun anew\n":                   {BegunAnew: 2},
		"\n2 uploads went on, 1 upload begun anew\n": {Resumed: 2, BegunAnew: 1},
	} {
		assert.Contains(t, summary(&copy.Report{Written: true, Destination: end}), want)
	}
	assert.NotContains(t, summary(&copy.Report{Written: true}), "upload")
}

// TestConvertedAndNotStripped: what has nothing to be stripped is not called so.
func TestConvertedAndNotStripped(t *testing.T) {
	src := registrytest.Start(t, registrytest.Options{})
	imagetest.DockerList().PushTo(src, repo, tag, imagetest.Top)

	r := mirror(t, "copy", "--platform", "*/*", "--sparse", "strip", refTo(src), "oci:"+filepath.Join(t.TempDir(), "layout")+":1").done(t)

	assert.Contains(t, r.stdout, "action strip: nothing to strip")
	assert.Contains(t, r.stdout, " (converted)\n")
}

// TestWhatIsAttachedHasItsName: the whole suffix of its tag, or its type.
func TestWhatIsAttachedHasItsName(t *testing.T) {
	stem := "sha256-" + digest.FromString("some").Encoded()
	for name, a := range map[string]copy.AttachedReport{
		".sig":                    {Tag: stem + ".sig"},
		".image-locations.imgpkg": {Tag: stem + ".image-locations.imgpkg"},
		"digest tag":              {Tag: stem, ArtifactType: "application/vnd.oci.image.config.v1+json"},
		"application/spdx+json":   {ArtifactType: "application/spdx+json"},
		"referrer":                {},
	} {
		assert.Equal(t, name, attachedKind(a))
	}
}

// TestCopySaysWhereEntriesStand names the list of each entry that is not in the top one.
func TestCopySaysWhereEntriesStand(t *testing.T) {
	f := imagetest.Nested()
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)

	r := mirror(t, "copy", "--platform", "linux/amd64,linux/arm/v7", refTo(src), refTo(dst)).done(t)

	assert.Regexp(t, `(?m)^linux/amd64 +sha256:`, r.stdout)
	assert.Regexp(t, `(?m)^list +`+shortDigest(f.Digest("inner"))+` +copied`, r.stdout)
	assert.Regexp(t, `(?m)^linux/arm64 in list `+shortDigest(f.Digest("inner"))+` +`+shortDigest(f.Digest("arm64"))+` +not copied, entry kept`, r.stdout)
	assert.Regexp(t, `(?m)^list in list `+shortDigest(f.Digest("inner"))+` +`+shortDigest(f.Digest("innermost"))+` +copied`, r.stdout)
	assert.Regexp(t, `(?m)^linux/arm/v7 in list `+shortDigest(f.Digest("innermost"))+` +`+shortDigest(f.Digest("arm/v7"))+` +copied`, r.stdout)

	r = mirror(t, "copy", "--platform", "linux/amd64", "--sparse", "strip", refTo(src), refTo(dst)).done(t)
	assert.Regexp(t, `(?m)^list +`+shortDigest(f.Digest("inner"))+` +stripped`, r.stdout)
	assert.Regexp(t, `(?m)^linux/arm64 in list `+shortDigest(f.Digest("inner"))+` +`+shortDigest(f.Digest("arm64"))+` +not copied  `, r.stdout, "the list was not written")
}

// TestCopyNamesWhatIsVoid prints what the destination has no use for.
func TestCopyNamesWhatIsVoid(t *testing.T) {
	f := signed()
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	f.PushTo(src, repo, "", "signature")

	r := mirror(t, "copy", "--platform", "linux/amd64", "--sparse", "strip", "--list-signatures", "warn", refTo(src), refTo(dst))

	require.Equal(t, StatusDone, r.status, r.stderr)
	assert.Contains(t, r.stdout, "void: signatures of the list "+f.Digest(imagetest.Top).String()+": referrer "+f.Digest("signature").String())
}

// signed is a list that notation has signed.
func signed() *imagetest.Fixture {
	f := imagetest.Platforms(2, 1, 100)
	f.Artifact("signature", imagetest.Subject(imagetest.Top), imagetest.ArtifactType("application/vnd.cncf.notary.signature"))
	return f
}

// TestSyncReportsWhatIsLeftOut has what is missing, and what is void, in its table and in JSON, in
// dry runs too.
func TestSyncReportsWhatIsLeftOut(t *testing.T) {
	f := signed()
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "signed", "1", imagetest.Top)
	f.PushTo(s.src, "signed", "", "signature")
	g := imagetest.WithAttestations()
	g.PushTo(s.src, "gaps", "1", imagetest.Top, "arm64", "att-arm64")
	s.write("defaults: {destination: \"DST/{name}\", sparse: strip, missing: skip, list-signatures: warn}\n" +
		"images:\n- source: SRC/signed:1\n  platforms: [linux/amd64]\n- source: SRC/gaps:1\n")
	for _, args := range [][]string{{"--dry-run"}, nil} {
		r := s.sync(args...)
		require.Equal(t, StatusDone, r.status, r.stderr)
		to := "docker://" + s.dst.Host() + "/"
		assert.Contains(t, r.stdout, "void: "+to+"signed:1: signatures of the list "+f.Digest(imagetest.Top).String())
		assert.Contains(t, r.stdout, "missing: "+to+"gaps:1: all instances are selected, but missing at the source: "+g.Digest("arm64").String()+" (linux/arm64)\n")
		assert.Contains(t, r.stdout, g.Digest("att-arm64").String()+" (attestation of "+shortDigest(g.Digest("arm64"))+")\n")
		assert.Contains(t, r.stdout, "; missing at the source: 2; ")

		if args == nil {
			s.write("defaults: {destination: \"DST/other/{name}\", sparse: strip, missing: skip, list-signatures: warn}\n" +
				"images:\n- source: SRC/signed:1\n  platforms: [linux/amd64]\n- source: SRC/gaps:1\n")
		}
		report := s.syncJSON(StatusDone, args...)
		assert.Equal(t, 2, report.Summary.Missing)
		assert.Len(t, report.Images[0].Void, 1)
		assert.Empty(t, report.Images[0].Missing)
		require.Len(t, report.Images[1].Missing, 2)
		missing := report.Images[1].Missing[0]
		assert.Equal(t, "linux/arm64", missing.Platform)
		assert.Equal(t, g.Digest("arm64"), missing.Digest)
		assert.Equal(t, copy.Stripped, missing.Entry)
		assert.Equal(t, g.Digest(imagetest.Top), missing.List)
	}
}

// TestSyncLastLine says what became of images, and of shards only if there are some.
func TestSyncLastLine(t *testing.T) {
	images := []syncImage{{Status: imageCopied}, {}}
	r := syncReport{Images: images}
	r.finish(errors.New("stopped"), time.Now())
	assert.Contains(t, r.lastLine(), "2 images: 1 copied, 1 not begun; ")
	r = syncReport{Images: images[1:]}
	r.finish(context.Canceled, time.Now())
	assert.Contains(t, r.lastLine(), "1 image: 1 not begun; ")
	r = syncReport{Shard: "1/2"}
	r.finish(nil, time.Now())
	assert.Contains(t, r.lastLine(), "nothing to do: 0 images in this shard; ")
	r = syncReport{}
	r.finish(nil, time.Now())
	assert.Contains(t, r.lastLine(), "nothing to do: 0 images; ")
}

// TestReportsAreDocumented holds docs/report-schema.md against everything that is printed as JSON,
// but for plans.
func TestReportsAreDocumented(t *testing.T) {
	schematest.Check(t, "../../../docs/report-schema.md", map[string]any{
		"Report": copy.Report{}, "InstanceReport": copy.InstanceReport{}, "Became": copy.Became{}, "AttachedReport": copy.AttachedReport{}, "VouchedReport": copy.VouchedReport{}, "VouchedBundle": copy.VouchedBundle{}, "OriginalReport": copy.OriginalReport{}, "OriginalSignatureReport": copy.OriginalSignatureReport{}, "EndReport": copy.EndReport{},
		"Sync": syncReport{}, "SyncSummary": syncSummary{}, "SyncImage": syncImage{}, "SyncRateLimit": syncRateLimit{}, "SyncAttached": syncAttached{}, "Transformation": transformation{}, "SyncPassedOver": syncPassedOver{}, "SyncRemoval": syncRemoval{},
		"DigestMap": digestMap{}, "DigestEntry": digestEntry{},
		"Verification": copy.Verification{}, "Violation": copy.Violation{},
		"StripVerification": copy.StripVerification{}, "JudgedSignature": copy.JudgedSignature{},
		"Removal": manifest.Removal{}, "RemovedEntry": manifest.RemovedEntry{}, "NestedRemoval": manifest.NestedRemoval{},
		"FileVerification": fileVerification{}, "FileVerificationSummary": fileVerificationSummary{}, "VerifiedImage": verifiedImage{},
		"Inspection": copy.Inspection{}, "InspectedEntry": copy.InspectedEntry{}, "InspectedImage": copy.InspectedImage{}, "InspectedBlob": copy.InspectedBlob{},
		"InspectedTotals": copy.InspectedTotals{},
		"Diff":            difference.Report{}, "DiffImage": difference.Image{}, "DiffEntry": difference.Entry{}, "DiffContent": difference.Content{}, "DiffBlob": difference.Blob{}, "DiffAttachment": difference.Attachment{},
		"Bundle": bundle.Record{}, "BundleImage": bundle.Image{}, "BundleAttached": bundle.Attached{}, "BundleBlob": bundle.Blob{},
		"BundleLoad": loading{}, "LoadedImage": loadedImage{}, "BundleList": bundleListing{}, "ListedImage": listedImage{}, "ListedEntry": listedEntry{}, "ListedAttached": listedAttached{},
		"Version": versionReport{}, "Digest": digestReport{}, "Tags": tagsReport{}, "TagsPassedOver": tagsPassedOver{}, "Deletion": deletion{}, "Tagging": tagging{}, "TaggedAs": taggedAs{},
	}, copy.Plan{}, copy.Reason{}, imgspecv1.Platform{})
	page, err := os.ReadFile("../../../docs/report-schema.md")
	require.NoError(t, err)
	for _, schema := range []string{
		difference.Schema, bundleListSchema,
		copy.ReportSchema, copy.PlanSchema, syncReportSchema, digestMapSchema, copy.VerificationSchema, copy.StripVerificationSchema, fileVerificationSchema, copy.InspectionSchema, bundle.Schema, loadingSchema, versionSchema, digestSchema, taggingSchema, tagsSchema, deletionSchema,
	} {
		assert.Contains(t, string(page), "`"+schema+"`")
	}
}

// TestInspectAttestation does not call what an attestation is for a platform.
func TestInspectAttestation(t *testing.T) {
	src := registrytest.Start(t, registrytest.Options{})
	imagetest.WithAttestations().PushTo(src, repo, tag, "att-amd64")
	r := runAll(t.Context(), t, "", "inspect", "--tls-verify=false", refTo(src)).done(t)
	assert.NotContains(t, r.stdout, "unknown")
}

// TestMissingIsSaid: whoever leaves out what is missing says so, verify and bundle create too.
func TestMissingIsSaid(t *testing.T) {
	f := imagetest.WithAttestations()
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top, "arm64", "att-arm64")
	flags := []string{"--all", "--skip-missing", "--sparse", "strip"}
	missing := f.Digest("arm64").String() + " (linux/arm64)"
	r := mirror(t, "copy", append(flags, refTo(src), refTo(dst))...).done(t)
	assert.Regexp(t, `linux/arm64 .* missing, stripped`, r.stdout)
	r = mirror(t, "verify", append(flags, refTo(src), refTo(dst))...).done(t)
	assert.Contains(t, r.stdout, "warning: missing at the source, and left out: "+missing)
	r = runAll(t.Context(), t, "", append(append([]string{"bundle", "create", "--insecure-policy", "--src-tls-verify=false"}, flags...), filepath.Join(t.TempDir(), "b"), refTo(src))...)
	assert.Equal(t, StatusDone, r.status)
	assert.Contains(t, r.stderr, "missing at the source, and left out: "+missing)
	assert.Contains(t, r.stderr, f.Digest("att-arm64").String()+" (attestation of ")
}

// TestBundleCreateSaysWhatThePlanSays has the warnings of a copy.
func TestBundleCreateSaysWhatThePlanSays(t *testing.T) {
	f := signed()
	src := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	f.PushTo(src, repo, "", "signature")
	r := runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--platform", "linux/amd64", "--optional-platform", "linux/mips",
		"--sparse", "strip", "--list-signatures", "warn", filepath.Join(t.TempDir(), "b"), refTo(src))
	assert.Equal(t, StatusDone, r.status)
	assert.Contains(t, r.stderr, "no instance matches the optional platform linux/mips")
	assert.Contains(t, r.stderr, "is signed, and changes: void at the destination: referrer "+f.Digest("signature").String())
}
