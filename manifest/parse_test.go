package manifest_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// expand writes documents shorter: $A and $B are digests, OCI and DOCKER media types of lists.
var expand = strings.NewReplacer(
	"$A", named("a").String(), "$B", named("b").String(),
	"OCI", ociIndex, "DOCKER", manifest.MediaTypeDockerList,
)

func TestParseKeepsDocuments(t *testing.T) {
	for _, file := range listFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			doc := readFile(t, file)
			list := mustParse(t, doc)
			assert.Equal(t, string(doc), string(serialize(t, list)))
			assert.Equal(t, string(doc), string(serialize(t, list.Clone())))

			again, err := manifest.Parse(doc, list.MediaType())
			require.NoError(t, err)
			assert.Equal(t, list, again)
			_, docker := list.(*manifest.Schema2List)
			assert.Equal(t, strings.HasPrefix(filepath.Base(file), "docker-"), docker)
			assert.Equal(t, docker, list.MediaType() == manifest.MediaTypeDockerList)
		})
	}
}

func TestParseDoesNotRetainItsInput(t *testing.T) {
	doc := readFile(t, "../testdata/lists/compact.json")
	want := string(doc)
	list := mustParse(t, doc)
	clear(doc)
	assert.Equal(t, want, string(serialize(t, list)))
	clear(serialize(t, list))
	assert.Equal(t, want, string(serialize(t, list)))
}

func TestInstances(t *testing.T) {
	list := mustParse(t, []byte(expand.Replace(`{"schemaVersion":2,"mediaType":"OCI","artifactType":"x/list","manifests":[
		{"mediaType":"x/y","digest":"$A","size":7,"artifactType":"x/z","urls":["u"],"annotations":{"k":"v"},
		 "platform":{"os":"windows","architecture":"arm","variant":"v7","os.version":"10","os.features":["f"]}},
		{"digest":"$B","size":0,"platform":null,"annotations":null,"urls":null,"data":null},
		{"digest":"$B","size":9007199254740991,"platform":{},"annotations":{},"urls":[]}],
		"annotations":{"of":"the list"},"subject":{"digest":"$B","size":1,"mediaType":"x"}}`)))
	assert.Equal(t, "x/list", list.ArtifactType())
	assert.Equal(t, named("b"), list.Subject())
	assert.Equal(t, map[string]string{"of": "the list"}, list.Annotations())
	assert.Equal(t, []manifest.Instance{
		{
			Index: 0, Digest: named("a"), Size: 7, MediaType: "x/y", ArtifactType: "x/z", URLs: []string{"u"},
			Annotations: map[string]string{"k": "v"},
			Platform: &imgspecv1.Platform{
				OS: "windows", Architecture: "arm", Variant: "v7", OSVersion: "10", OSFeatures: []string{"f"},
			},
		},
		{Index: 1, Digest: named("b")},
		{
			Index: 2, Digest: named("b"), Size: 1<<53 - 1, Platform: &imgspecv1.Platform{},
			Annotations: map[string]string{}, URLs: []string{},
		},
	}, list.Instances())

	list.Instances()[0].Digest = "changed"
	assert.Equal(t, named("a"), list.Instances()[0].Digest)
}

func TestDockerListsHaveNoSubject(t *testing.T) {
	list := mustParse(t, []byte(expand.Replace(
		`{"schemaVersion":2,"mediaType":"DOCKER","artifactType":"x","annotations":{"k":"v"},"manifests":[],"subject":{"digest":"$B","size":1}}`)))
	assert.Nil(t, list.Annotations())
	assert.Empty(t, list.ArtifactType())
	assert.Empty(t, list.Subject())
}

