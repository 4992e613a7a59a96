package differential

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// Deliberate differences about documents: rows of the section "Documents" in docs/differences.md.
const (
	twoReadings    = "Documents that two parsers read differently are refused"
	contradictions = "Documents that contradict themselves are refused"
	wrongValues    = "Values that are absent or of the wrong kind are refused"
	sayWhatTheyAre = "Documents are what they say they are"
	entriesStay    = "Entries stay as they are"
	notFilledIn    = "What a list lacks is not filled in"
	emptyAlone     = "An empty list is copied with everything only"
	doubtStays     = "What parsers read differently is not converted"
	archivesName   = "Archives hold documents that say what they are"
)

// Where a change is made: the letters of where, for both formats.
const (
	ociList     = 'L'
	ociImage    = 'I'
	dockerList  = 'l'
	dockerImage = 'i'
)

// A documentCase is a change of a document that upstream and this package both get to copy.
type documentCase struct {
	name    string
	old, by string
	where   string // the documents that are changed, one after the other
	differs string // those for which the row applies; both do the same for the others
	row     string
}

// Placeholders in documentCase, for what differs between the formats.
const (
	stated  = "STATED"  // the mediaType member of the document
	other   = "OTHER"   // that of the other kind of document, in the same format
	entryIs = "ENTRYIS" // the mediaType member of an entry
)

