package transport

import (
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

var (
	digestA = digest.FromString("a")
	digestB = digest.FromString("b")
	digestC = digest.FromString("c")
)

func descriptor(d digest.Digest) imgspecv1.Descriptor {
	return imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: d, Size: 1}
}

func TestIndexAdd(t *testing.T) {
	a, b, c := digestA.String(), digestB.String(), digestC.String()
	mt := `"mediaType":"application/vnd.oci.image.manifest.v1+json"`
	added := `{` + mt + `,"digest":"` + c + `","size":1,"annotations":{"org.opencontainers.image.ref.name":"new"}}`
	for _, tc := range []struct{ name, index, tag, want string }{
		{
			name:  "no file",
			index: "", tag: "new",
			want: `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + added + `]}`,
		},
		{
			name:  "null list",
			index: `{"schemaVersion":2, "manifests": null}`, tag: "new",
			want: `{"schemaVersion":2, "manifests": [` + added + `]}`,
		},
		{
			name:  "other entries and unknown fields keep their bytes",
			index: "{ \"x\": 1.0,\n  \"manifests\" : [\n    { \"digest\": \"" + a + "\", \"size\":1, \"n\":1e2, \"z\":\"<&>\" }\n  ], \"y\":[ ] }\n", tag: "new",
			want: "{ \"x\": 1.0,\n  \"manifests\" : [\n    { \"digest\": \"" + a + "\", \"size\":1, \"n\":1e2, \"z\":\"<&>\" },\n    " + added + "\n  ], \"y\":[ ] }\n",
		},
		{
			name: "the name moves",
			index: `{"manifests":[{"digest":"` + a + `","annotations":{"k":"v","org.opencontainers.image.ref.name":"new"},"size":7},` +
				`{"annotations":{"org.opencontainers.image.ref.name":"new"},"digest":"` + b + `"}]}`, tag: "new",
			want: `{"manifests":[{"digest":"` + a + `","annotations":{"k":"v"},"size":7},{"digest":"` + b + `"},` + added + `]}`,
		},
		{
			name:  "an unnamed entry of the same digest is replaced",
			index: `{"manifests":[{"digest":"` + c + `","size":3}, {"digest":"` + a + `"}]}`, tag: "new",
			want: `{"manifests":[` + added + `, {"digest":"` + a + `"}]}`,
		},
		{
			name:  "another name of the same digest stays",
			index: `{"manifests":[{"digest":"` + c + `","annotations":{"org.opencontainers.image.ref.name":"old"}}]}`,
			tag:   "new",
			want:  `{"manifests":[{"digest":"` + c + `","annotations":{"org.opencontainers.image.ref.name":"old"}},` + added + `]}`,
		},
		{
			name:  "nothing to do",
			index: `{"manifests":[ {"digest":"` + c + `","annotations":{"org.opencontainers.image.ref.name":"new"},"q":0} ]}`, tag: "new",
			want: `{"manifests":[ {"digest":"` + c + `","annotations":{"org.opencontainers.image.ref.name":"new"},"q":0} ]}`,
		},
		{
			name: "the same digest, but an older entry of the name comes first",
			index: `{"manifests":[{"digest":"` + a + `","annotations":{"org.opencontainers.image.ref.name":"new"}},` +
				`{"digest":"` + c + `","annotations":{"org.opencontainers.image.ref.name":"new"}}]}`, tag: "new",
			want: `{"manifests":[{"digest":"` + a + `"},` + added + `]}`,
		},
		{
			name:  "no name",
			index: `{"manifests":[]}`, tag: "",
			want: `{"manifests":[{` + mt + `,"digest":"` + c + `","size":1}]}`,
		},
		{
			name:  "no name, there already",
			index: `{"manifests":[{"digest":"` + c + `","size":9}]}`, tag: "",
			want: `{"manifests":[{"digest":"` + c + `","size":9}]}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var content []byte
			if tc.index != "" {
				content = []byte(tc.index)
			}
			index, err := parseIndex(content)
			require.NoError(t, err)
			got, err := index.add(descriptor(digestC), tc.tag)
			require.NoError(t, err)
			assert.Equal(t, tc.want, string(got))

			after, err := parseIndex(got)
			require.NoError(t, err)
			found, err := after.named(tc.tag)
			require.NoError(t, err)
			assert.Equal(t, digestC, found)
		})
	}
}

func TestIndexRefusesWhatParsersReadDifferently(t *testing.T) {
	for _, text := range []string{
		``, `[]`, `{}`, `{"manifests":{}}`, `{"manifests":[1]}`, `{"manifests":[]} x`, `{"manifests":[]`,
		`{"manifests":[],"manifests":[]}`, `{"manifests":[],"Manifests":[]}`, `{"manifests":[{"digest":1}]}`,
	} {
		_, err := parseIndex([]byte(text))
		assert.Error(t, err, text)
	}
}

func TestIndexNamed(t *testing.T) {
	two := `{"manifests":[{"digest":"` + digestA.String() + `"},{"digest":"` + digestB.String() + `","annotations":{"org.opencontainers.image.ref.name":"b"}}]}`
	index, err := parseIndex([]byte(two))
	require.NoError(t, err)
	for _, name := range []string{"", "a"} {
		_, err = index.named(name)
		assert.ErrorIs(t, err, endpoint.ErrNotFound, name)
	}
	d, err := index.named("b")
	require.NoError(t, err)
	assert.Equal(t, digestB, d)

	index, err = parseIndex([]byte(`{"manifests":[{"digest":"sha256:../x"}]}`))
	require.NoError(t, err)
	_, err = index.named("")
	assert.Error(t, err)
	assert.NotErrorIs(t, err, endpoint.ErrNotFound)
}

func TestReadIndexNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.json")
	index, err := readIndex(path)
	require.NoError(t, err)
	assert.Nil(t, index.content)

	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = readIndex(path)
	assert.ErrorContains(t, err, path)
}

func FuzzIndexAdd(f *testing.F) {
	f.Add([]byte(emptyIndex), "x")
	f.Add([]byte(`{"manifests": [ {"digest":"`+digestC.String()+`", "annotations" : {"org.opencontainers.image.ref.name":"x", "k":""}} ] }`), "x")
	f.Fuzz(func(t *testing.T, content []byte, name string) {
		index, err := parseIndex(content)
		if err != nil || !utf8.ValidString(name) {
			return
		}
		after, err := index.add(descriptor(digestA), name)
		if err != nil {
			return
		}
		again, err := parseIndex(after)
		require.NoError(t, err)
		if name != "" {
			d, err := again.named(name)
			require.NoError(t, err)
			require.Equal(t, digestA, d)
		}
		same, err := again.add(descriptor(digestA), name)
		require.NoError(t, err)
		require.Equal(t, string(after), string(same))
	})
}
