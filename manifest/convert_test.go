package manifest_test

import (
	"encoding/json"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/manifest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestConvertLikeUpstream compares what becomes of real documents with what containers/image makes
// of them, there and back.
func TestConvertLikeUpstream(t *testing.T) {
	for _, file := range listFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) { checkConversions(t, readFile(t, file)) })
	}
}

// FuzzConvert does so with whatever Parse accepts.
func FuzzConvert(f *testing.F) {
	for _, file := range listFiles(f) {
		f.Add(readFile(f, file))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if _, err := manifest.Parse(doc, ""); err == nil {
			checkConversions(t, doc)
		}
	})
}

// checkConversions converts a list to the other format, and the result back.
func checkConversions(t testing.TB, doc []byte) {
	t.Helper()
	list := mustParse(t, doc)
	formats := map[string]string{ociIndex: manifest.MediaTypeDockerList, manifest.MediaTypeDockerList: ociIndex}
	for range 2 {
		to := formats[list.MediaType()]
		before := serialize(t, list)
		out, err := manifest.Convert(list, to)
		require.NoError(t, err)
		got := serialize(t, out.List)
		assert.Equal(t, to, out.List.MediaType())
		assert.Equal(t, string(before), string(serialize(t, list)), "the list that was converted")
		assert.Empty(t, out.List.Remarks())
		other := func(in manifest.Instance) bool { return in.IsBlob() || in.IsList() }
		if !slices.ContainsFunc(list.Instances(), other) && isComparable(t, before, out) {
			assert.Equal(t, upstreamConversion(t, before, list.MediaType(), to), string(got))
		}
		list = out.List
	}
}

// isComparable reports whether upstream reads a document as what it is, and assumes what we do.
func isComparable(t testing.TB, doc []byte, out manifest.Conversion) bool {
	t.Helper()
	var said struct {
		SchemaVersion int
		MediaType     string
	}
	require.NoError(t, json.Unmarshal(doc, &said))
	docker := out.List.MediaType() == ociIndex
	return (!docker || said.MediaType == manifest.MediaTypeDockerList) &&
		(len(out.Assumed) == 0 || runtime.GOOS+"/"+runtime.GOARCH == "linux/amd64")
}

func upstreamConversion(t testing.TB, doc []byte, from, to string) string {
	t.Helper()
	list, err := upstream.ListFromBlob(doc, from)
	require.NoError(t, err)
	converted, err := list.ConvertToMIMEType(to)
	require.NoError(t, err)
	b, err := converted.Serialize()
	require.NoError(t, err)
	return string(b)
}

