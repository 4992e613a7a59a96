package plan

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/relation"
	"github.com/sparsecopy/sparsecopy/internal/schematest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

func platforms(filters ...string) []InstancePlatformFilter {
	parsed := make([]InstancePlatformFilter, len(filters))
	for i, f := range filters {
		p, err := ParsePlatformFilter(f)
		if err != nil {
			panic(err)
		}
		parsed[i] = p
	}
	return parsed
}

func TestFilterMatchesAttestationsOnlyWhenSpelledOut(t *testing.T) {
	image := manifest.Instance{Platform: &imgspecv1.Platform{OS: "unknown", Architecture: "unknown"}}
	attestation := image
	attestation.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	elsewhere := attestation
	elsewhere.Platform = &imgspecv1.Platform{OS: "linux", Architecture: "amd64"}
	list := image
	list.MediaType = imgspecv1.MediaTypeImageIndex
	for _, c := range []struct {
		filter                      string
		image, attestation, nowhere bool
	}{
		{"unknown/unknown", true, true, false},
		{"Unknown/UNKNOWN", true, true, false},
		{"*/*", true, false, false},
		{"unknown/*", true, false, false},
		{"linux/amd64", false, false, false},
	} {
		f, err := ParsePlatformFilter(c.filter)
		require.NoError(t, err)
		include, exclude := newFilters([]InstancePlatformFilter{f})
		require.Empty(t, exclude)
		assert.Equal(t, c.image, include[0].matches(image, tieOf(image)), c.filter)
		assert.Equal(t, c.attestation, include[0].matches(attestation, tieOf(attestation)), c.filter)
		assert.False(t, include[0].matches(elsewhere, tieOf(elsewhere)), "the annotation decides, not the platform: %s", c.filter)
		assert.False(t, include[0].matches(list, tieOf(list)), "lists are selected by what is in them: %s", c.filter)
	}
}

func tieOf(instance manifest.Instance) relation.Tie {
	return relation.Of([]manifest.Instance{instance}, nil)[0]
}

// TestDockerHasNoAttestations leaves behind what cannot be converted, unless somebody asks for it.
func TestDockerHasNoAttestations(t *testing.T) {
	f := imagetest.WithAttestations()
	top, _ := f.Document(imagetest.Top)
	for _, c := range []struct {
		forced       string
		attestations AttestationAction
		instances    []digest.Digest
		copied       []string
	}{
		{"", DefaultAttestations, nil, []string{"amd64", "att-amd64"}},
		{imgspecv1.MediaTypeImageManifest, DefaultAttestations, nil, []string{"amd64", "att-amd64"}},
		{manifest.MediaTypeDockerManifest, DefaultAttestations, nil, []string{"amd64"}},
		{manifest.MediaTypeDockerSchema1Signed, DefaultAttestations, nil, []string{"amd64"}},
		{manifest.MediaTypeDockerList, DefaultAttestations, nil, []string{"amd64"}},
		{manifest.MediaTypeDockerManifest, FollowSubject, nil, []string{"amd64", "att-amd64"}},
		{manifest.MediaTypeDockerManifest, DefaultAttestations, f.Digests("att-amd64"), []string{"amd64", "att-amd64"}},
	} {
		plan, err := New(Input{Top: Document{Bytes: top}, Choices: Choices{
			ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"), Instances: c.instances,
			ForceManifestMIMEType: c.forced, Attestations: c.attestations,
		}})
		require.NoError(t, err)
		assert.Equal(t, f.Digests(c.copied...), plan.Copies, c.forced)
		left := slices.ContainsFunc(plan.List.Instances, func(ip InstancePlan) bool { return ip.Reason.Code == ReasonDropped })
		assert.Equal(t, len(c.copied) == 1, left, c.forced)
		assert.Equal(t, left, len(plan.Warnings) == 1, plan.Warnings)
	}
}

