package registry

import (
	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// kept is what a cache has of a repository. A nil *kept, of ends without a cache, has nothing and
// keeps nothing.
type kept struct {
	cache endpoint.DocumentCache
	// content is the repository as references call it, whichever mirror has handed something out.
	// What others have handed out is not for it: who knows a digest need not have what it is of.
	content string
	// tags is the repository that was asked, whose tags need not be those of its mirrors.
	tags string
}

// newKept is what cache has of r, which references call name; nil without a cache.
func newKept(cache endpoint.DocumentCache, name string, r *repository) *kept {
	if cache == nil {
		return nil
	}
	return &kept{cache: cache, content: name, tags: r.host.Name + "/" + r.name + "?" + r.namespace}
}

// Keys of a DocumentCache. What was a blob is no manifest because it has the digest of one.
func (k *kept) manifestKey(d digest.Digest) string { return "manifest " + k.content + "@" + d.String() }
func (k *kept) blobKey(d digest.Digest) string     { return "blob " + k.content + "@" + d.String() }
func (k *kept) tagKey(tag string) string           { return "tag " + k.tags + ":" + tag }

// knows reports whether there is anything that a tag or a digest may name still.
func (k *kept) knows(tagOrDigest string) bool {
	if d := digest.Digest(tagOrDigest); d.Validate() == nil {
		_, ok := k.manifest(d)
		return ok
	}
	last, known := k.named(tagOrDigest)
	return known && last != ""
}

// keep keeps what a tag or a digest was found to name.
func (k *kept) keep(tagOrDigest string, doc endpoint.Document) {
	if k == nil || !isObject(doc.Bytes) {
		return
	}
	k.keepManifest(doc)
	if digest.Digest(tagOrDigest).Validate() != nil {
		k.keepNamed(tagOrDigest, doc.Digest)
	}
}

// manifest returns the manifest or list with digest d.
func (k *kept) manifest(d digest.Digest) (doc endpoint.Document, ok bool) {
	if k == nil || d.Validate() != nil {
		return doc, false
	}
	content, ok := k.verified(k.manifestKey(d), d)
	return endpoint.NewDocument(d, manifest.TypeOf(content, ""), content), ok
}

// keepManifest keeps doc, if its bytes alone say all that is known of it.
func (k *kept) keepManifest(doc endpoint.Document) {
	if doc.Misdeclared != "" || manifest.TypeOf(doc.Bytes, "") != doc.MediaType ||
		doc.Digest.Algorithm().FromBytes(doc.Bytes) != doc.Digest { // Docker schema 1
		return
	}
	k.cache.Put(k.manifestKey(doc.Digest), doc.Bytes)
}

// blob returns the content of b.
func (k *kept) blob(b endpoint.Blob) (content []byte, ok bool) {
	if k == nil {
		return nil, false
	}
	content, ok = k.verified(k.blobKey(b.Digest), b.Digest)
	return content, ok && int64(len(content)) == b.Size
}

// keepBlob keeps the content of a blob, which is verified.
func (k *kept) keepBlob(d digest.Digest, content []byte) {
	if k != nil {
		k.cache.Put(k.blobKey(d), content)
	}
}

// verified returns what is kept under key, and forgets what does not have the digest d.
func (k *kept) verified(key string, d digest.Digest) ([]byte, bool) {
	content := k.cache.Get(key)
	if content == nil {
		return nil, false
	}
	if d.Algorithm().FromBytes(content) != d {
		k.cache.Remove(key)
		return nil, false
	}
	return content, true
}

// nothing is what is kept of a tag that named nothing.
const nothing = "nothing"

// named reports what a tag named when it was read last: "" for nothing.
func (k *kept) named(tag string) (d digest.Digest, known bool) {
	if k == nil {
		return "", false
	}
	switch text := string(k.cache.Get(k.tagKey(tag))); {
	case text == nothing:
		return "", true
	default:
		d = digest.Digest(text)
		return d, d.Validate() == nil
	}
}

// keepNamed notes what a tag names: "" for nothing.
func (k *kept) keepNamed(tag string, d digest.Digest) {
	if last, known := k.named(tag); known && last == d {
		return
	}
	if d == "" {
		d = nothing
	}
	k.cache.Put(k.tagKey(tag), []byte(d))
}
