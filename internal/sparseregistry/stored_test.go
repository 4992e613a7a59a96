package sparseregistry_test

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const dockerImage = "application/vnd.docker.distribution.manifest.v2+json"

// image is an image manifest; more are further members of it, each with a comma before it.
func image(more string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"x/config","digest":%q,"size":2},"layers":[]%s}`, digest.FromString("{}"), more)
}

// subject is the member that names the absent manifest.
func subject() string {
	return fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":7}`, ociImage, absent)
}

// hooked serves a registry that takes everything, with hooks.
func hooked(t *testing.T, options sparseregistry.Options) (*sparsetest.Client, *spy) {
	t.Helper()
	behind := &spy{}
	options.Policy = func(string) manifest.SparsePolicy { return manifest.SparsePolicy{Enabled: true} }
	return sparsetest.ServeHandler(t, sparseregistry.Enforce(behind, options)), behind
}

func TestStoredManifestsAreTold(t *testing.T) {
	var told []sparseregistry.Stored
	client, behind := hooked(t, sparseregistry.Options{Stored: func(r *http.Request, s sparseregistry.Stored) (http.Header, error) {
		assert.Equal(t, http.MethodPut, r.Method)
		told = append(told, s)
		return http.Header{"Oci-Subject": {"of " + s.Reference}}, nil
	}})
	index := fmt.Sprintf(`{"schemaVersion":2,"artifactType":"x/list","annotations":{"k":"v"},"manifests":[%s]%s}`, entry("arm64"), subject())
	for _, c := range []struct {
		name, contentType, body string
		list, image             bool
	}{
		{"an index with a subject", ociIndex, index, true, false},
		{"an index without a header", "", index, true, false},
		{"an image with a subject", ociImage, image(subject()), false, true},
		{"one without a header", "", image(subject()), false, true},
		{"an image without a subject", ociImage, image(""), false, false},
		{"an image whose subject is null", ociImage, image(`,"subject":null`), false, false},
		{"Docker's format, which has no subject", dockerImage, image(subject()), false, false},
		{"Docker's format by itself", "", image(`,"mediaType":"` + dockerImage + `"` + subject()), false, false},
	} {
		for _, ref := range []string{"v1", digest.FromString(c.body).String()} {
			told = nil
			answer := put(t, client, "/v2/team/app/manifests/"+ref, c.contentType, c.body)
			require.Equal(t, http.StatusCreated, answer.Status, "%s: %s", c.name, answer.Body)
			assert.Equal(t, []string{"of " + ref}, answer.Header.Values("OCI-Subject"), c.name)
			require.Len(t, told, 1, c.name)
			s := told[0]
			assert.Equal(t, "team/app", s.Repository)
			assert.Equal(t, ref, s.Reference)
			assert.Equal(t, digest.FromString(c.body), s.Digest)
			assert.Equal(t, c.body, string(s.Body))
			if assert.Equal(t, c.list, s.List != nil, c.name) && c.list {
				assert.Equal(t, absent, s.List.Subject())
				assert.Equal(t, map[string]string{"k": "v"}, s.List.Annotations())
			}
			if assert.Equal(t, c.image, s.Image != nil, c.name) && c.image {
				assert.Equal(t, absent, s.Image.Subject)
			}
		}
	}
	assert.Len(t, behind.of(http.MethodPut), 16)
}

func TestWhatIsNotStoredIsNotTold(t *testing.T) {
	told := 0
	options := sparseregistry.Options{
		Stored:  func(*http.Request, sparseregistry.Stored) (http.Header, error) { told++; return nil, nil },
		Deleted: func(*http.Request, sparseregistry.Deletion) error { told++; return nil },
	}
	client, behind := hooked(t, options)
	put(t, client, "/v2/app/manifests/v1", ociImage, "{") // refused in front
	behind.respond = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }
	put(t, client, "/v2/app/manifests/v1", ociImage, image(subject()))
	client.Do(t, http.MethodDelete, "/v2/app/manifests/v1", nil, nil)
	behind.respond = nil
	client.Do(t, http.MethodDelete, "/v2/app/blobs/"+absent.String(), nil, nil)
	client.Do(t, http.MethodGet, "/v2/app/manifests/v1", nil, nil)
	assert.Zero(t, told)
}