// TestDockerTakesNoAttestations leaves behind attestations, once they were read, whether they state
// a subject or not, however they were selected, and says so. Nothing else is.
func TestDockerTakesNoAttestations(t *testing.T) {
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Attestation("old", "amd64")
	f.Attestation("new", "amd64", imagetest.Subject("amd64"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "old", "new"))
	top, _ := f.Document(imagetest.Top)
	documents := map[digest.Digest]Document{}
	for _, name := range []string{"amd64", "old", "new"} {
		doc, mediaType := f.Document(name)
		documents[f.Digest(name)] = Document{MediaType: mediaType, Bytes: doc}
	}
	specific := Choices{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64")}
	follow, kept, named := specific, specific, specific
	follow.Attestations, kept.Attestations = FollowSubject, KeepAllAttestations
	named.Instances = f.Digests("old", "new")
	for name, choices := range map[string]Choices{
		"all": {ImageListSelection: CopyAllImages}, "follow": follow, "kept": kept, "named": named,
		"unknown": {ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "unknown/unknown")},
	} {
		for forced, copied := range map[string][]string{
			"": {"amd64", "old", "new"}, imgspecv1.MediaTypeImageManifest: {"amd64", "old", "new"},
			manifest.MediaTypeDockerManifest: {"amd64"}, manifest.MediaTypeDockerList: {"amd64"},
		} {
			choices.ForceManifestMIMEType = forced
			unread, err := New(Input{Top: Document{Bytes: top}, Choices: choices})
			require.NoError(t, err, name)
			assert.Equal(t, f.Digests("amd64", "old", "new"), unread.Copies, "%s: nobody knows yet", name)
			plan, err := New(Input{Top: Document{Bytes: top}, Documents: documents, Choices: choices})
			require.NoError(t, err, name)
			assert.Equal(t, f.Digests(copied...), plan.Copies, "%s as %s", name, forced)
			if len(copied) == 3 {
				assert.Empty(t, plan.Warnings)
				continue
			}
			assert.Equal(t, ReasonDropped, plan.List.Instances[1].Reason.Code, name)
			assert.Equal(t, ReasonDropped, plan.List.Instances[2].Reason.Code, name)
			assert.Equal(t, []string{"attestations are left behind (2): none can be converted to " + forced}, plan.Warnings)
		}
	}
}

// TestAttestationChainsEnd: attestations may describe each other, or themselves.
func TestAttestationChainsEnd(t *testing.T) {
	a, b, self := digest.FromString("a"), digest.FromString("b"), digest.FromString("self")
	image := digest.FromString("image")
	top := listOf(
		entryOf(image, ""), entryOf(a, b), entryOf(b, a), entryOf(self, self), entryOf(digest.FromString("c"), image),
	)
	plan, err := New(Input{Top: Document{Bytes: top}, Choices: Choices{
		ImageListSelection: CopySpecificImages, Attestations: FollowSubject, Instances: []digest.Digest{image, a},
	}})
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{image, a, b, digest.FromString("c")}, plan.Copies)
}

// TestOrphansDoNotHoldEachOther: attestations of a list that changes go, also if they describe each
// other.
func TestOrphansDoNotHoldEachOther(t *testing.T) {
	image, other := digest.FromString("image"), digest.FromString("other")
	a, b := digest.FromString("a"), digest.FromString("b")
	inner := listOf(entryOf(image, ""), entryOf(other, ""))
	d := digest.FromBytes(inner)
	plan, err := New(Input{
		Top:       Document{Bytes: listOf(nestedEntryOf(d), entryOf(a, d), entryOf(b, a), entryOf(a, b), entryOf(a, a))},
		Documents: map[digest.Digest]Document{d: {Bytes: inner}},
		Choices: Choices{
			ImageListSelection: CopySpecificImages, SparseManifestListAction: StripSparseManifestList,
			Attestations: FollowSubject, Instances: []digest.Digest{image},
		},
	})
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{image}, plan.Copies)
	assert.Equal(t, ReasonOrphaned, plan.List.Instances[4].Reason.Code)
	assert.Equal(t, digest.FromBytes(listOf(entryOf(image, ""))), plan.List.Instances[0].Nested.Result)
}

// entryOf is an entry for linux/amd64, or an attestation of subject.
func entryOf(d, subject digest.Digest) string {
	annotations := ""
	if subject != "" {
		annotations = fmt.Sprintf(`,"annotations":{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":%q}`, subject)
	}
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":3,"platform":{"os":"linux","architecture":"amd64"}%s}`, imgspecv1.MediaTypeImageManifest, d, annotations)
}

func nestedEntryOf(d digest.Digest) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":3}`, imgspecv1.MediaTypeImageIndex, d)
}

func listOf(entries ...string) []byte {
	return []byte(`{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`)
}

