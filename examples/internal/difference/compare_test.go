package difference

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

func hash(name string) digest.Digest { return digest.FromString(name) }

func blobs(names ...string) []copy.InspectedBlob {
	var all []copy.InspectedBlob
	for _, name := range names {
		all = append(all, copy.InspectedBlob{Digest: hash(name), Size: int64(len(name))})
	}
	return all
}

func image(platform, name string, layers ...string) copy.InspectedEntry {
	return copy.InspectedEntry{Digest: hash(name), Platform: platform, Image: &copy.InspectedImage{Config: blobs("config of " + name)[0], Layers: blobs(layers...)}}
}

func list(name string, entries ...copy.InspectedEntry) *copy.Inspection {
	return &copy.Inspection{Digest: hash(name), Entries: entries}
}

// told is entries as lines.
func told(entries []Entry) []string {
	var lines []string
	for _, e := range entries {
		lines = append(lines, fmt.Sprintf("%s: %s", e.What, e.State))
	}
	return lines
}

func TestEntries(t *testing.T) {
	absent := image("linux/s390x", "s390x")
	absent.Missing, absent.Image = true, nil
	attestation := func(name, of string) copy.InspectedEntry {
		return copy.InspectedEntry{Digest: hash(name), Relation: copy.Describes, Kind: "attestation", Subject: hash(of)}
	}
	nested := copy.InspectedEntry{Digest: hash("nested"), List: true, Entries: []copy.InspectedEntry{image("windows/amd64", "win")}}
	other := nested
	other.Digest, other.Entries = hash("nested2"), []copy.InspectedEntry{image("windows/amd64", "win2")}
	a := list("a", image("linux/amd64", "amd64", "base", "base", "app"), image("linux/arm64", "arm64"), attestation("att", "arm64"), image("linux/s390x", "s390x"), image("linux/386", "386"), nested)
	b := list("b", image("linux/arm64", "arm64-2"), image("linux/amd64", "amd64-2", "base", "app2"), attestation("att2", "arm64-2"), absent, image("linux/386", "386"), image("linux/386", "twin"), other)
	entries := Entries(a, b)
	assert.Equal(t, []string{
		"linux/amd64: changed", "linux/arm64: changed", "attestation of linux/arm64: changed", "linux/s390x: absent-b", "linux/386: same",
		"list: changed", "list > windows/amd64: changed", "linux/386: only-b",
	}, told(entries))
	assert.Equal(t, &Content{
		Config: Changed, Same: 1, OnlyA: []Blob{{hash("base"), 4}, {hash("app"), 3}}, OnlyB: []Blob{{hash("app2"), 4}},
	}, entries[0].Content)
	assert.Equal(t, &Content{Config: Changed}, entries[1].Content)
	assert.Nil(t, entries[2].Content)

	single := &copy.Inspection{Digest: hash("amd64"), Image: &copy.InspectedImage{Platform: "linux/amd64", Config: blobs("config of amd64")[0], Layers: blobs("base", "base", "app")}}
	assert.Equal(t, []string{
		"linux/amd64: same", "linux/arm64: only-a", "attestation of linux/arm64: only-a", "linux/s390x: only-a", "linux/386: only-a", "list: only-a", "list > windows/amd64: only-a",
	}, told(Entries(a, single)))
	assert.True(t, IsPartOf(single, a))
	assert.False(t, IsPartOf(a, single))
	assert.False(t, IsPartOf(single, b))
	assert.Equal(t, []digest.Digest{hash("arm64-2"), hash("amd64-2"), hash("386"), hash("twin"), hash("nested2"), hash("win2")}, Present(b))
}

// TestManyEntries compares as many as lists may have, all of the same kind, which must not take
// time for each pair.
func TestManyEntries(t *testing.T) {
	var entries, others []copy.InspectedEntry
	for i := range 100_000 {
		entries = append(entries, copy.InspectedEntry{Digest: hash(fmt.Sprint(i)), Platform: "linux/amd64"})
		others = append(others, copy.InspectedEntry{Digest: hash(fmt.Sprint(-i)), Platform: "linux/amd64"})
	}
	begun := time.Now()
	assert.Len(t, Entries(list("a", entries...), list("b", others...)), len(entries))
	assert.Less(t, time.Since(begun), 2*time.Minute, "each pair takes longer than that")
}