func TestParseRefuses(t *testing.T) {
	const start, end = `{"schemaVersion":2,"mediaType":"OCI","manifests":[`, `]}`
	entry := func(more string) string { return start + `{"digest":"$A","size":1,` + more + `}` + end }
	nested := func(levels int) string {
		return start + `{"digest":"$A","size":1,"x":` + strings.Repeat("[", levels-4) + "§[" + strings.Repeat("]", levels-3) + `}` + end
	}
	for _, tc := range []struct {
		name      string
		doc       string // § marks the byte that the error names
		mediaType string
		path      string
		reason    string
	}{
		// JSON
		{"nothing", `§`, "", "", "document ends where an object is expected"},
		{"null", `§null`, "", "", "'n' where an object is expected"},
		{"array", ` §[]`, "", "", "'[' where an object is expected"},
		{"not JSON", `§<html>`, "", "", "'<' where an object is expected"},
		{"unfinished", `{"schemaVersion":2§`, "", "", "document ends where a comma or the end of the object is expected"},
		{"unfinished string", `{"x":"§`, "", "x", "document ends where the end of the string is expected"},
		{"unfinished literal", `{"x":§nul}`, "", "x", "'n' where a value is expected"},
		{"trailing object", start + end + ` §{}`, "", "", "data after the end of the document"},
		{"trailing comma", start + `{"digest":"$A","size":1},§` + end, "", "manifests[1]", "']' where an object is expected"},
		{"trailing comma in object", `{"x":1,§}`, "", "", "'}' where a key is expected"},
		{"no comma", `{"x":1 §"y":1}`, "", "", `'"' where a comma or the end of the object is expected`},
		{"no comma in array", `{"x":[1 §1]}`, "", "x", `'1' where a comma or the end of the array is expected`},
		{"no colon", `{"x"§,1}`, "", "x", "',' where a colon is expected"},
		{"key not a string", `{§x:1}`, "", "", "'x' where a key is expected"},
		{"byte order mark", "§\ufeff" + start + end, "", "", "byte order mark"},
		{"form feed", "{§\f}", "", "", `'\f' where a key is expected`},
		{"invalid UTF-8", "{\"x\":\"\ufffd§\xff\"}", "", "", "invalid UTF-8"},
		{"invalid UTF-8 at the start", "§\xff{}", "", "", "invalid UTF-8"},
		{"control character", "{\"x\":\"a§\n\"}", "", "x", "control character in a string"},
		{"NUL", "{\"x\":§\x00}", "", "x", `'\x00' where a value is expected`},
		{"NUL at the end", start + end + "§\x00", "", "", `data after the end of the document`},
		{"escape", `{"x":"§\x41"}`, "", "x", "invalid escape sequence"},
		{"unfinished escape", `{"x":"§\`, "", "x", "invalid escape sequence"},
		{"short escape", `{"x":"§\u00e"}`, "", "x", "invalid escape sequence"},
		{"high surrogate", `{"x":"§\ud83d"}`, "", "x", "half of a surrogate pair"},
		{"two high surrogates", `{"x":"§\ud83d\ud83d"}`, "", "x", "half of a surrogate pair"},
		{"low surrogate", `{"x":"§\uDE00"}`, "", "x", "half of a surrogate pair"},
		{"leading zero", `{"x":0§1}`, "", "", "'1' where a comma or the end of the object is expected"},
		{"plus", `{"x":§+1}`, "", "x", "'+' where a value is expected"},
		{"only a minus", `{"x":-§}`, "", "x", "'}' where a number is expected"},
		{"no fraction", `{"x":1.§}`, "", "x", "'}' where a digit is expected"},
		{"no exponent", `{"x":1e+§}`, "", "x", "'}' where a digit is expected"},
		{"depth", nested(65), "", "manifests[0].x" + strings.Repeat("[0]", 61), "more than 64 levels of nesting"},

		// Keys
		{"duplicate key", `{"schemaVersion":2,§"schemaVersion":2}`, "", "schemaVersion", "duplicate key"},
		{"duplicate in platform", entry(`"platform":{"os":"linux",§"os":"linux"}`), "", "manifests[0].platform.os", "duplicate key"},
		{"duplicate in subject", `{"subject":{"digest":"$A",§"digest":"$A"}}`, "", "subject.digest", "duplicate key"},
		{"duplicate of what an attestation is", entry(`"annotations":{"vnd.docker.reference.type":"x",§"vnd.docker.reference.type":"y"}`), "",
			`manifests[0].annotations["vnd.docker.reference.type"]`, "duplicate key"},
		{"duplicate of its subject", entry(`"annotations":{"vnd.docker.reference.digest":"x",§"vnd.docker.reference.digest":"x"}`), "",
			`manifests[0].annotations["vnd.docker.reference.digest"]`, "duplicate key"},
		{"duplicate of what a twin is", entry(`"annotations":{"io.github.containers.compression.zstd":"x",§"io.github.containers.compression.zstd":"x"}`), "",
			`manifests[0].annotations["io.github.containers.compression.zstd"]`, "duplicate key"},
		{"duplicate of a SOCI index's image", entry(`"annotations":{"com.amazon.soci.image-manifest-digest":"x",§"com.amazon.soci.image-manifest-digest":"y"}`), "",
			`manifests[0].annotations["com.amazon.soci.image-manifest-digest"]`, "duplicate key"},
		{"duplicate of an image's SOCI index", entry(`"annotations":{"com.amazon.soci.index-digest":"x",§"com.amazon.soci.index-digest":"y"}`), "",
			`manifests[0].annotations["com.amazon.soci.index-digest"]`, "duplicate key"},
		{"duplicate key by escape", start + `{"digest":"$A",§"d\u0069gest":"$B","size":1}` + end, "", "manifests[0].digest", "duplicate key"},
		{"case of manifests", `{§"Manifests":[]}`, "", "Manifests", `key differs from "manifests" in case only`},
		{"case of layers", `{§"LAYERS":[]}`, "", "LAYERS", `key differs from "layers" in case only`},
		{"case of digest", entry(`§"Digest":"$A"`), "", "manifests[0].Digest", `key differs from "digest" in case only`},
		{"case beyond ASCII", entry(`§"\u017fize":1`), "", `manifests[0]["ſize"]`, `key differs from "size" in case only`},
		{"case in platform", entry(`"platform":{§"OS":"linux"}`), "", "manifests[0].platform.OS", `key differs from "os" in case only`},
		{"case in platform, dotted", entry(`"platform":{§"OS.Version":"1"}`), "", `manifests[0].platform["OS.Version"]`, `key differs from "os.version" in case only`},
		{"case in subject", `{"subject":{§"SIZE":1}}`, "", "subject.SIZE", `key differs from "size" in case only`},

		// Format
		{"layers", start + `],§"layers":[]}`, "", "layers", "does not belong in a list"},
		{"config null", start + `],§"config":null}`, "", "config", "does not belong in a list"},
		{"fsLayers before", `{§"fsLayers":[],"schemaVersion":2,"manifests":[]}`, "", "fsLayers", "does not belong in a list"},
		{"signatures", start + `],§"signatures":[]}`, "", "signatures", "does not belong in a list"},
		{"history", start + `],§"history":[]}`, "", "history", "does not belong in a list"},
		{"image manifest", `{"schemaVersion":2,"mediaType":§"` + ociManifest + `","config":{},"layers":[]}`, "", "mediaType",
			`"` + ociManifest + `" is not the media type of a list`},
		{"declared Docker, states OCI", `{"schemaVersion":2,"mediaType":§"OCI","manifests":[]}`, manifest.MediaTypeDockerList, "mediaType",
			`"` + ociIndex + `" is not the media type that came with it, "` + manifest.MediaTypeDockerList + `"`},
		{"declared OCI, states Docker", `{"schemaVersion":2,"mediaType":§"DOCKER","manifests":[]}`, ociIndex, "mediaType",
			`"` + manifest.MediaTypeDockerList + `" is not the media type that came with it, "` + ociIndex + `"`},
		{"declared an image", `§{"schemaVersion":2,"manifests":[]}`, ociManifest, "", `media type "` + ociManifest + `" is not that of a list`},
		{"declared JSON", `§{"schemaVersion":2,"manifests":[]}`, "application/json", "", `media type "application/json" is not that of a list`},
		{"schemaVersion 1", `{"schemaVersion":§1,"manifests":[]}`, "", "schemaVersion", `schemaVersion "1" is not 2`},
		{"schemaVersion 2.0", `{"schemaVersion":§2.0,"manifests":[]}`, "", "schemaVersion", `schemaVersion "2.0" is not 2`},
		{"schemaVersion string", `{"schemaVersion":§"2","manifests":[]}`, "", "schemaVersion", `'"' where a number is expected`},
		{"no manifests", ` §{"schemaVersion":2}`, "", "", "no manifests"},
		{"manifests object", `{"schemaVersion":2,"manifests":§{}}`, "", "manifests", "'{' where an array is expected"},

		// Entries
		{"entry null", start + `§null` + end, "", "manifests[0]", "'n' where an object is expected"},
		{"entry string", start + `{"digest":"$A","size":1},§"$B"` + end, "", "manifests[1]", `'"' where an object is expected`},
		{"no digest", start + `§{"size":1}` + end, "", "manifests[0]", "no digest"},
		{"no size", start + `{"digest":"$A","size":1}, §{"digest":"$A"}` + end, "", "manifests[1]", "no size"},
		{"empty entry", start + `§{}` + end, "", "manifests[0]", "no digest"},
		{"digest null", start + `{"digest":§null}` + end, "", "manifests[0].digest", "'n' where a string is expected"},
		{"digest empty", start + `{"digest":§""}` + end, "", "manifests[0].digest", `invalid digest "": invalid checksum digest format`},
		{"digest a path", start + `{"digest":§"../../x"}` + end, "", "manifests[0].digest", `invalid digest "../../x": invalid checksum digest format`},
		{"digest too short", start + `{"digest":§"sha256:00"}` + end, "", "manifests[0].digest", `invalid digest "sha256:00": invalid checksum digest length`},
		{"digest in upper case", start + `{"digest":§"sha256:` + strings.Repeat("A", 64) + `"}` + end, "", "manifests[0].digest",
			`invalid digest "sha256:` + strings.Repeat("A", 64) + `": invalid checksum digest format`},
		{"digest algorithm", start + `{"digest":§"md5:00"}` + end, "", "manifests[0].digest", `invalid digest "md5:00": unsupported digest algorithm`},
		{"long digest", start + `{"digest":§"sha256:` + strings.Repeat("0", 99) + `"}` + end, "", "manifests[0].digest",
			`invalid digest "sha256:` + strings.Repeat("0", 73) + `"…: invalid checksum digest length`},
		{"negative size", start + `{"size":§-1}` + end, "", "manifests[0].size", `negative number "-1"`},
		{"negative zero", start + `{"size":§-0}` + end, "", "manifests[0].size", `negative number "-0"`},
		{"fraction", start + `{"size":§1.0}` + end, "", "manifests[0].size", `"1.0" is not an integer of at most 9007199254740991`},
		{"exponent", start + `{"size":§1e3}` + end, "", "manifests[0].size", `"1e3" is not an integer of at most 9007199254740991`},
		{"unsafe size", start + `{"size":§9007199254740992}` + end, "", "manifests[0].size", `"9007199254740992" is not an integer of at most 9007199254740991`},
		{"huge size", start + `{"size":§99999999999999999999}` + end, "", "manifests[0].size", `"99999999999999999999" is not an integer of at most 9007199254740991`},
		{"size string", start + `{"size":§"1"}` + end, "", "manifests[0].size", `'"' where a number is expected`},
		{"size null", start + `{"size":§null}` + end, "", "manifests[0].size", `'n' where a number is expected`},
		{"mediaType number", entry(`"mediaType":§1`), "", "manifests[0].mediaType", `'1' where a string is expected`},
		{"artifactType number", entry(`"artifactType":§1`), "", "manifests[0].artifactType", `'1' where a string is expected`},
		{"platform string", entry(`"platform":§"linux/amd64"`), "", "manifests[0].platform", `'"' where an object is expected`},
		{"platform array", entry(`"platform":§[]`), "", "manifests[0].platform", `'[' where an object is expected`},
		{"os array", entry(`"platform":{"os":§["linux"]}`), "", "manifests[0].platform.os", `'[' where a string is expected`},
		{"os.features string", entry(`"platform":{"os.features":§"a"}`), "", `manifests[0].platform["os.features"]`, `'"' where an array is expected`},
		{"features number", entry(`"platform":{"features":["a",§1]}`), "", "manifests[0].platform.features[1]", `'1' where a string is expected`},
		{"annotations array", entry(`"annotations":§[]`), "", "manifests[0].annotations", `'[' where an object is expected`},
		{"annotation number", entry(`"annotations":{"a":§1}`), "", "manifests[0].annotations.a", `'1' where a string is expected`},
		{"urls string", entry(`"urls":§"u"`), "", "manifests[0].urls", `'"' where an array is expected`},
		{"data", entry(`"data":§"%"`), "", "manifests[0].data", "invalid base64"},
		{"subject string", `{"subject":§"$A"}`, "", "subject", `'"' where an object is expected`},
		{"subject digest", `{"subject":{"digest":§"x"}}`, "", "subject.digest", `invalid digest "x": invalid checksum digest format`},
		{"list annotations", `{"annotations":{"":§1}}`, "", `annotations[""]`, `'1' where a string is expected`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			doc, offset := cutMark(expand.Replace(tc.doc))
			list, err := manifest.Parse([]byte(doc), tc.mediaType)
			assert.Nil(t, list)
			var parseErr *manifest.ParseError
			require.ErrorAs(t, err, &parseErr)
			assert.Equal(t, tc.path, parseErr.Path)
			assert.Equal(t, tc.reason, parseErr.Reason)
			assert.Equal(t, offset, parseErr.Offset)
		})
	}
}

// TestRemarks is about documents that are wrong, and say the same to everybody all the same. They
// are carried as they are.
func TestRemarks(t *testing.T) {
	const start, end = `{"schemaVersion":2,"mediaType":"OCI","manifests":[`, `]}`
	entry := func(more string) string { return start + `{"digest":"$A","size":1,` + more + `}` + end }
	for _, tc := range []struct {
		name      string
		doc       string // § marks the byte that the remark names
		mediaType string
		path      string
		reason    string
		kind      manifest.RemarkKind
	}{
		{"duplicate unknown key", `{"schemaVersion":2,"manifests":[],"x":1,§"x":2}`, "", "x", "duplicate key", manifest.Duplicate},
		{"duplicate within", entry(`"x":{"a":[{"b":1,§"b":1}]}`), "", "manifests[0].x.a[0].b", "duplicate key", manifest.Duplicate},
		{"duplicate annotation", entry(`"annotations":{"a.b":"",§"a.b":""}`), "", `manifests[0].annotations["a.b"]`, "duplicate key", manifest.Duplicate},
		{"duplicate annotation of the list", `{"annotations":{"a":"",§"a":""},"schemaVersion":2,"manifests":[]}`, "", "annotations.a", "duplicate key", manifest.Duplicate},
		{"duplicate of many", `{"schemaVersion":2,"manifests":[],"x":{` + manyKeys(100) + `,§"k7":0}}`, "", `x.k7`, "duplicate key", manifest.Duplicate},
		{"duplicate among late ones", `{"schemaVersion":2,"manifests":[],"x":{` + manyKeys(100) + `,§"k77":0}}`, "", `x.k77`, "duplicate key", manifest.Duplicate},
		{"case in annotations", entry(`"annotations":{"Digest":"",§"digest":""}`), "", "manifests[0].annotations.digest",
			`key differs from "Digest" in case only`, manifest.CaseVariant},
		{"case beyond ASCII", entry(`"annotations":{"\u017f":"",§"S":""}`), "", "manifests[0].annotations.S", `key differs from "ſ" in case only`, manifest.CaseVariant},
		{"case in an unknown object", entry(`"x":{"size":1,§"Size":2}`), "", "manifests[0].x.Size", `key differs from "size" in case only`, manifest.CaseVariant},
		{"case among late ones", `{"schemaVersion":2,"manifests":[],"x":{` + manyKeys(100) + `,§"K77":0}}`, "", `x.K77`, `key differs from "k77" in case only`, manifest.CaseVariant},
		{"no schemaVersion", ` §{"manifests":[]}`, "", "", "no schemaVersion", manifest.Irregular},
		{"schemaVersion null", ` §{"schemaVersion":null,"manifests":[]}`, "", "", "no schemaVersion", manifest.Irregular},
		{"Docker without mediaType", `§{"schemaVersion":2,"manifests":[]}`, manifest.MediaTypeDockerList, "",
			"no mediaType, which Docker's format requires", manifest.Irregular},
		{"Docker with an empty mediaType", `§{"mediaType":"","schemaVersion":2,"manifests":[]}`, manifest.MediaTypeDockerList, "",
			"no mediaType, which Docker's format requires", manifest.Irregular},
		{"mediaType null", `{"schemaVersion":2,"mediaType":§null,"manifests":[]}`, "", "mediaType", "null for a string", manifest.Irregular},
		{"manifests null", `{"schemaVersion":2,"mediaType":"OCI","manifests":§null}`, "", "manifests", "null for an array", manifest.Irregular},
		{"annotation null", entry(`"annotations":{"a":§null}`), "", "manifests[0].annotations.a", "null for a string", manifest.Irregular},
		{"variant null", entry(`"platform":{"os":"linux","architecture":"arm64","variant":§null}`), "", "manifests[0].platform.variant", "null for a string", manifest.Irregular},
		{"os.version null", entry(`"platform":{"os.version":§null}`), "", `manifests[0].platform["os.version"]`, "null for a string", manifest.Irregular},
		{"artifactType null", entry(`"artifactType":§null`), "", "manifests[0].artifactType", "null for a string", manifest.Irregular},
	} {
		t.Run(tc.name, func(t *testing.T) {
			doc, offset := cutMark(expand.Replace(tc.doc))
			list, err := manifest.Parse([]byte(doc), tc.mediaType)
			require.NoError(t, err)
			assert.Equal(t, []manifest.Remark{{Path: tc.path, Offset: offset, Reason: tc.reason, Kind: tc.kind}}, list.Remarks())
			assert.Equal(t, doc, string(serialize(t, list)))
			if tc.mediaType != "" {
				assert.Equal(t, tc.mediaType, list.MediaType())
			}
		})
	}
	assert.Positive(t, int(manifest.Irregular), "the zero value is no kind")
	remark := manifest.Remark{Path: "a.b", Offset: 7, Reason: "duplicate key"}
	assert.Equal(t, "a.b (byte 7): duplicate key", remark.String())
}

// TestRemarksAreFew has a document with more faults of each kind than anybody wants to hear of.
func TestRemarksAreFew(t *testing.T) {
	list := mustParse(t, []byte(`{"manifests":[],"annotations":{"a":""`+strings.Repeat(`,"a":null`, 100)+`}}`))
	counts := map[manifest.RemarkKind]int{}
	for _, r := range list.Remarks() {
		counts[r.Kind]++
	}
	assert.Equal(t, map[manifest.RemarkKind]int{manifest.Duplicate: 8, manifest.Irregular: 8}, counts)
}

func TestTypeOf(t *testing.T) {
	const (
		docker      = manifest.MediaTypeDockerManifest
		list        = manifest.MediaTypeDockerList
		schema1     = manifest.MediaTypeDockerSchema1
		signed      = manifest.MediaTypeDockerSchema1Signed
		ociEntry    = `{"mediaType":"` + ociManifest + `"}`
		dockerEntry = `{"mediaType":"` + docker + `"}`
	)
	image := func(config string) string {
		return `{"schemaVersion":2,"config":{"size":1,"mediaType":"` + config + `"},"layers":[]}`
	}
	states := func(mt string) string { return `{"schemaVersion":2,"mediaType":"` + mt + `","x":{}}` }
	anything := []string{"", ociIndex, list, ociManifest, docker, schema1, signed, "application/json", "text/plain"}
	for _, tc := range []struct {
		name     string
		doc      string
		declared []string
		want     string
	}{
		{"states an index", states(ociIndex), anything, ociIndex},
		{"states a Docker list", states(list), anything, list},
		{"states an OCI manifest", states(ociManifest), anything, ociManifest},
		{"states schema 2", states(docker), anything, docker},
		{"states it last", `{"manifests":[],"schemaVersion":1,"mediaType":"` + docker + `"}`, anything, docker},

		{"list", `{"manifests":[` + ociEntry + `]}`, anything, ociIndex},
		{"list, index within", `{"manifests":[{"mediaType":"` + ociIndex + `"}]}`, anything, ociIndex},
		{"list of Docker manifests", `{"manifests":[` + dockerEntry + `]}`, []string{list}, list},
		{"list of both", `{"manifests":[` + ociEntry + `,` + dockerEntry + `]}`, []string{list}, list},
		{"list of what says nothing", `{"manifests":[{}]}`, []string{list}, list},
		{"list of what is none", `{"manifests":[1]}`, []string{list}, list},
		{"list of Docker manifests, not declared", `{"manifests":[` + dockerEntry + `]}`, []string{"", ociIndex, docker, "text/plain"}, ociIndex},
		{"empty list", `{"manifests":[]}`, []string{list}, list},
		{"empty list, not declared", `{"manifests":null}`, []string{"", ociIndex, ociManifest}, ociIndex},

		{"image", image("application/vnd.oci.image.config.v1+json"), anything, ociManifest},
		{"image with Docker's config", image(manifest.MediaTypeDockerConfig), []string{"", docker, "text/plain", schema1, list}, docker},
		{"OCI image with Docker's config", image(manifest.MediaTypeDockerConfig), []string{ociManifest}, ociManifest},
		{"artifact", image("x/y"), []string{"", ociManifest, "text/plain", schema1}, ociManifest},
		{"artifact, declared Docker's", image("x/y"), []string{docker}, docker},
		{"layers alone", `{"layers":[]}`, []string{"", "x/y", ociIndex}, ociManifest},

		{"schema 1", `{"schemaVersion":1,"fsLayers":[]}`, anything, schema1},
		{"schema 1 by its version", `{"schemaVersion":1}`, anything, schema1},
		{"schema 1, signed", `{"fsLayers":[],"signatures":[]}`, anything, signed},
		{"schema 1 and an image", `{"schemaVersion":2,"fsLayers":[],"layers":[]}`, []string{"", schema1}, ociManifest},
		{"schema 1 that states it", `{"schemaVersion":1,"mediaType":"` + schema1 + `","fsLayers":[]}`, anything, schema1},
		{"states schema 1", `{"schemaVersion":2,"mediaType":"` + schema1 + `","config":{},"layers":[]}`, []string{"", schema1}, ociManifest},

		{"states what is no manifest", `{"mediaType":"x/y","manifests":[]}`, []string{"", ociManifest}, ociIndex},
		{"mediaType is no string", `{"mediaType":1,"manifests":[]}`, []string{""}, ociIndex},
		{"nothing", `{}`, []string{"", "x/y", "application/json"}, ""},
		{"nothing, declared", `{}`, []string{ociIndex}, ociIndex},
		{"nothing, declared schema 1", `{}`, []string{schema1}, schema1},
		{"no JSON", `<html>`, []string{"", "text/html"}, ""},
		{"no JSON, declared", `<html>`, []string{docker}, docker},
		{"breaks off", `{"manifests":[`, []string{"", ociManifest}, ociIndex},
		{"breaks off early", `{"mediaType":"`, []string{ociManifest}, ociManifest},
	} {
		for _, declared := range tc.declared {
			assert.Equal(t, tc.want, manifest.TypeOf([]byte(tc.doc), declared), "%s, declared %q", tc.name, declared)
		}
	}
}

func TestIsMisdeclared(t *testing.T) {
	const schema1, signed = manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerSchema1Signed
	for _, tc := range []struct {
		is, declared string
		want         bool
	}{
		{ociIndex, ociIndex, false},
		{ociIndex, manifest.MediaTypeDockerList, true},
		{ociIndex, ociManifest, true},
		{ociIndex, schema1, true},
		{ociManifest, manifest.MediaTypeDockerManifest, true},
		{ociManifest, "", false},
		{ociManifest, "text/plain", false},
		{"", ociManifest, true},
		{schema1, schema1, false},
		{schema1, signed, false},
		{signed, schema1, false},
		{schema1, ociManifest, true},
	} {
		assert.Equal(t, tc.want, manifest.IsMisdeclared(tc.is, tc.declared), "%q declared %q", tc.is, tc.declared)
	}
}

// manyKeys is the inside of an object with n members k0, k1, ...
func manyKeys(n int) string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf(`"k%d":{"k1":0}`, i)
	}
	return strings.Join(keys, ",")
}