func TestConvert(t *testing.T) {
	oci := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%]}`
	docker := `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[%]}`
	for name, tc := range map[string]struct {
		doc, to, want string
		lost          []string
		assumed       []int
	}{
		"to OCI": {
			doc:  fill(docker, `{ "digest":"$A","size":1,"mediaType":"m","urls":["u"],"platform":{"os":"linux","architecture":"arm","variant":"v7","features":["f"],"os.features":["g"]}}`),
			to:   imgspecv1.MediaTypeImageIndex,
			want: fill(oci, `{"mediaType":"m","digest":"$A","size":1,"urls":["u"],"platform":{"architecture":"arm","os":"linux","os.features":["g"],"variant":"v7"}}`),
			lost: []string{"manifests[].platform.features"},
		},
		"to OCI without a platform": {
			doc:  fill(docker, `{"digest":"$A","size":1,"mediaType":"m","platform":null,"annotations":{}}`),
			to:   imgspecv1.MediaTypeImageIndex,
			want: fill(oci, `{"mediaType":"m","digest":"$A","size":1,"platform":{"architecture":"","os":""}}`),
		},
		"to Docker": {
			doc: `{"schemaVersion":2,"artifactType":"x","annotations":{"a":"b"},"subject":{"digest":"$A","size":1},"more":1,"manifests":[` +
				`{"mediaType":"m","digest":"$A","size":1,"annotations":{"a":"b"},"artifactType":"x","data":"e30="},` +
				`{"mediaType":"<","digest":"$B","size":2,"artifactType":"","annotations":{"c":"d"},"platform":{"os":"windows","architecture":"amd64","os.version":"10"}}]}`,
			to: manifest.MediaTypeDockerList,
			want: fill(docker, `{"mediaType":"m","size":1,"digest":"$A","platform":{"architecture":"amd64","os":"linux"}},`+
				`{"mediaType":"\u003c","size":2,"digest":"$B","platform":{"architecture":"amd64","os":"windows","os.version":"10"}}`),
			lost:    []string{"annotations", "artifactType", "manifests[].annotations", "manifests[].artifactType", "manifests[].data", "more", "subject"},
			assumed: []int{0},
		},
		"a nested list to Docker": {
			doc:  fill(oci, `{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"$A","size":1}`),
			to:   manifest.MediaTypeDockerList,
			want: fill(docker, `{"mediaType":"application/vnd.oci.image.index.v1+json","size":1,"digest":"$A","platform":{"architecture":"","os":""}}`),
		},
		"a nested list to OCI": {
			doc:  fill(docker, `{"mediaType":"application/vnd.oci.image.index.v1+json","size":1,"digest":"$A"}`),
			to:   imgspecv1.MediaTypeImageIndex,
			want: fill(oci, `{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"$A","size":1}`),
		},
		"an empty one": {doc: `{"schemaVersion":2,"manifests":null}`, to: manifest.MediaTypeDockerList, want: fill(docker, "")},
		"to what it is": {
			doc: ` {"manifests":[ ],"schemaVersion":2}`, to: imgspecv1.MediaTypeImageIndex, want: ` {"manifests":[ ],"schemaVersion":2}`,
		},
		"blobs": {
			doc: "\n" + `{"schemaVersion":2,  "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json","manifests":[` +
				`{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"$A","size":1,"annotations":{"a":"b"}} ]}` + "\n",
			to: imgspecv1.MediaTypeImageIndex,
			want: "\n" + `{"schemaVersion":2,  "mediaType": "application/vnd.oci.image.index.v1+json","manifests":[` +
				`{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"$A","size":1,"annotations":{"a":"b"}} ]}` + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			list := mustParse(t, []byte(expand.Replace(tc.doc)))
			out, err := manifest.Convert(list, tc.to)
			require.NoError(t, err)
			assert.Equal(t, expand.Replace(tc.want), string(serialize(t, out.List)))
			assert.Equal(t, tc.lost, out.Lost)
			assert.Equal(t, tc.assumed, out.Assumed)
		})
	}
}

// fill puts entries into a list.
func fill(list, entries string) string { return strings.Replace(list, "%", entries, 1) }

// TestConvertTakesEdits: what is converted is the list as it is now.
func TestConvertTakesEdits(t *testing.T) {
	list := mustParse(t, readFile(t, "../testdata/lists/buildkit-attestations.json"))
	n := len(list.Instances())
	require.NoError(t, list.EditInstances(batch(update(0, named("new"), 7, "m"), deletes(n-1), add(entryModel{"m", named("f"), 15, linux("arm")}))))
	out, err := manifest.Convert(list, manifest.MediaTypeDockerList)
	require.NoError(t, err)
	instances := out.List.Instances()
	require.Len(t, instances, n)
	assert.Equal(t, named("new"), instances[0].Digest)
	assert.Equal(t, named("f"), instances[n-1].Digest)
	assert.Equal(t, []string{"manifests[].annotations"}, out.Lost)
}

func TestConvertRefuses(t *testing.T) {
	list := mustParse(t, []byte(`{"schemaVersion":2,"manifests":[]}`))
	_, err := manifest.Convert(list, manifest.MediaTypeDockerManifest)
	assert.EqualError(t, err, `a list cannot be converted to "`+manifest.MediaTypeDockerManifest+`"`)
	_, err = manifest.Convert(&manifest.OCI1Index{}, manifest.MediaTypeDockerList)
	assert.EqualError(t, err, "list was not made by manifest.Parse")

	short := expand.Replace(`{"digest":"$A","size":1}`)
	many := strings.TrimSuffix(strings.Repeat(short+",", manifest.MaxSize/len(short)-10000), ",")
	_, err = manifest.Convert(mustParse(t, []byte(`{"schemaVersion":2,"manifests":[`+many+`]}`)), manifest.MediaTypeDockerList)
	require.ErrorIs(t, err, manifest.ErrTooLarge)
}
