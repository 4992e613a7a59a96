package storagetorture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// repositories are those of every history; one name is the beginning of another.
var repositories = []string{"app", "app/web", "team/tools"}

// A history is what clients and operators do to a storage, made up from a seed, and the model of
// what is there afterwards. Everything that is done is a line of its log.
type history struct {
	*world
	model  *model
	random *rand.Rand
	kills  bool // the server is a process that is killed from time to time
	log    []string

	number int        // of documents, which makes each another one
	blobs  [][]byte   // layers and configs to choose from
	made   []document // in order
}

func newHistory(t *testing.T, seed uint64, kills bool) *history {
	h := &history{
		world: newWorld(t, kills), model: newModel(repositories), random: rand.New(rand.NewPCG(seed, 0)), kills: kills,
	}
	for i := range 12 {
		h.blobs = append(h.blobs, fmt.Appendf(nil, "content %d of %d%s", i, seed, strings.Repeat(".", h.random.IntN(2000))))
	}
	return h
}

// An action is something that can be done, and how often it is compared with others.
type action struct {
	name   string
	weight int
	do     func(*history)
}

var actions = []action{
	{"push an image", 8, (*history).pushImage},
	{"push a list", 8, (*history).pushList},
	{"push a referrer", 5, (*history).pushReferrer},
	{"push a signature under a digest tag", 2, (*history).pushSignature},
	{"push a blob", 2, func(h *history) { h.pushBlob(h.repository(), h.blob()) }},
	{"tag", 3, (*history).tag},
	{"ask", 8, (*history).ask},
	{"delete a tag", 5, (*history).deleteTag},
	{"delete referrers tags", 4, (*history).deleteReferrersTags},
	{"delete a manifest", 3, (*history).deleteManifest},
	{"delete a blob", 1, (*history).deleteBlob},
	{"let time pass", 4, (*history).timePass},
	{"collect", 2, func(h *history) { h.collectAll(false) }},
	{"collect untagged manifests too", 5, (*history).collectUntagged},
	{"collect, killed", 3, (*history).collectKilled},
	{"collect beside clients", 5, (*history).collectOnline},
}

// play does n things, and compares the storage with the model after each that removes something.
func (h *history) play(n int) {
	h.t.Helper()
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	for range n {
		at := h.random.IntN(total)
		for _, a := range actions {
			if at -= a.weight; at < 0 {
				h.note("%s", a.name)
				a.do(h)
				break
			}
		}
		if h.kills {
			h.kill()
		}
		if h.t.Failed() {
			return
		}
	}
}

// kill kills the server or a collection, sometimes.
func (h *history) kill() {
	switch h.random.IntN(12) {
	case 0:
		h.note("push, the server is killed")
		h.pushKilled()
	case 1:
		h.note("collect, the process is killed")
		h.collectProcessKilled()
	}
}

func (h *history) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

// pick returns one of several things; ok is false if there are none.
func pick[T any](h *history, things []T) (thing T, ok bool) {
	if len(things) == 0 {
		return thing, false
	}
	return things[h.random.IntN(len(things))], true
}

func (h *history) chance(percent int) bool { return h.random.IntN(100) < percent }

func (h *history) repository() string {
	name, _ := pick(h, repositories)
	return name
}

func (h *history) blob() []byte {
	blob, _ := pick(h, h.blobs)
	return blob
}

// request sends a request that is to be answered with the given status.
func (h *history) request(status int, method, path string, header http.Header, body []byte) {
	h.t.Helper()
	answer := h.client.Do(h.t, method, path, header, body)
	require.Equal(h.t, status, answer.Status, "%s %s: %s", method, path, answer.Body)
}

