package referrers

import (
	"encoding/json"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// FuzzDescribe: what is listed of a manifest is what every client reads in it, and the entry is one
// that a list may have.
func FuzzDescribe(f *testing.F) {
	subject := artifact("", "", "").digest
	for _, d := range []document{artifact(subject, sbom, "<&>\u2028"), artifact("", "", ""), list(subject, ""), list("", signature)} {
		f.Add(d.body)
	}
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"` + subject.String() + `","size":1},"subject":{"digest":"` + subject.String() + `","size":1},"annotations":{"a":null}}`))
	f.Add([]byte(`{"manifests":[],"subject":{"digest":"` + subject.String() + `","size":1},"artifactType":null,"annotations":{"a":"1","a":"2"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		is, ok := describe(body)
		if !ok {
			return
		}
		var says struct {
			MediaType    string                `json:"mediaType"`
			ArtifactType string                `json:"artifactType"`
			Config       *imgspecv1.Descriptor `json:"config"`
			Subject      *imgspecv1.Descriptor `json:"subject"`
			Annotations  map[string]string     `json:"annotations"`
		}
		require.NoError(t, json.Unmarshal(body, &says))
		require.NotNil(t, says.Subject)
		require.Equal(t, says.Subject.Digest, is.subject)
		require.NoError(t, is.subject.Validate())
		if says.ArtifactType == "" && is.descriptor.MediaType == imgspecv1.MediaTypeImageManifest {
			says.ArtifactType = says.Config.MediaType
		}
		require.Equal(t, says.ArtifactType, is.descriptor.ArtifactType)
		if says.MediaType != "" {
			require.Equal(t, says.MediaType, is.descriptor.MediaType)
		}
		require.Equal(t, len(says.Annotations), len(is.descriptor.Annotations))
		for key, value := range says.Annotations {
			require.Equal(t, value, is.descriptor.Annotations[key])
		}

		is.descriptor.Digest = is.subject // any
		entry, err := encode(is.descriptor)
		require.NoError(t, err)
		made := makeIndex([][]byte{entry, entry})
		require.True(t, IsMade(made))
		listed, err := manifest.Parse(made, imgspecv1.MediaTypeImageIndex)
		require.NoError(t, err)
		require.Len(t, listed.Instances(), 2)
		require.Equal(t, is.descriptor.ArtifactType, listed.Instances()[1].ArtifactType)
		require.Equal(t, is.descriptor.MediaType, listed.Instances()[1].MediaType)
	})
}