// TestMatchingLooksAtEachThing, and not at each pair, where nothing belongs together.
func TestMatchingLooksAtEachThing(t *testing.T) {
	const things = 1000
	looks := 0
	named := func(name string) func(int) string {
		return func(int) string {
			looks++
			return name
		}
	}
	matched := newMatching(things, things).by(named("left"), named("right"))
	assert.NotContains(t, matched.taken, true)
	assert.LessOrEqual(t, looks, 4*things)
}

func TestAttachments(t *testing.T) {
	top := list("a", image("linux/amd64", "amd64"))
	stripped := list("b", image("linux/amd64", "amd64"))
	at := func(subject, name, tag, artifact string) naming.Attached {
		return naming.Attached{Subject: hash(subject), Digest: hash(name), Tag: tag, ArtifactType: artifact}
	}
	tag := "sha256-" + hash("amd64").Encoded()
	a := Side{top, []naming.Attached{
		at("a", "sbom of a", "", "application/spdx+json"), at("amd64", "sig", tag+".sig", ""), at("amd64", "sbom", "", "application/spdx+json"), at("amd64", "sbom2", "", "application/spdx+json"),
		at("sbom", "sig of sbom", "", "application/x-sig"),
	}}
	b := Side{stripped, []naming.Attached{
		at("amd64", "sbom2", "", "application/spdx+json"), at("amd64", "sig2", tag+".sig", ""), at("amd64", "sbom", "", "application/spdx+json"), at("b", "original", "", "application/x-original"),
		at("amd64", "index", tag, ""),
	}}
	var lines []string
	for _, x := range Attachments(a, b) {
		lines = append(lines, fmt.Sprintf("%s: %s", x.What, x.State))
	}
	assert.Equal(t, []string{
		".sig of linux/amd64: changed", "application/spdx+json of linux/amd64: same", "application/spdx+json of linux/amd64: same", "application/spdx+json of list: only-a",
		"application/x-original of list: only-b", "application/x-sig of application/spdx+json of linux/amd64: only-a", "digest tag of linux/amd64: only-b",
	}, lines)
}

func TestConclude(t *testing.T) {
	for name, test := range map[string]struct {
		image        Image
		same, subset bool
	}{
		"the same":       {Image{State: Same, Entries: []Entry{{State: Same}, {State: Absent}}, Attached: []Attachment{{State: Same}}}, true, true},
		"stripped":       {Image{State: Changed, Relation: BStripped, Entries: []Entry{{State: OnlyA}, {State: Same}}}, false, true},
		"an entry":       {Image{State: Changed, Relation: BEntry, Entries: []Entry{{State: OnlyA}, {State: Same}}}, false, true},
		"sparse":         {Image{State: Same, Entries: []Entry{{State: AbsentB}}}, false, true},
		"not attached":   {Image{State: Same, Attached: []Attachment{{State: OnlyA}}}, false, true},
		"no such tag":    {Image{State: OnlyA}, false, true},
		"more":           {Image{State: Changed, Relation: AStripped, Entries: []Entry{{State: OnlyB}}}, false, false},
		"absent in A":    {Image{State: Same, Entries: []Entry{{State: AbsentA}}}, false, false},
		"more attached":  {Image{State: Same, Attached: []Attachment{{State: OnlyB}}}, false, false},
		"another list":   {Image{State: Changed, Why: "rest of the document changed", Entries: []Entry{{State: Same}}}, false, false},
		"another image":  {Image{State: Changed, Relation: BStripped, Entries: []Entry{{State: Changed}}}, false, false},
		"another tag":    {Image{State: OnlyB}, false, false},
		"other attached": {Image{State: Same, Attached: []Attachment{{State: Changed}}}, false, false},
	} {
		r := Report{Images: []Image{{State: Same}, test.image}}
		r.Conclude()
		assert.Equal(t, test.same, r.Same, name)
		assert.Equal(t, test.subset, r.Subset, name)
		assert.Equal(t, !test.same, test.image.Differs(), name)
	}
	r := Report{AttachedTags: []Attachment{{State: OnlyB}}}
	r.Conclude()
	assert.False(t, r.Same || r.Subset)
}
