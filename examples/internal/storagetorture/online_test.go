package storagetorture

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// A push is what a client pushes while a server collects.
type push struct {
	repo, ref string
	document  document
	blobs     [][]byte
}

// collectOnline lets the server collect while clients push. What stayed without them is there, and
// everything that they were told is.
func (h *history) collectOnline() {
	untagged := h.chance(60)
	pushes := h.pushes()
	before := h.model.text()
	var clients sync.WaitGroup
	for _, p := range pushes {
		clients.Go(func() { assert.NoError(h.t, h.push(p)) })
	}
	report, err := registrygc.Remote(h.t.Context(), sparseserver.ControlSocket(h.storage), registrystore.Holder(h.storage),
		registrygc.Options{Untagged: untagged, Grace: grace}, func(registrygc.Progress) {})
	clients.Wait()
	require.NoError(h.t, err)
	require.Empty(h.t, report.Damage)

	found, documents := h.observe(repositories), h.model.documents
	h.model.collect(untagged)
	assert.Subset(h.t, found.text(), h.model.text(), "something that stays is gone")
	pushed := newModel(repositories)
	for _, p := range pushes {
		h.remember(p.document)
		pushed.add(p)
	}
	assert.Subset(h.t, found.text(), pushed.text(), "something that was pushed meanwhile is gone")
	assert.Subset(h.t, append(before, pushed.text()...), found.text(), "something has come")
	maps.Copy(found.documents, documents)
	h.model = found
	h.checkNow()
}

// pushes are some images and lists to push, of blobs and manifests that may be about to go.
func (h *history) pushes() []push {
	var pushes []push
	for range 1 + h.random.IntN(3) {
		p := push{repo: h.repository()}
		if documents := h.documentsOf(p.repo); h.chance(40) && len(documents) > 0 {
			child, _ := pick(h, documents)
			h.number++
			p.document = list(h.number, false, nil, child)
		} else {
			p.document, p.blobs = h.newImage(nil)
		}
		p.ref = p.document.digest.String()
		if h.chance(50) {
			p.ref = fmt.Sprintf("online%d", h.number)
		}
		h.note("  beside it: %s %s of %s as %q", p.repo, short(p.document.digest), p.document.mediaType, p.ref)
		pushes = append(pushes, p)
	}
	return pushes
}

// push pushes as clients do that send only what they are told is not there.
func (h *history) push(p push) error {
	ctx := context.WithoutCancel(h.t.Context())
	for _, blob := range p.blobs {
		answer, err := h.client.Try(ctx, http.MethodHead, blobPath(p.repo, digest.FromBytes(blob)), nil, nil)
		if err == nil && answer.Status != http.StatusOK {
			err = h.client.PushBlob(ctx, p.repo, blob)
		}
		if err != nil {
			return err
		}
	}
	answer, err := h.client.Try(ctx, http.MethodPut, sparsetest.ManifestPath(p.repo, p.ref), http.Header{"Content-Type": {p.document.mediaType}}, p.document.body)
	if err == nil && answer.Status != http.StatusCreated {
		err = fmt.Errorf("PUT %s of %s: %d %s", p.ref, p.repo, answer.Status, answer.Body)
	}
	return err
}

// add adds what a push stores.
func (m *model) add(p push) {
	r := m.repositories[p.repo]
	r.manifests[p.document.digest], m.contents[p.document.digest] = true, true
	for _, d := range p.document.blobs {
		r.layers[d], m.contents[d] = true, true
	}
	if p.ref != p.document.digest.String() {
		r.tags[p.ref] = p.document.digest
	}
}
