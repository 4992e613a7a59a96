package referrers

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A quick registry stores manifests as distribution does, and nothing else, in memory.
type quick struct{ store *registrystore.Store }

func (q quick) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repository, ref := path.Dir(path.Dir(strings.TrimPrefix(r.URL.Path, "/v2/"))), path.Base(r.URL.Path)
	status, err := q.serve(w, r, repository, ref)
	if err != nil {
		panic(err)
	}
	w.WriteHeader(status)
}

func (q quick) serve(w http.ResponseWriter, r *http.Request, repository, ref string) (int, error) {
	ctx, isDigest := r.Context(), strings.Contains(ref, ":")
	switch r.Method {
	case http.MethodPut:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return 0, err
		}
		d, err := q.store.PutManifest(ctx, repository, body)
		if err == nil && !isDigest {
			err = q.store.PutTag(ctx, repository, ref, d)
		}
		return http.StatusCreated, err
	case http.MethodDelete:
		if !isDigest {
			return http.StatusAccepted, q.store.RemoveTag(ctx, repository, ref)
		}
		if has, err := q.store.HasRevision(ctx, repository, digest.Digest(ref)); !has || err != nil {
			return http.StatusNotFound, err
		}
		err := q.store.Tags(ctx, repository, func(t registrystore.Tag) error {
			if t.Digest != digest.Digest(ref) {
				return nil
			}
			return q.store.RemoveTag(ctx, repository, t.Name)
		})
		if err != nil {
			return 0, err
		}
		return http.StatusAccepted, q.store.RemoveRevision(ctx, repository, digest.Digest(ref))
	default:
		return http.StatusNotFound, nil
	}
}

// A model is what there should be, as naively as can be.
type model struct {
	there map[digest.Digest]described // manifests of the repository
	tag   map[digest.Digest][]byte    // of a subject, as a client has written or (nil) deleted it; absent after any change
}

type described struct {
	subject    digest.Digest
	descriptor imgspecv1.Descriptor
}

func (m model) referrers(subject digest.Digest, artifactType string) []imgspecv1.Descriptor {
	var all []imgspecv1.Descriptor
	for _, d := range slices.Sorted(maps.Keys(m.there)) {
		if is := m.there[d]; is.subject == subject && (artifactType == "" || is.descriptor.ArtifactType == artifactType) {
			all = append(all, is.descriptor)
		}
	}
	return all
}

// TestHistories holds random histories of pushes and deletions, of what old clients write to tags,
// and of what was there before there were links, against the model.
func TestHistories(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { history(t, seed) })
	}
}

func history(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	s := &server{store: registrystore.New(inmemory.New())}
	s.links = New(s.store)
	registry := quick{s.store}
	s.plain = registry
	s.Client = sparsetest.ServeHandler(t, s.links.Handler(sparseregistry.Enforce(registry, sparseregistry.Options{
		Policy: func(string) manifest.SparsePolicy { return manifest.SparsePolicy{Enabled: true} },
		Stored: s.links.Stored, Deleted: s.links.Deleted,
	}), Options{Failed: s.failed}))
	m := model{there: map[digest.Digest]described{}, tag: map[digest.Digest][]byte{}}

	image := artifact("", "", "image")
	subjects := []digest.Digest{image.digest, digest.FromString("never there"), digest.SHA512.FromString("another algorithm")}
	var known []document
	for i := range 24 {
		subject, artifactType := subjects[random.IntN(len(subjects))], []string{sbom, signature, ""}[random.IntN(3)]
		if i%3 == 0 {
			known = append(known, list(subject, artifactType, entries(artifact("", "", fmt.Sprint(i)))...))
		} else {
			known = append(known, artifact(subject, artifactType, fmt.Sprint(i)))
		}
	}
	known = append(known, image)
	describedAs := map[digest.Digest]described{}
	for _, d := range known {
		describedAs[d.digest] = naively(t, d)
	}

	// Before there were links, clients wrote the tags.
	old := map[digest.Digest][]document{}
	for _, d := range known[:random.IntN(6)] {
		subject := describedAs[d.digest].subject
		s.putPlainly(t, "app", "", d)
		m.there[d.digest] = describedAs[d.digest]
		old[subject] = append(old[subject], d)
		index := list("", "", entries(old[subject]...)...)
		s.putPlainly(t, "app", tagOf(subject), index)
		m.tag[subject] = index.body
	}

	for range 60 {
		d := known[random.IntN(len(known))]
		subject := describedAs[d.digest].subject
		switch random.IntN(8) {
		case 0, 1, 2, 3:
			answer := s.put(t, "app", []string{"", "v1", "v2"}[random.IntN(3)], d)
			assert.Equal(t, subject.String(), answer.Header.Get(SubjectHeader))
			m.there[d.digest] = describedAs[d.digest]
			delete(m.tag, subject)
		case 4, 5:
			answer := s.Do(t, http.MethodDelete, sparsetest.ManifestPath("app", d.digest.String()), nil, nil)
			_, was := m.there[d.digest]
			require.Equal(t, was, answer.Status == http.StatusAccepted, "%s", answer.Body)
			if was {
				delete(m.there, d.digest)
				delete(m.tag, subject)
			}
		default:
			of := subjects[random.IntN(len(subjects))]
			linked, err := s.store.ReferrersOf(t.Context(), "app", of)
			require.NoError(t, err)
			if len(linked) < len(m.referrers(of, "")) {
				continue // the tag is all that tells of the others
			}
			if random.IntN(2) == 0 {
				some := list("", "", append(entries(known[:random.IntN(len(known))]...), gone)...)
				s.put(t, "app", tagOf(of), some)
				m.tag[of] = some.body
			} else {
				s.delete(t, "app", tagOf(of))
				m.tag[of] = nil
			}
		}
		compare(t, s, m, subjects[random.IntN(len(subjects))], random)
	}
}

// compare holds what is listed for a subject against the model.
func compare(t *testing.T, s *server, m model, subject digest.Digest, random *rand.Rand) {
	t.Helper()
	artifactType := []string{"", sbom, signature, imgspecv1.MediaTypeEmptyJSON}[random.IntN(4)]
	query := fmt.Sprintf("?artifactType=%s&n=%d", artifactType, 1+random.IntN(12))
	require.Equal(t, m.referrers(subject, artifactType), s.all(t, "app", subject, query), query)

	body, client := m.tag[subject]
	named, err := s.links.readTag(t.Context(), &share{admit: s.links.admitWriter}, "app", tagOf(subject))
	require.NoError(t, err)
	switch all := m.referrers(subject, ""); {
	case client && body == nil, !client && len(all) == 0:
		require.Empty(t, named.digest)
	case client:
		require.Equal(t, digest.FromBytes(body), named.digest)
	default:
		require.Equal(t, all, parseIndex(t, s.made(t, subject)).Manifests)
	}
}

// naively describes a document as its text says.
func naively(t *testing.T, d document) described {
	var says struct {
		imgspecv1.Manifest
		Config *imgspecv1.Descriptor `json:"config"`
	}
	require.NoError(t, json.Unmarshal(d.body, &says))
	is := described{descriptor: imgspecv1.Descriptor{
		MediaType: d.mediaType, Digest: d.digest, Size: int64(len(d.body)), ArtifactType: says.ArtifactType, Annotations: says.Annotations,
	}}
	if says.Subject != nil {
		is.subject = says.Subject.Digest
	}
	if is.descriptor.ArtifactType == "" && says.Config != nil {
		is.descriptor.ArtifactType = says.Config.MediaType
	}
	return is
}