// Two parsers would not agree about whose referrer it is.
func TestImagesWithAnUnclearSubjectAreRefused(t *testing.T) {
	for name, body := range map[string]string{
		"twice":               image(subject() + subject()),
		"in another case":     image(`,"Subject":{"digest":"` + digest.FromString("x").String() + `","size":7}` + subject()),
		"only another case":   image(`,"SUBJECT":{"digest":"` + digest.FromString("x").String() + `","size":7}`),
		"no object":           image(`,"subject":"` + absent.String() + `"`),
		"no digest":           image(`,"subject":{"size":7}`),
		"an invalid digest":   image(`,"subject":{"digest":"sha256:../x","size":7}`),
		"two digests":         image(`,"subject":{"digest":"` + absent.String() + `","Digest":"` + digest.FromString("x").String() + `","size":7}`),
		"two artifact types":  image(`,"artifactType":"x/a","artifactType":"x/b"` + subject()),
		"artifactType is not": image(`,"artifactType":7` + subject()),
	} {
		client, behind := hooked(t, sparseregistry.Options{})
		answer := put(t, client, "/v2/app/manifests/v1", ociImage, body)
		assert.Equal(t, http.StatusBadRequest, answer.Status, name)
		if assert.Len(t, answer.Errors(), 1, name) {
			assert.Equal(t, "MANIFEST_INVALID", answer.Errors()[0].Code)
			t.Log(answer.Errors()[0].Message)
		}
		assert.Empty(t, behind.requests, name)
	}
}

func TestDeletionsAreTold(t *testing.T) {
	var told []sparseregistry.Deletion
	client, _ := hooked(t, sparseregistry.Options{Deleted: func(r *http.Request, d sparseregistry.Deletion) error {
		assert.Equal(t, http.MethodDelete, r.Method)
		told = append(told, d)
		return nil
	}})
	for _, ref := range []string{"v1", absent.String()} {
		assert.Equal(t, http.StatusAccepted, client.Do(t, http.MethodDelete, "/v2/team/app/manifests/"+ref, nil, nil).Status)
	}
	assert.Equal(t, []sparseregistry.Deletion{{"team/app", "v1"}, {"team/app", absent.String()}}, told)
}

func TestWhatCannotBeNotedIsAnError(t *testing.T) {
	full := errors.New("disk full")
	var reported []sparseregistry.Refusal
	client, _ := hooked(t, sparseregistry.Options{
		Refused: func(_ *http.Request, r sparseregistry.Refusal) { reported = append(reported, r) },
		Stored:  func(*http.Request, sparseregistry.Stored) (http.Header, error) { return nil, full },
		Deleted: func(*http.Request, sparseregistry.Deletion) error { return full },
	})
	wantRefusal(t, put(t, client, "/v2/app/manifests/v1", ociImage, image(subject())), http.StatusInternalServerError, "UNKNOWN",
		"the manifest is stored, but what belongs to it is not; push it again: disk full")
	require.Len(t, reported, 1)
	assert.ErrorIs(t, reported[0].Err, full)
	wantRefusal(t, client.Do(t, http.MethodDelete, "/v2/app/manifests/v1", nil, nil), http.StatusInternalServerError, "UNKNOWN",
		"v1 is deleted, but not everything that belongs to it: disk full")
}

// What is noted is noted while nobody deletes, or does anything at all.
func TestHooksHoldTheRepository(t *testing.T) {
	entered, leave := make(chan string), make(chan struct{})
	wait := func(what string) {
		entered <- what
		<-leave
	}
	client, behind := hooked(t, sparseregistry.Options{
		Stored:  func(*http.Request, sparseregistry.Stored) (http.Header, error) { wait("stored"); return nil, nil },
		Deleted: func(*http.Request, sparseregistry.Deletion) error { wait("deleted"); return nil },
	})
	var wg sync.WaitGroup
	store := func() { wg.Go(func() { put(t, client, "/v2/app/manifests/v1", ociImage, image("")) }) }
	remove := func() {
		wg.Go(func() { client.Do(t, http.MethodDelete, "/v2/app/manifests/v1", nil, nil) })
	}
	others := func() { // requests that do not wait, and give the others time
		for range 50 {
			client.Do(t, http.MethodGet, "/v2/app/manifests/v1", nil, nil)
			runtime.Gosched()
		}
	}

	store()
	assert.Equal(t, "stored", <-entered)
	store()
	assert.Equal(t, "stored", <-entered, "others may store")
	remove()
	others()
	assert.Empty(t, behind.of(http.MethodDelete), "deleted while a manifest is being noted")
	leave <- struct{}{}
	leave <- struct{}{}
	assert.Equal(t, "deleted", <-entered)
	store()
	others()
	assert.Len(t, behind.of(http.MethodPut), 2, "stored while a deletion is being noted")
	leave <- struct{}{}
	assert.Equal(t, "stored", <-entered)
	leave <- struct{}{}
	wg.Wait()
}
