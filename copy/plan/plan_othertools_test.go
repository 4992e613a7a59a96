package plan

import (
	"bytes"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// The tests in this file are named after what other tools were seen to get wrong in planning a
// copy.

// planOf plans the copy of the list called top.
func planOf(f *imagetest.Fixture, o Choices, missing ...string) (*Plan, error) {
	top, mediaType := f.Document(imagetest.Top)
	in := Input{
		Top: Document{MediaType: mediaType, Bytes: top}, Choices: o,
		Documents: map[digest.Digest]Document{}, Missing: map[digest.Digest]bool{},
	}
	for _, d := range f.Manifests(imagetest.Top) {
		b, mediaType := f.Document(f.Name(d))
		in.Documents[d] = Document{MediaType: mediaType, Bytes: b}
	}
	for _, name := range missing {
		in.Missing[f.Digest(name)] = true
		delete(in.Documents, f.Digest(name))
	}
	return New(in)
}

// selecting selects by platform.
func selecting(t *testing.T, action SparseManifestListAction, texts ...string) Choices {
	t.Helper()
	o := Choices{ImageListSelection: CopySpecificImages, SparseManifestListAction: action}
	for _, text := range texts {
		f, err := ParsePlatformFilter(text)
		require.NoError(t, err)
		o.InstancePlatforms = append(o.InstancePlatforms, f)
	}
	return o
}

// namesOf are the names of digests.
func namesOf(f *imagetest.Fixture, digests []digest.Digest) []string {
	names := make([]string, len(digests))
	for i, d := range digests {
		names[i] = f.Name(d)
	}
	return names
}

// keptPositions are the positions of the entries that stay.
func keptPositions(l *ListPlan) []int {
	var positions []int
	for _, ip := range l.Instances {
		if ip.Entry != StripEntry {
			positions = append(positions, ip.Index)
		}
	}
	return positions
}

// image/v5: a platform filter sees the first entry of a repeated digest only.
func TestFilterSeesEveryEntryOfARepeatedDigest(t *testing.T) {
	f := imagetest.EqualDigests()
	plan, err := planOf(f, selecting(t, StripSparseManifestList, "linux/arm64"))
	require.NoError(t, err)
	assert.Equal(t, []string{"B"}, namesOf(f, plan.Copies))
	assert.Equal(t, []int{2}, keptPositions(plan.List))
}

// image/v5: Strip drops every attestation.
func TestStripKeepsTheAttestationsOfWhatIsCopied(t *testing.T) {
	f := imagetest.WithAttestations()
	plan, err := planOf(f, selecting(t, StripSparseManifestList, "linux/arm64"))
	require.NoError(t, err)
	assert.Equal(t, []string{"arm64", "att-arm64"}, namesOf(f, plan.Copies))
	assert.Equal(t, []int{1, 4}, keptPositions(plan.List))
}

// image/v5: a nested index is fatal.
func TestNestedIndexIsPlannedAtItsOwnLevel(t *testing.T) {
	f := imagetest.Nested()
	plan, err := planOf(f, selecting(t, StripSparseManifestList, "linux/arm/v6"))
	require.NoError(t, err)
	assert.Equal(t, []string{"arm/v6"}, namesOf(f, plan.Copies))
	assert.Equal(t, []int{1}, keptPositions(plan.List))
	inner := plan.List.Instances[1].Nested
	assert.Equal(t, []int{1}, keptPositions(inner))
	assert.Equal(t, []int{1}, keptPositions(inner.Instances[1].Nested))
}

// image/v5: a selected child that the source does not have is fatal. Some registries list
// attestations and answer 404 for them, and whole mirrors die on it.
func TestMissingChildNeedNotBeFatal(t *testing.T) {
	f := imagetest.WithAttestations()
	plan, err := planOf(f, selecting(t, StripSparseManifestList, "linux/*"), "att-amd64")
	require.NoError(t, err)
	assert.Equal(t, []int{0, 1, 2, 4, 5}, keptPositions(plan.List))

	o := selecting(t, KeepSparseManifestList, "linux/*")
	o.MissingInstances = SkipMissing
	plan, err = planOf(f, o, "amd64")
	require.NoError(t, err)
	assert.True(t, plan.List.Instances[0].Missing)
	assert.Equal(t, []int{0, 1, 2, 3, 4, 5}, keptPositions(plan.List))
}

// regctl, crane: platforms that are absent end in an index with no children over the tag, with exit
// status 0; buildx, too, takes no notice of one that is absent.
func TestAbsentPlatformNeverMakesAnEmptyIndex(t *testing.T) {
	f := imagetest.WithAttestations()
	for _, action := range []SparseManifestListAction{KeepSparseManifestList, StripSparseManifestList, AutoSparseManifestList} {
		_, err := planOf(f, selecting(t, action, "linux/riscv64"))
		var noMatch *NoMatchError
		require.ErrorAs(t, err, &noMatch)
		assert.Equal(t, []string{"linux/riscv64"}, noMatch.Asked)

		o := selecting(t, action)
		o.OptionalPlatforms = selecting(t, action, "linux/riscv64").InstancePlatforms
		_, err = planOf(f, o)
		require.ErrorAs(t, err, &noMatch)

		var empty *EmptyError
		_, err = planOf(f, selecting(t, action, "linux/amd64", "!linux/*"))
		require.ErrorAs(t, err, &empty)
	}
}

// regsync: widening a kept sparse mirror is a silent no-op, since the list's digest is there
// already.
func TestWideningCopiesWhatIsAbsent(t *testing.T) {
	f := imagetest.WithAttestations()
	top, mediaType := f.Document(imagetest.Top)
	o := selecting(t, KeepSparseManifestList, "linux/amd64", "linux/arm64")
	plan, err := New(Input{
		Top:     Document{MediaType: mediaType, Bytes: top},
		Present: map[digest.Digest]bool{f.Digest(imagetest.Top): true, f.Digest("amd64"): true, f.Digest("att-amd64"): true},
		Choices: o,
	})
	require.NoError(t, err)
	assert.Equal(t, f.Digest(imagetest.Top), plan.Digest)
	assert.Equal(t, []string{"arm64", "att-arm64"}, namesOf(f, plan.Copies))
}

// Everybody rewrites the document when stripping, so that the digest depends on the tool and its
// version.
func TestStripRewritesNothing(t *testing.T) {
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Image("arm64", imagetest.Platform("linux/arm64"))
	// The entries in the other order of keys, with a field that nobody knows, each on a line of its
	// own.
	entry := func(name, arch string) string {
		return ` { "x-weight" : 1.50, "platform" : {"os":"linux","architecture":"` + arch + `"}, "size":402,
   "digest":"` + f.Digest(name).String() + `", "mediaType":"application\/vnd.oci.image.manifest.v1+json" }`
	}
	document := func(entries ...string) []byte {
		return []byte("{ \"x-vendor\" : null,\n\"manifests\":[\n" + string(bytes.Join(toBytes(entries), []byte(" ,\n"))) + "\n], \"schemaVersion\":2 }\n")
	}
	f.Raw(imagetest.Top, "application/vnd.oci.image.index.v1+json", document(entry("amd64", "amd64"), entry("arm64", "arm64")), "amd64", "arm64")
	plan, err := planOf(f, selecting(t, StripSparseManifestList, "linux/arm64"))
	require.NoError(t, err)
	assert.Equal(t, string(document(entry("arm64", "arm64"))), string(plan.List.result))
	assert.Equal(t, digest.FromBytes(document(entry("arm64", "arm64"))), plan.Digest)
}

func toBytes(texts []string) [][]byte {
	b := make([][]byte, len(texts))
	for i, text := range texts {
		b[i] = []byte(text)
	}
	return b
}