// TestPlanDigestAlgorithms: a list has the digest that its source names it by, and what is made of
// it has one of the same algorithm.
func TestPlanDigestAlgorithms(t *testing.T) {
	sha512Of := func(b []byte) digest.Digest {
		sum := sha512.Sum512(b)
		return digest.NewDigestFromEncoded(digest.SHA512, hex.EncodeToString(sum[:]))
	}
	one, two := sha512Of([]byte("one")), digest.FromString("two")
	inner := listOf(entryOf(one, ""), entryOf(two, ""))
	top := listOf(nestedEntryOf(sha512Of(inner)))
	in := Input{
		Top: Document{Bytes: top}, Digest: sha512Of(top), Documents: map[digest.Digest]Document{sha512Of(inner): {Bytes: inner}},
		Choices: Choices{ImageListSelection: CopySpecificImages, Instances: []digest.Digest{one}, SparseManifestListAction: StripSparseManifestList},
	}
	plan, err := New(in)
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{one}, plan.Copies)
	assert.Equal(t, sha512Of(plan.List.result), plan.Digest)
	nested := plan.List.Instances[0].Nested
	assert.Equal(t, sha512Of(listOf(entryOf(one, ""))), nested.Result)

	// A destination may name the same list by another algorithm.
	in.Choices = Choices{ImageListSelection: CopyAllImages}
	in.DestinationDigest = digest.FromBytes(top)
	_, err = New(in)
	assert.NoError(t, err)
	in.DestinationDigest = digest.FromString("other")
	var cannot *CannotModifyError
	_, err = New(in)
	assert.ErrorAs(t, err, &cannot)
}

func TestPlanRefusesInvalidDigests(t *testing.T) {
	top := listOf(entryOf(digest.FromString("a"), ""))
	for _, in := range []Input{
		{Top: Document{Bytes: top}, Digest: "../../x"},
		{Top: Document{Bytes: top}, Digest: "md5:d41d8cd98f00b204e9800998ecf8427e"},
		{Top: Document{Bytes: top}, DestinationDigest: "sha256:short"},
	} {
		in.Choices = Choices{ImageListSelection: CopyAllImages}
		_, err := New(in)
		assert.ErrorContains(t, err, "digest of the")
	}
}

// TestPlanReadsDocumentsAsDeclaredOrNot: registries and layouts declare text/plain, or nothing.
func TestPlanReadsDocumentsAsDeclaredOrNot(t *testing.T) {
	a := digest.FromString("a")
	inner := listOf(entryOf(a, ""))
	for _, mediaType := range []string{"", "text/plain", "application/json", imgspecv1.MediaTypeImageIndex} {
		plan, err := New(Input{
			Top:       Document{MediaType: mediaType, Bytes: listOf(nestedEntryOf(digest.FromBytes(inner)))},
			Documents: map[digest.Digest]Document{digest.FromBytes(inner): {MediaType: mediaType, Bytes: inner}},
			Choices:   Choices{ImageListSelection: CopyAllImages},
		})
		require.NoError(t, err, mediaType)
		assert.Equal(t, []digest.Digest{a}, plan.Copies)
	}
}

func TestPlanLimits(t *testing.T) {
	in := Input{Documents: map[digest.Digest]Document{}, Choices: Choices{ImageListSelection: CopyAllImages}}
	in.Top.Bytes = listOf(entryOf(digest.FromString("a"), ""))
	for range listtree.MaxDepth {
		d := digest.FromBytes(in.Top.Bytes)
		in.Documents[d] = in.Top
		in.Top.Bytes = listOf(nestedEntryOf(d))
	}
	_, err := New(in)
	var limit *LimitError
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, "depth of nested lists", limit.What)
}

