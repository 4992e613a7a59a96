package inspect

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestVerifyEitherForm: what is attached may be there as one of two things, and then as all that
// this consists of.
func TestVerifyEitherForm(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	list, mediaType := f.Document(imagetest.Top)
	subject := imgspecv1.Descriptor{MediaType: mediaType, Digest: f.Digest(imagetest.Top), Size: int64(len(list))}
	artifact := original.Of(subject, []manifest.Document{{MediaType: mediaType, Bytes: []byte(`{"manifests":[]}`)}}, "")
	plain := original.Plain(artifact)
	is, layer := artifact.Document.Digest, plain.Layers[0].Descriptor.Digest
	name := original.ArtifactType + " of " + prose.Short(subject.Digest)
	for label, c := range map[string]struct {
		put     []original.Artifact
		lost    digest.Digest // a blob
		options registrytest.Options
		listed  *original.Artifact // by the tag that lists referrers
		want    []Violation
	}{
		"an artifact":                     {put: []original.Artifact{artifact}},
		"a plain image":                   {put: []original.Artifact{plain}},
		"both, of which the first counts": {put: []original.Artifact{plain, artifact}, lost: layer},
		"a plain image without a layer": {
			put: []original.Artifact{plain}, lost: layer,
			want: []Violation{{Digest: layer, What: aLayer, Platform: name, Problem: "it is missing"}},
		},
		"both, of which the second is listed": {
			put: []original.Artifact{artifact, plain}, options: registrytest.Options{NoReferrers: true}, listed: &plain,
		},
		"neither": {want: []Violation{
			{Digest: is, What: aManifest, Platform: name, Problem: "it is missing"},
			{Digest: is, What: aReferrer, Problem: "the destination does not list it as a referrer of " + subject.Digest.String()},
		}},
		"a plain image that is not listed": {
			put: []original.Artifact{plain}, options: registrytest.Options{NoReferrers: true},
			want: []Violation{{Digest: plain.Document.Digest, What: aReferrer, Problem: "the destination does not list it as a referrer of " + subject.Digest.String()}},
		},
	} {
		t.Run(label, func(t *testing.T) {
			r := registrytest.Start(t, c.options)
			f.PushTo(r, "app", "v1", imagetest.Top)
			for _, a := range c.put {
				for _, part := range a.Parts() {
					r.PutBlob("app", part.Content)
				}
				r.PutManifest("app", a.Document.Digest.String(), a.Document.MediaType, a.Document.Bytes)
			}
			if c.listed != nil {
				index := imgspecv1.Index{MediaType: imgspecv1.MediaTypeImageIndex, Manifests: []imgspecv1.Descriptor{c.listed.Descriptor()}}
				index.SchemaVersion = 2
				b, err := json.Marshal(index)
				require.NoError(t, err)
				r.PutManifest("app", strings.Replace(subject.Digest.String(), ":", "-", 1), index.MediaType, b)
			}
			if c.lost != "" {
				require.True(t, r.DeleteBlob("app", c.lost))
			}
			v, err := Verify(t.Context(), place(t, r, "app"), nil, Want{
				Digest: subject.Digest, IsList: true,
				Attached: []Attached{{Subject: subject.Digest, Digest: is, ArtifactType: original.ArtifactType, Or: plain.Document.Digest}},
			}, keeping(4))
			require.NoError(t, err)
			assert.Equal(t, append([]Violation{}, c.want...), v.Violations)
		})
	}
}