// pushBlob makes a blob part of a repository as a client does: it may ask first, it may mount it
// from another repository, or it sends it.
func (h *history) pushBlob(repo string, content []byte) {
	h.t.Helper()
	d := digest.FromBytes(content)
	r := h.model.repositories[repo]
	if _, there := r.layers[d]; there && h.chance(60) {
		h.request(http.StatusOK, http.MethodHead, blobPath(repo, d), nil, nil)
		h.model.contents[d] = true
		return
	}
	from := slices.IndexFunc(repositories, func(other string) bool {
		_, there := h.model.repositories[other].layers[d]
		return there && other != repo
	})
	if from >= 0 && h.chance(60) {
		h.note("  mount %s from %s to %s", short(d), repositories[from], repo)
		h.request(http.StatusCreated, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?mount="+d.String()+"&from="+repositories[from], nil, nil)
	} else {
		require.NoError(h.t, h.client.PushBlob(h.t.Context(), repo, content))
	}
	r.layers[d], h.model.contents[d] = true, true
}

// pushDocument stores a document under a reference; "" stands for its digest.
func (h *history) pushDocument(repo, ref string, d document) {
	h.t.Helper()
	h.note("  %s %s of %s as %q", repo, short(d.digest), d.mediaType, ref)
	path := sparsetest.ManifestPath(repo, ref)
	if ref == "" {
		path = sparsetest.ManifestPath(repo, d.digest.String())
	}
	h.request(http.StatusCreated, http.MethodPut, path, http.Header{"Content-Type": {d.mediaType}}, d.body)
	h.remember(d)
	r := h.model.repositories[repo]
	for _, child := range d.names { // the policy asks for the children of a list
		if _, there := r.manifests[child]; there {
			h.model.contents[child] = true
		}
	}
	r.manifests[d.digest], h.model.contents[d.digest] = true, true
	if ref != "" {
		r.tags[ref] = d.digest
	}
	if d.subject != "" {
		r.referrers[referral{d.subject, d.digest}] = true
		h.referrersChanged(repo, d.subject)
	}
}

// referrersChanged follows what the server does when the referrers of a subject have changed: the
// referrers tag names a list of all of them, or is not there if there are none.
func (h *history) referrersChanged(repo string, subject digest.Digest) {
	h.t.Helper()
	r, tag := h.model.repositories[repo], referrersTag(subject)
	want := []digest.Digest{}
	for link := range r.referrers {
		if _, there := r.manifests[link.referrer]; there && link.subject == subject {
			want = append(want, link.referrer)
		}
	}
	now, err := h.store.Current(h.t.Context(), repo, tag)
	if len(want) == 0 {
		require.ErrorIs(h.t, err, fs.ErrNotExist)
		delete(r.tags, tag)
		return
	}
	require.NoError(h.t, err)
	if now == r.tags[tag] {
		return
	}
	made := h.readDocument(now)
	require.ElementsMatch(h.t, want, made.names, "the referrers tag of %s", subject)
	h.remember(made)
	r.tags[tag], r.manifests[now], h.model.contents[now] = now, true, true
}

// remember notes a document that may be there from now on.
func (h *history) remember(d document) {
	if _, known := h.model.documents[d.digest]; !known {
		h.model.documents[d.digest] = d
		h.made = append(h.made, d)
	}
}

// referrersTag is the tag that lists what refers to a subject.
func referrersTag(subject digest.Digest) string { return "sha256-" + subject.Encoded() }

// newTag is a tag, often one that is there, and often none.
func (h *history) newTag() string {
	if h.chance(40) {
		return ""
	}
	return fmt.Sprintf("v%d", h.random.IntN(6))
}

// newImage makes an image, without pushing it, and its blobs.
func (h *history) newImage(subject *imgspecv1.Descriptor) (document, [][]byte) {
	config := h.blob()
	var layers [][]byte
	for range h.random.IntN(4) {
		layers = append(layers, h.blob())
	}
	h.number++
	return image(h.number, h.chance(30), subject, config, layers...), append(layers, config)
}

func (h *history) pushNewImage(repo, ref string, subject *imgspecv1.Descriptor) document {
	h.t.Helper()
	d, blobs := h.newImage(subject)
	for _, blob := range blobs {
		h.pushBlob(repo, blob)
	}
	h.pushDocument(repo, ref, d)
	return d
}

func (h *history) pushImage() { h.pushNewImage(h.repository(), h.newTag(), nil) }

// pushList pushes a list of images and lists of a repository, and of what is not there.
func (h *history) pushList() {
	repo := h.repository()
	var children []document
	for range 1 + h.random.IntN(4) {
		children = append(children, h.child(repo))
	}
	h.number++
	h.pushDocument(repo, h.newTag(), list(h.number, h.chance(30), h.maybeSubject(repo), children...))
}

// child is what a list may name: something of its repository, of another one, or of none.
func (h *history) child(repo string) document {
	if d, ok := pick(h, h.documentsOf(repo)); ok && h.chance(70) {
		return d
	}
	if d, ok := pick(h, h.made); ok && h.chance(50) {
		return d
	}
	d, _ := h.newImage(nil)
	return d
}

// documentsOf are the documents of a repository, in the order in which they were made.
func (h *history) documentsOf(repo string) []document {
	var documents []document
	for _, d := range h.made {
		if _, there := h.model.repositories[repo].manifests[d.digest]; there {
			documents = append(documents, d)
		}
	}
	return documents
}

func (h *history) maybeSubject(repo string) *imgspecv1.Descriptor {
	if h.chance(80) {
		return nil
	}
	return h.subject(repo)
}

// subject is something of a repository, or something that is nowhere.
func (h *history) subject(repo string) *imgspecv1.Descriptor {
	d, ok := pick(h, h.documentsOf(repo))
	if !ok || h.chance(10) {
		d, _ = h.newImage(nil)
	}
	descriptor := d.descriptor()
	return &descriptor
}

func (h *history) pushReferrer() {
	repo := h.repository()
	ref := ""
	if h.chance(10) {
		ref = h.newTag()
	}
	h.pushNewImage(repo, ref, h.subject(repo))
}

func (h *history) pushSignature() {
	repo := h.repository()
	if d, ok := pick(h, h.documentsOf(repo)); ok {
		h.pushNewImage(repo, "sha256-"+d.digest.Encoded()+".sig", nil)
	}
}

// tag gives a document of a repository another tag.
func (h *history) tag() {
	repo := h.repository()
	d, ok := pick(h, h.documentsOf(repo))
	if !ok || !h.complete(repo, d) {
		return // a registry takes no image whose blobs were deleted
	}
	h.pushDocument(repo, fmt.Sprintf("v%d", h.random.IntN(6)), d)
}

// complete reports whether a repository has the blobs of a document.
func (h *history) complete(repo string, d document) bool {
	return !slices.ContainsFunc(d.blobs, func(b digest.Digest) bool {
		_, there := h.model.repositories[repo].layers[b]
		return !there
	})
}

// ask asks for something, which is then in use.
func (h *history) ask() {
	repo := h.repository()
	method, _ := pick(h, []string{http.MethodGet, http.MethodHead})
	if blob, ok := pick(h, sorted(h.model.repositories[repo].layers)); ok && h.chance(25) {
		h.request(http.StatusOK, method, blobPath(repo, blob), nil, nil)
		h.model.contents[blob] = true
	} else if d, ok := pick(h, h.documentsOf(repo)); ok {
		answer := h.client.Get(h.t, method, repo, d.digest.String())
		require.Equal(h.t, http.StatusOK, answer.Status)
		h.model.contents[d.digest] = true
	}
}

// sorted are the keys of a map in order, so that what is picked follows from the seed.
func sorted[V any](things map[digest.Digest]V) []digest.Digest {
	return slices.Sorted(maps.Keys(things))
}

func (h *history) deleteTag() {
	repo := h.repository()
	tags := h.model.repositories[repo].tags
	if tag, ok := pick(h, slices.Sorted(maps.Keys(tags))); ok {
		h.removeTag(repo, tag)
	}
}

// deleteReferrersTags leaves referrers to their subjects alone.
func (h *history) deleteReferrersTags() { h.deleteReferrersTagsOf(h.repository()) }

func (h *history) deleteReferrersTagsOf(repo string) {
	for _, tag := range slices.Sorted(maps.Keys(h.model.repositories[repo].tags)) {
		if strings.HasPrefix(tag, "sha256-") {
			h.removeTag(repo, tag)
		}
	}
}

func (h *history) removeTag(repo, tag string) {
	h.t.Helper()
	h.note("  %s:%s", repo, tag)
	h.request(http.StatusAccepted, http.MethodDelete, sparsetest.ManifestPath(repo, tag), nil, nil)
	delete(h.model.repositories[repo].tags, tag)
}

func (h *history) deleteManifest() {
	repo := h.repository()
	r := h.model.repositories[repo]
	if d, ok := pick(h, sorted(r.manifests)); ok {
		h.note("  %s %s", repo, short(d))
		h.request(http.StatusAccepted, http.MethodDelete, sparsetest.ManifestPath(repo, d.String()), nil, nil)
		delete(r.manifests, d)
		maps.DeleteFunc(r.tags, func(_ string, named digest.Digest) bool { return named == d })
		if subject := h.model.documents[d].subject; subject != "" {
			delete(r.referrers, referral{subject, d})
			h.referrersChanged(repo, subject)
		}
	}
}

func (h *history) deleteBlob() {
	repo := h.repository()
	r := h.model.repositories[repo]
	if d, ok := pick(h, sorted(r.layers)); ok {
		h.note("  %s %s", repo, short(d))
		h.request(http.StatusAccepted, http.MethodDelete, blobPath(repo, d), nil, nil)
		delete(r.layers, d)
	}
}

func (h *history) timePass() {
	h.timePasses()
	h.model.timePasses()
}

// collectUntagged often leaves nothing young before but what was asked for, and sometimes no
// referrers tags.
func (h *history) collectUntagged() {
	if h.chance(60) {
		h.timePass()
		if h.chance(40) {
			for _, repo := range repositories {
				h.deleteReferrersTagsOf(repo)
			}
		}
		h.ask()
		h.ask()
	}
	h.collectAll(true)
}

func (h *history) collectAll(untagged bool) {
	_, err := collect(h.t.Context(), h.store, untagged)
	require.NoError(h.t, err)
	h.model.collect(untagged)
	h.compare()
}

// compare holds the storage against the model.
func (h *history) compare() {
	h.t.Helper()
	assert.Equal(h.t, h.model.text(), h.observe(repositories).text())
}

// text is a model as lines, for comparing.
func (m *model) text() []string {
	var lines []string
	for name, r := range m.repositories {
		for tag, d := range r.tags {
			lines = append(lines, name+":"+tag+" "+short(d))
		}
		for d := range r.manifests {
			lines = append(lines, name+" manifest "+short(d))
		}
		for d := range r.layers {
			lines = append(lines, name+" layer "+short(d))
		}
		for link := range r.referrers {
			lines = append(lines, name+" referrer "+short(link.referrer)+" of "+short(link.subject))
		}
	}
	for d := range m.contents {
		lines = append(lines, "content "+short(d))
	}
	slices.Sort(lines)
	return lines
}

func short(d digest.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.Encoded()[:12]
}

// An endingStorage takes so many changes, and fails from then on, as a process does that is killed.
type endingStorage struct {
	storagedriver.StorageDriver
	left atomic.Int64
}

var errEnded = errors.New("the process was killed")

func (e *endingStorage) Delete(ctx context.Context, path string) error {
	if e.left.Add(-1) < 0 {
		return errEnded
	}
	return e.StorageDriver.Delete(ctx, path)
}

func (e *endingStorage) PutContent(ctx context.Context, path string, content []byte) error {
	if e.left.Add(-1) < 0 {
		return errEnded
	}
	return e.StorageDriver.PutContent(ctx, path, content)
}

// collectKilled collects until some removal. Nothing that stays may be gone, and nothing that is
// gone may be named.
func (h *history) collectKilled() {
	ending := &endingStorage{}
	ending.left.Store(int64(h.random.IntN(12)))
	store := h.store.WithDriver(func(d storagedriver.StorageDriver) storagedriver.StorageDriver {
		ending.StorageDriver = d
		return ending
	})
	untagged := h.chance(50)
	before := h.model.text()
	_, err := collect(h.t.Context(), store, untagged)
	if err != nil {
		require.ErrorIs(h.t, err, errEnded)
	}
	h.afterCollection(before, untagged, err != nil)
}

// collectProcessKilled kills a process that collects.
func (h *history) collectProcessKilled() {
	what, untagged := collectAll, h.chance(50)
	if untagged {
		what = collectToo
	}
	before := h.model.text()
	process := task(what, h.storage)
	require.NoError(h.t, process.Start())
	<-time.After(time.Duration(h.random.IntN(100_000)) * time.Microsecond)
	_ = process.Process.Kill() // it may have ended
	err := process.Wait()
	require.False(h.t, err != nil && process.ProcessState.Exited(), "it failed by itself: %v", err)
	h.afterCollection(before, untagged, err != nil)
}

// afterCollection holds the storage against the model after a collection that may have been
// killed: what stays is there, and nothing else than what was there before. What is there is the
// model then.
func (h *history) afterCollection(before []string, untagged, killed bool) {
	h.t.Helper()
	found := h.observe(repositories)
	documents := h.model.documents
	h.model.collect(untagged)
	assert.Subset(h.t, found.text(), h.model.text(), "something that stays is gone")
	assert.Subset(h.t, before, found.text(), "something has come")
	if !killed {
		assert.Equal(h.t, h.model.text(), found.text())
	}
	maps.Copy(found.documents, documents)
	h.model = found
	h.checkNow()
}

// checkNow checks the storage: only what the model expects is found.
func (h *history) checkNow() {
	h.t.Helper()
	found := []string{}
	for _, f := range h.check() {
		found = append(found, identity(f.Kind, f.Repository, f.Tag, f.Digest, f.Other))
	}
	slices.Sort(found)
	assert.ElementsMatch(h.t, h.model.findings(), found)
}

// pushKilled kills the server while an image is pushed to it, and starts another one. What was
// there is there; of the image, anything may be; and what is left can be mended.
func (h *history) pushKilled() {
	repo := h.repository()
	d, blobs := h.newImage(h.maybeSubject(repo))
	tag := h.newTag()
	before := h.model.text()
	delay := time.Duration(h.random.IntN(30_000)) * time.Microsecond
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, blob := range blobs {
			if h.client.PushBlob(h.t.Context(), repo, blob) != nil {
				return
			}
		}
		ref := tag
		if ref == "" {
			ref = d.digest.String()
		}
		_, _ = h.client.Try(h.t.Context(), http.MethodPut, sparsetest.ManifestPath(repo, ref), http.Header{"Content-Type": {d.mediaType}}, d.body)
	}()
	<-time.After(delay)
	h.stop()
	<-done
	h.start(true)

	found := h.observe(repositories)
	changing := []string{repo + ":" + tag + " "}
	if d.subject != "" {
		changing = append(changing, repo+":"+referrersTag(d.subject)+" ")
	}
	for _, line := range before {
		if !slices.ContainsFunc(changing, func(tag string) bool { return strings.HasPrefix(line, tag) }) {
			assert.Contains(h.t, found.text(), line)
		}
	}
	h.remember(d)
	for _, d := range sorted(found.documents) {
		h.remember(found.documents[d]) // a referrers tag's
	}
	found.documents = h.model.documents
	h.model = found
	h.checkNow()
	h.mend()
}

// mend does what is advised about tags that name nothing, and about referrers that are not linked.
func (h *history) mend() {
	for _, repo := range repositories {
		r := h.model.repositories[repo]
		for tag, d := range r.tags {
			if d == "" {
				h.removeTag(repo, tag)
			}
		}
		for _, d := range h.documentsOf(repo) {
			_, linked := r.referrers[referral{d.subject, d.digest}]
			if d.subject != "" && !linked && h.complete(repo, d) {
				h.pushDocument(repo, "", d)
			}
		}
	}
}