func TestParseAccepts(t *testing.T) {
	for name, doc := range map[string]string{
		"white space around":         " \t\r\n" + `{"schemaVersion":2,"manifests":[ ]}` + "\n\n",
		"case variants elsewhere":    `{"schemaVersion":2,"manifests":[],"annotations":{"Digest":"","digest":""},"x":{"Size":1,"size":2}}`,
		"keys of other levels":       `{"schemaVersion":2,"manifests":[],"annotations":{"Manifests":"","OS":""},"x":{"SIZE":1}}`,
		"64 levels":                  `{"schemaVersion":2,"manifests":[],"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`,
		"null where optional":        `{"schemaVersion":2,"manifests":[],"subject":null,"annotations":null}`,
		"sha512":                     `{"schemaVersion":2,"manifests":[{"size":1,"digest":"sha512:` + strings.Repeat("0", 128) + `"}]}`,
		"numbers of any size":        `{"schemaVersion":2,"manifests":[],"x":[-0.0E-99999,1e99999,12345678901234567890123]}`,
		"strings of any kind":        `{"schemaVersion":2,"manifests":[],"x":"\u0000\/\ud83d\ude00\"\\` + "\x7f\ufeff\ufffd" + `"}`,
		"the same keys side by side": `{"schemaVersion":2,"manifests":[],"x":[{` + manyKeys(50) + `},{` + manyKeys(50) + `}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, doc, string(serialize(t, mustParse(t, []byte(doc)))))
		})
	}
}

func TestMaxSize(t *testing.T) {
	doc := []byte(`{"schemaVersion":2,"manifests":[]}`)
	largest := append(doc, strings.Repeat(" ", manifest.MaxSize-len(doc))...)
	mustParse(t, largest)
	_, err := manifest.Parse(append(largest, ' '), "")
	assert.ErrorIs(t, err, manifest.ErrTooLarge)
	assert.EqualError(t, err, "byte 4194304: document has 4194305 bytes, more than 4194304")
	_, err = manifest.ParseImage(append(largest, ' '), "")
	assert.ErrorIs(t, err, manifest.ErrTooLarge)
}

func TestParseErrorMessage(t *testing.T) {
	_, err := manifest.Parse([]byte(expand.Replace(
		`{"schemaVersion":2,"manifests":[{"digest":"$A","size":1},{"digest":"../../x","size":1}]}`)), "")
	assert.EqualError(t, err, `manifests[1].digest (byte 136): invalid digest "../../x": invalid checksum digest format`)
	assert.NoError(t, errors.Unwrap(err))
}

func TestParseErrorsAreShort(t *testing.T) {
	long := strings.Repeat("k", 1000)
	_, err := manifest.Parse([]byte(`{"`+long+`":[{"\u001b[31m":"`+long), "")
	assert.EqualError(t, err, `["`+long[:80]+`"…][0]["\x1b[31m"] (byte 2020): document ends where the end of the string is expected`)
	_, err = manifest.Parse([]byte(`{"`+long[:80]+`":x}`), "")
	assert.EqualError(t, err, long[:80]+` (byte 84): 'x' where a value is expected`)
	_, err = manifest.Parse([]byte(`{"`+long[:81]+`":x}`), "")
	assert.EqualError(t, err, `["`+long[:80]+`"…] (byte 85): 'x' where a value is expected`)
	_, err = manifest.Parse([]byte(`{"schemaVersion":`+strings.Repeat("7", 80)+`,"manifests":[]}`), "")
	assert.EqualError(t, err, `schemaVersion (byte 17): schemaVersion "`+strings.Repeat("7", 80)+`" is not 2`)
	_, err = manifest.Parse([]byte(`{"schemaVersion":`+strings.Repeat("7", 1000)+`,"manifests":[]}`), "")
	assert.EqualError(t, err, `schemaVersion (byte 17): schemaVersion "`+strings.Repeat("7", 80)+`"… is not 2`)
}

func TestIsListMediaType(t *testing.T) {
	for mt, want := range map[string]bool{
		ociIndex:                         true,
		manifest.MediaTypeDockerList:     true,
		ociManifest:                      false,
		manifest.MediaTypeDockerManifest: false,
		"":                               false,
	} {
		assert.Equal(t, want, manifest.IsListMediaType(mt), mt)
		assert.Equal(t, want, manifest.Instance{MediaType: mt}.IsList(), mt)
	}
}

func TestAttestationOf(t *testing.T) {
	const typ, subject = "vnd.docker.reference.type", "vnd.docker.reference.digest"
	unknown := &imgspecv1.Platform{OS: "unknown", Architecture: "unknown"}
	for _, tc := range []struct {
		name     string
		instance manifest.Instance
		subject  string
		ok       bool
	}{
		{"platform alone", manifest.Instance{Platform: unknown}, "", false},
		{"both", manifest.Instance{Annotations: map[string]string{typ: "attestation-manifest", subject: named("a").String()}},
			named("a").String(), true},
		{"subject alone", manifest.Instance{Annotations: map[string]string{subject: named("a").String()}}, "", false},
		{"another type", manifest.Instance{Annotations: map[string]string{typ: "x", subject: named("a").String()}}, "", false},
		{"invalid subject", manifest.Instance{Annotations: map[string]string{typ: "attestation-manifest", subject: "../x"}}, "", true},
		{"no subject", manifest.Instance{Annotations: map[string]string{typ: "attestation-manifest"}}, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, ok := tc.instance.AttestationOf()
			assert.Equal(t, tc.subject, d.String())
			assert.Equal(t, tc.ok, ok)
		})
	}
}