// TestPlanSizesDoNotOverflow: the sizes in a manifest are whatever a stranger wrote.
func TestPlanSizesDoNotOverflow(t *testing.T) {
	assert.Equal(t, int64(math.MaxInt64), AddSize(math.MaxInt64-1, 2))
	assert.Equal(t, int64(math.MaxInt64), AddSize(math.MaxInt64, math.MaxInt64))
	assert.Equal(t, int64(3), AddSize(1, 2))

	const huge = 1<<53 - 1
	layers := make([]string, 1100)
	for i := range layers {
		layers[i] = fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, imgspecv1.MediaTypeImageLayerGzip, digest.FromString(fmt.Sprint(i)), huge)
	}
	b := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[%s]}`,
		imgspecv1.MediaTypeImageConfig, digest.FromString("{}"), strings.Join(layers, ","))
	plan, err := New(Input{Top: Document{Bytes: b}})
	require.NoError(t, err)
	assert.Equal(t, 1101, plan.Blobs)
	assert.Equal(t, int64(math.MaxInt64), plan.Bytes)
}

// TestPlanOfASystemImageThatWasNotRead: what the list states is all that is known.
func TestPlanOfASystemImageThatWasNotRead(t *testing.T) {
	a := digest.FromString("a")
	plan, err := New(Input{Top: Document{Bytes: listOf(entryOf(a, ""))}, System: a})
	require.NoError(t, err)
	assert.Equal(t, &ImagePlan{
		Digest: a, MediaType: imgspecv1.MediaTypeImageManifest, Size: 3, Platform: "linux/amd64", Reason: Reason{ReasonSystem, "suits this system"},
	}, plan.Image)
	assert.Equal(t, 1, plan.Unread)

	_, err = New(Input{Top: Document{Bytes: listOf(entryOf(a, ""))}})
	assert.ErrorContains(t, err, `does not name ""`)
}

// TestPlanOfNothing: what is neither a list nor an image is not planned with.
func TestPlanOfNothing(t *testing.T) {
	for _, text := range []string{"", "no JSON", "{}", `{"schemaVersion":2,"layers":[]}`} {
		plan, err := New(Input{Top: Document{Bytes: []byte(text)}})
		var parse *manifest.ParseError
		assert.ErrorAs(t, err, &parse, text)
		assert.Nil(t, plan)
	}
}

// TestPlanOfALyingEntry: an entry says image, and its document is a list. The document is right,
// and the plan warns of it.
func TestPlanOfALyingEntry(t *testing.T) {
	inner := listOf(entryOf(digest.FromString("a"), ""))
	top := listOf(entryOf(digest.FromBytes(inner), ""))
	plan, err := New(Input{
		Top:       Document{Bytes: top},
		Documents: map[digest.Digest]Document{digest.FromBytes(inner): {Bytes: inner}},
		Choices:   Choices{ImageListSelection: CopyAllImages},
	})
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{digest.FromString("a")}, plan.Copies)
	require.NotNil(t, plan.List.Instances[0].Nested)
	assert.Equal(t, imgspecv1.MediaTypeImageIndex, plan.List.Instances[0].MediaType)
	assert.Equal(t, digest.FromBytes(top), plan.Digest)
	assert.Equal(t, []string{fmt.Sprintf("the list %s has entries for %s, and what they name is %s: %s",
		digest.FromBytes(top), imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex, digest.FromBytes(inner))}, plan.Warnings)

	// And the other way round.
	image := []byte(`{"schemaVersion":2,"config":{"digest":"` + digest.FromString("c").String() + `","size":1},"layers":[]}`)
	top = listOf(nestedEntryOf(digest.FromBytes(image)))
	plan, err = New(Input{
		Top:       Document{Bytes: top},
		Documents: map[digest.Digest]Document{digest.FromBytes(image): {Bytes: image}},
		Choices:   Choices{ImageListSelection: CopyAllImages},
	})
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{digest.FromBytes(image)}, plan.Copies)
	assert.Nil(t, plan.List.Instances[0].Nested)
	assert.Len(t, plan.Warnings, 1)

	_, err = New(Input{
		Top: Document{Bytes: listOf(nestedEntryOf(digest.FromString("a")))},
		Documents: map[digest.Digest]Document{digest.FromString("a"): {
			Bytes: []byte(`{"schemaVersion":2,"config":{},"layers":[]}`),
		}},
		Choices: Choices{ImageListSelection: CopyAllImages},
	})
	var parse *manifest.ParseError
	assert.ErrorAs(t, err, &parse)
}

// TestPlanSchemaIsDocumented holds docs/plan-schema.md and the JSON form of a Plan together.
func TestPlanSchemaIsDocumented(t *testing.T) {
	const page = "../../docs/plan-schema.md"
	schematest.Check(t, page, map[string]any{
		"Plan": Plan{}, "ListPlan": listJSON{}, "InstancePlan": InstancePlan{}, "ImagePlan": ImagePlan{}, "Became": Became{}, "VariantPlan": VariantPlan{}, "Platform": imgspecv1.Platform{},
		"AttachedPlan": AttachedPlan{}, "OriginalPlan": OriginalPlan{}, "OriginalSignaturePlan": OriginalSignaturePlan{}, "Reason": Reason{}, "Edit": editJSON{},
	}, ListPlan{})
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(b), Schema)
	for _, code := range []ReasonCode{
		ReasonAll, ReasonDigest, ReasonIndex, ReasonPlatform, ReasonWithin, ReasonContains, ReasonFollows, ReasonKept, ReasonSystem, ReasonSingle, ReasonEntire,
		ReasonNotSelected, ReasonExcluded, ReasonDropped, ReasonMissing, ReasonOrphaned, ReasonElsewhere,
		ReasonEncryption, ReasonSubject, ReasonVoid, ReasonType, ReasonEntry, ReasonOriginal,
	} {
		assert.Contains(t, string(b), fmt.Sprintf("\n* `%s`:", code))
	}
}

func TestPlanJSONRefusesUnknownEdits(t *testing.T) {
	var l ListPlan
	assert.ErrorContains(t, json.Unmarshal([]byte(`{"edits":[{"op":"turn","index":1}]}`), &l), `operation "turn"`)
	assert.Error(t, json.Unmarshal([]byte(`{"edits":1}`), &l))
	_, err := json.Marshal(&ListPlan{Edits: []manifest.ListEdit{{ListOperation: manifest.ListOpMove + 1}}})
	assert.ErrorContains(t, err, "ListOp(5)")
}

// TestPlanJSONHasEmptyArrays: readers need not tell null from nothing.
func TestPlanJSONHasEmptyArrays(t *testing.T) {
	f := imagetest.WithAttestations()
	plan, err := planOf(f, Choices{ImageListSelection: CopySpecificImages})
	require.NoError(t, err)
	text := mustJSON(t, plan)
	assert.Contains(t, text, `"copies":[]`)
	assert.Contains(t, text, `"edits":[]`)
	assert.NotContains(t, text, "null")
}

// TestReasonsDoNotDependOnOrder: of several filters that match, the alphabetically first one is the
// reason.
func TestReasonsDoNotDependOnOrder(t *testing.T) {
	a := digest.FromString("a")
	for _, filters := range [][]string{{"linux/amd64", "*/amd64", "linux/*"}, {"linux/*", "linux/amd64", "*/amd64"}} {
		p, err := New(Input{Top: Document{Bytes: listOf(entryOf(a, ""))}, Choices: Choices{
			ImageListSelection: CopySpecificImages, InstancePlatforms: platforms(filters...),
		}})
		require.NoError(t, err)
		assert.Equal(t, Reason{ReasonPlatform, "selected by */amd64"}, p.List.Instances[0].Reason)
	}
}

// TestExcludesAloneSelectTheRest, and with a selector of any kind they select nothing.
func TestExcludesAloneSelectTheRest(t *testing.T) {
	a, b, c := digest.FromString("a"), digest.FromString("b"), digest.FromString("c")
	full, empty := listOf(entryOf(c, "")), listOf()
	fullDigest, emptyDigest := digest.FromBytes(full), digest.FromBytes(empty)
	in := Input{
		Top:       Document{Bytes: listOf(entryOf(a, ""), entryOf(b, ""), nestedEntryOf(fullDigest), nestedEntryOf(emptyDigest))},
		Documents: map[digest.Digest]Document{fullDigest: {Bytes: full}, emptyDigest: {Bytes: empty}},
	}
	for name, o := range map[string]Choices{
		"a digest and a position":             {Instances: []digest.Digest{a}, InstanceIndexes: []int{0}},
		"a platform and a digest":             {Instances: []digest.Digest{a}, OptionalPlatforms: platforms("linux/arm64")},
		"a platform and a position":           {InstanceIndexes: []int{0}, OptionalPlatforms: platforms("linux/arm64")},
		"a platform, a digest and a position": {Instances: []digest.Digest{a}, InstanceIndexes: []int{0}, OptionalPlatforms: platforms("linux/arm64", "linux/s390x")},
	} {
		o.ImageListSelection = CopySpecificImages
		o.InstancePlatforms = platforms("!windows/*")
		in.Choices = o
		p, err := New(in)
		require.NoError(t, err, name)
		assert.Equal(t, []digest.Digest{a}, p.Copies, name)
		assert.Equal(t, Skip, p.List.Instances[3].Decision, name)
	}
	in.Choices = Choices{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("!windows/*")}
	p, err := New(in)
	require.NoError(t, err)
	var codes []ReasonCode
	for _, ip := range p.List.Instances {
		assert.Equal(t, Copy, ip.Decision)
		codes = append(codes, ip.Reason.Code)
	}
	assert.Equal(t, []ReasonCode{ReasonAll, ReasonAll, ReasonContains, ReasonAll}, codes)
}

// TestNamedAttestationsLead if a platform filter means them, too.
func TestNamedAttestationsLead(t *testing.T) {
	image, first, second := digest.FromString("image"), digest.FromString("first"), digest.FromString("second")
	unknown := strings.NewReplacer(`"linux"`, `"unknown"`, `"amd64"`, `"unknown"`)
	in := Input{
		Top:     Document{Bytes: listOf(entryOf(image, ""), unknown.Replace(entryOf(first, image)), entryOf(second, first))},
		Choices: Choices{ImageListSelection: CopySpecificImages, Instances: []digest.Digest{first}},
	}
	p, err := New(in)
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{first}, p.Copies)
	in.Choices.InstancePlatforms = platforms("unknown/unknown")
	p, err = New(in)
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{first, second}, p.Copies)
}