var documentCases = func() []documentCase {
	const all, lists, images = "LIli", "Ll", "Ii"
	const start, version = `{"schemaVersion":2`, `"schemaVersion":2`
	const name, size, platform = `"digest":`, `"size":`, `"architecture":`
	x := `"` + digest.FromString("x").String() + `"`
	return []documentCase{
		{"a key with a meaning twice", version, version + "," + version, all, all, twoReadings},
		{"a key with a meaning in two spellings", version, version + `,"SchemaVersion":2`, all, all, twoReadings},
		{"two digests", name, name + x + "," + name, all, all, twoReadings},
		{"a size in another spelling", size, `"Size":0,` + size, all, all, twoReadings},
		{
			"two types of attestations", name, `"annotations":{"vnd.docker.reference.type":"a","vnd.docker.reference.type":"b"},` + name,
			all, all, twoReadings,
		},
		{"half of a surrogate pair", version, version + `,"x":"\ud83d"`, all, all, twoReadings},
		{"invalid UTF-8", version, version + `,"x":"` + "\xff" + `"`, all, all, twoReadings},
		{"deep nesting", version, version + `,"x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70), all, all, twoReadings},
		{"an annotation twice", name, `"annotations":{"a":"1","a":"2"},` + name, all, "", ""},
		{"an annotation in two spellings", name, `"annotations":{"a":"1","A":"2"},` + name, all, "", ""},
		{"an unknown key twice", version, version + `,"x":1,"x":{"y":1,"Y":2}`, all, "", ""},
		{"a byte order mark", start, "\ufeff" + start, all, "", ""},
		{"data after the document", start, start, all, "", ""}, // changed below

		{"schemaVersion 3", version, `"schemaVersion":3`, all, all, contradictions},
		{"schemaVersion 1", version, `"schemaVersion":1`, all, all, contradictions},
		{"the type of another document", stated, other, all, all, contradictions},
		{"the type of no document", stated, `"mediaType":"x/y"`, all, "LIl", contradictions},
		{"contents of another format", version, version + `,"history":[]`, all, "", ""},
		{"null for contents of another format", version, version + `,"history":null`, all, all, contradictions},
		{"signatures", version, version + `,"signatures":[]`, all, "", ""},
		{"a list with a config", `"manifests":[`, `"config":{},"manifests":[`, lists, "", ""},
		{"a list with null for a config", `"manifests":[`, `"config":null,"manifests":[`, lists, lists, contradictions},
		{"an image with entries", `"config":{`, `"manifests":[],"config":{`, images, "", ""},
		{"an image with null for entries", `"config":{`, `"manifests":null,"config":{`, images, images, contradictions},
		{"no schemaVersion", version + ",", "", all, "l", notFilledIn},
		{"null for the schemaVersion", version, `"schemaVersion":null`, all, "l", notFilledIn},
		{"a fraction for the schemaVersion", version, `"schemaVersion":2.0`, all, "", ""},

		{"a negative size", size, `"size":-1,"x":`, all, all, wrongValues},
		{"a size that floats do not hold", size, `"size":9007199254740993,"x":`, all, lists, wrongValues},
		{"null for a size", size, `"size":null,"x":`, all, all, wrongValues},
		{"no size", size, `"x":`, all, all, wrongValues},
		{"no digest", name, `"x":`, all, "", ""},
		{"null for a URL", name, `"urls":[null],` + name, all, all, wrongValues},
		{"a subject with an invalid digest", version, version + `,"subject":{"digest":"x","size":1}`, all, all, wrongValues},
		{"an empty subject", version, version + `,"subject":{}`, all, all, wrongValues},
		{"a number for an annotation", name, `"annotations":{"a":1},` + name, all, "li", wrongValues},
		{"a number for an artifact type", version, version + `,"artifactType":1`, all, "li", wrongValues},
		{"data that is no base64", name, `"data":"%",` + name, all, "li", wrongValues},
		{"null for an OS feature", platform, `"os.features":[null],` + platform, lists, lists, wrongValues},
		{"a number for a CPU feature", platform, `"features":[1],` + platform, lists, "L", wrongValues},
		{"a list without entries", `"manifests":[`, `"x":[`, lists, lists, wrongValues},
		{"an image without config", `"config":{`, `"x":{`, images, images, wrongValues},
		{"null for a config", `"config":{`, `"config":null,"x":{`, images, images, wrongValues},
		{"null for an annotation", name, `"annotations":{"a":null},` + name, all, "", ""},
		{"null for a variant", platform, `"variant":null,` + platform, lists, "", ""},
		{"null for an architecture", platform, `"architecture":null,"x":`, lists, "", ""},
		{"null for an artifact type", version, version + `,"artifactType":null`, all, "", ""},
		{"null for a platform", `"platform":`, `"platform":null,"x":`, lists, "", ""},
		{"no layers", `,"layers":[]`, "", images, "", ""},
		{"null for layers", `"layers":[]`, `"layers":null`, images, "", ""},
		{"null for a layer", `"layers":[]`, `"layers":[null]`, images, "", ""},

		{"no media type", stated + ",", "", "LIl", "l", notFilledIn},
		{"null for the media type", stated, `"mediaType":null`, "LIl", "l", notFilledIn},
		{"an empty media type", stated, `"mediaType":""`, "LIl", "l", notFilledIn},
		{"no media type of schema 2", stated + ",", "", "i", "i", sayWhatTheyAre},
		{"null for the media type of schema 2", stated, `"mediaType":null`, "i", "i", sayWhatTheyAre},

		{"an entry with a wrong size", size, `"size":1,"x":`, lists, lists, entriesStay},
		{"an entry for another format", entryIs, `"mediaType":"application/x"`, lists, lists, entriesStay},
		{"an entry for a list", entryIs, `"mediaType":"` + imgspecv1.MediaTypeImageIndex + `"`, lists, lists, entriesStay},
		{"an entry for schema 1", entryIs, `"mediaType":"` + manifest.MediaTypeDockerSchema1 + `"`, lists, lists, entriesStay},
		{"an entry without media type", entryIs, `"x":1`, lists, lists, entriesStay},
		{"a config with a wrong size", size, `"size":1,"x":`, images, "", ""},

		{"an empty list", `"manifests":[`, `"manifests":[],"x":[`, lists, "", ""},
		{"null for an empty list", `"manifests":[`, `"manifests":null,"x":[`, lists, lists, notFilledIn},
	}
}()

// TestDocumentsLikeUpstream gets documents copied that are unusual or wrong: what upstream copies
// this package copies alike, but for the deliberate differences.
func TestDocumentsLikeUpstream(t *testing.T) {
	for _, c := range documentCases {
		for _, where := range c.where {
			t.Run(fmt.Sprintf("%s/%c", c.name, where), func(t *testing.T) {
				t.Parallel()
				f := c.fixture(t, where)
				o := copy.Options{ImageListSelection: copy.CopyAllImages}
				row := ""
				if strings.ContainsRune(c.differs, where) {
					row = c.row
				}
				documentsLikeUpstream(t, f, imagetest.Top, registrytest.Options{}, o, row)
				if where == ociImage || where == dockerImage {
					documentsLikeUpstream(t, f, "arm64", registrytest.Options{}, copy.Options{}, row)
				}
			})
		}
	}
	oci, docker := imagetest.Platforms(2, 1, 100), imagetest.DockerList()
	everything := copy.Options{ImageListSelection: copy.CopyAllImages}
	t.Run("declared as something else", func(t *testing.T) {
		for _, c := range []struct {
			f        *imagetest.Fixture
			registry registrytest.Options
			row      string
		}{
			{oci, copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList), sayWhatTheyAre},
			{oci, copytest.DeclaredAs(imgspecv1.MediaTypeImageManifest, manifest.MediaTypeDockerManifest), sayWhatTheyAre},
			{oci, copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, imgspecv1.MediaTypeImageManifest), sayWhatTheyAre},
			{docker, copytest.DeclaredAs(manifest.MediaTypeDockerManifest, manifest.MediaTypeDockerSchema1Signed), sayWhatTheyAre},
			{docker, copytest.DeclaredAs(manifest.MediaTypeDockerList, imgspecv1.MediaTypeImageIndex), ""},
			{oci, copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, "text/plain"), sayWhatTheyAre},
			{oci, copytest.DeclaredAs(imgspecv1.MediaTypeImageManifest, "application/json"), sayWhatTheyAre},
		} {
			t.Run(fmt.Sprint(c.registry.DeclareAs), func(t *testing.T) {
				documentsLikeUpstream(t, c.f, imagetest.Top, c.registry, everything, c.row)
			})
		}
	})
	t.Run("an empty list alone", func(t *testing.T) {
		f := imagetest.New()
		f.List(imagetest.Top)
		documentsLikeUpstream(t, f, imagetest.Top, registrytest.Options{}, copy.Options{ImageListSelection: copy.CopySpecificImages}, emptyAlone)
		documentsLikeUpstream(t, f, imagetest.Top, registrytest.Options{}, copy.Options{}, "")
		documentsLikeUpstream(t, f, imagetest.Top, registrytest.Options{}, everything, "")
	})
	t.Run("converted", func(t *testing.T) {
		twice := copytest.EveryDocument(copytest.Replaced(`"schemaVersion":2`, `"schemaVersion":2,"x":{"y":1,"y":2}`))
		everything.ForceManifestMIMEType = manifest.MediaTypeDockerManifest
		documentsLikeUpstream(t, twice, imagetest.Top, registrytest.Options{}, everything, doubtStays)
		once := copytest.EveryDocument(copytest.Replaced(`"schemaVersion":2`, `"schemaVersion":2,"x":{"y":1,"Y":2}`))
		documentsLikeUpstream(t, once, imagetest.Top, registrytest.Options{}, everything, "")
	})
}

// TestNamelessDocumentsInArchives: upstream writes archives that it cannot read.
func TestNamelessDocumentsInArchives(t *testing.T) {
	for body, readable := range map[string]bool{
		`{"manifests":[]}`: false, `{"schemaVersion":2,"manifests":[]}`: false, `{"mediaType":"` + imgspecv1.MediaTypeImageIndex + `","manifests":[]}`: true,
	} {
		f := imagetest.New()
		f.Raw("empty", imgspecv1.MediaTypeImageIndex, []byte(body))
		src := copytest.Places["registry"](t)
		src.Push(f, "v1", "empty")
		d := newFixedCase(t, "oci-archive", copy.Options{ImageListSelection: copy.CopyAllImages})
		theirs, ours := d.newDestination(), d.newDestination()
		_, err := upstream.Image(t.Context(), d.e.Policy, theirs.ref, src.Ref("v1"), d.upstreamOptions())
		require.NoError(t, err)
		_, err = d.e.Image(t.Context(), ours.ref, src.Ref("v1"), d.options)
		assert.Equal(t, readable, err == nil, "%v", err)

		layout := copytest.Places["layout"](t)
		_, err = d.e.Image(t.Context(), layout.Ref("v1"), src.Ref("v1"), d.options)
		require.NoError(t, err, "a layout that this package writes has the right name for it")
		again := copytest.Places["registry"](t)
		_, err = d.e.Image(t.Context(), again.Ref("v1"), layout.Ref("v1"), d.options)
		require.NoError(t, err)
		assert.Equal(t, f.Digest("empty"), again.Top("v1"))

		again = copytest.Places["registry"](t)
		_, err = upstream.Image(t.Context(), d.e.Policy, again.Ref("v1"), theirs.ref, d.upstreamOptions())
		assert.Equal(t, readable, err == nil, "%v", err)
	}
}

// fixture is a list of two images, of which the document at where is changed.
func (c documentCase) fixture(t *testing.T, where rune) *imagetest.Fixture {
	t.Helper()
	list, image, ofList, ofImage := imgspecv1.MediaTypeImageIndex, imgspecv1.MediaTypeImageManifest, []imagetest.Option(nil), []imagetest.Option(nil)
	if where == dockerList || where == dockerImage {
		list, image = manifest.MediaTypeDockerList, manifest.MediaTypeDockerManifest
		ofList, ofImage = append(ofList, imagetest.Docker()), append(ofImage, imagetest.Docker())
	}
	member := func(mediaType string) string { return `"mediaType":"` + mediaType + `"` }
	words := strings.NewReplacer(stated, member(list), other, member(image), entryIs, member(image))
	if where == ociImage || where == dockerImage {
		words = strings.NewReplacer(stated, member(image), other, member(list))
	}
	changed := false
	change := imagetest.Reformat(func(doc []byte) []byte {
		text := strings.Replace(string(doc), words.Replace(c.old), words.Replace(c.by), 1)
		if c.name == "data after the document" {
			text += "{}"
		}
		changed = changed || text != string(doc)
		return []byte(text)
	})
	f := imagetest.New()
	f.Image("amd64", append(slices.Clone(ofImage), imagetest.Platform("linux/amd64"), imagetest.Layers())...)
	if where == ociList || where == dockerList {
		ofList = append(ofList, change)
	} else {
		ofImage = append(ofImage, change)
	}
	f.Image("arm64", append(ofImage, imagetest.Platform("linux/arm64"), imagetest.Layers())...)
	f.List(imagetest.Top, append(ofList, imagetest.Entries("arm64", "amd64"))...)
	require.True(t, changed)
	return f
}

// documentsLikeUpstream copies from one registry to another by upstream's copy.Image and by ours.
// Both do the same, if row is ""; else what that row of docs/differences.md says.
func documentsLikeUpstream(t *testing.T, f *imagetest.Fixture, source string, from registrytest.Options, o copy.Options, row string) {
	t.Helper()
	d := newFixedCase(t, "docker", o)
	d.fixture, d.source = f, source
	src := copytest.RegistryAt(t, registrytest.Start(t, from), "app")
	src.Push(f, "v1", source)
	theirs, ours := d.upstreams(src.Ref("v1")), d.ours(src.Ref("v1"), d.options)
	same, _ := f.Document(source)
	switch row {
	case "":
		if theirs.err == nil || ours.err == nil { // else both refuse it, each in its words
			assert.Empty(t, d.compare(theirs, ours))
		}
	case twoReadings, contradictions, wrongValues:
		var refused *manifest.ParseError
		require.NoError(t, theirs.err)
		require.ErrorAs(t, ours.err, &refused)
	case sayWhatTheyAre, entriesStay, notFilledIn:
		require.NoError(t, ours.err)
		assert.Equal(t, string(same), string(ours.copied))
		assert.NotEmpty(t, d.compare(theirs, ours))
	case emptyAlone:
		var empty *copy.EmptyError
		require.NoError(t, theirs.err)
		require.ErrorAs(t, ours.err, &empty)
	case doubtStays:
		var refused *copy.CannotModifyError
		require.NoError(t, theirs.err)
		require.ErrorAs(t, ours.err, &refused)
		assert.Contains(t, refused.Error(), "parsers read it differently")
	default:
		t.Fatalf("unknown row %q", row)
	}
}

// TestDocumentRowsAreDocumented holds the rows of the section "Documents" of docs/differences.md
// and the constants here together.
func TestDocumentRowsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(top, "docs", "differences.md"))
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(page), "\n## Documents\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	var rows []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \|`).FindAllStringSubmatch(section, -1) {
		rows = append(rows, row[1])
	}
	assert.Equal(t, []string{
		"Difference", "---", twoReadings, contradictions, wrongValues, sayWhatTheyAre, entriesStay, notFilledIn, emptyAlone, doubtStays, archivesName,
	}, rows)
}
