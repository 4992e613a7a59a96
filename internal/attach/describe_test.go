package attach

import (
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

func TestSubject(t *testing.T) {
	d, child := digest.FromString("subject"), digest.FromString("child")
	misdeclared := index(t, "", d, child)
	misdeclared.Misdeclared = imgspecv1.MediaTypeImageManifest
	for name, c := range map[string]struct {
		doc      endpoint.Document
		list     bool
		subject  digest.Digest
		children []digest.Digest
	}{
		"an image":          {doc: artifact(t, "", d, ""), subject: d},
		"without a subject": {doc: artifact(t, "", "", "")},
		"a list":            {doc: index(t, "", d, child), list: true, subject: d, children: []digest.Digest{child}},
		"called an image":   {doc: misdeclared, list: true, subject: d, children: []digest.Digest{child}},
		"schema 1":          {doc: endpoint.NewDocument(d, manifest.MediaTypeDockerSchema1, []byte(`{"schemaVersion":1,"fsLayers":[]}`))},
		"a broken list":     {doc: endpoint.NewDocument(d, imgspecv1.MediaTypeImageIndex, []byte(`{"manifests":1}`)), list: true},
		"nothing":           {doc: endpoint.NewDocument(d, "text/plain", []byte("nothing"))},
	} {
		subject, children := Subject(c.doc)
		assert.Equal(t, c.subject, subject, name)
		assert.Equal(t, c.children, children, name)
		assert.Equal(t, c.list, c.doc.IsList(), name)
	}
}

func TestRefusedSubject(t *testing.T) {
	d := digest.FromString("subject")
	says := func(status int, message, detail string) error {
		return &endpoint.RegistryError{Status: status, Errors: []endpoint.RegistryErrorDetail{
			{Code: "MANIFEST_INVALID", Message: "whatever"}, {Code: "MANIFEST_BLOB_UNKNOWN", Message: message, Detail: []byte(detail)},
		}}
	}
	doc := artifact(t, "", d, "")
	for name, c := range map[string]struct {
		err  error
		doc  endpoint.Document
		want digest.Digest
	}{
		"in the message":  {says(404, "unknown "+string(d), ""), doc, d},
		"in the detail":   {says(400, "", `"`+string(d)+`"`), doc, d},
		"another":         {says(404, "unknown "+string(digest.FromString("another")), ""), doc, ""},
		"broken":          {says(500, "unknown "+string(d), ""), doc, ""},
		"no answer":       {errBroken, doc, ""},
		"stored":          {nil, doc, ""},
		"no subject":      {says(404, "unknown "+string(d), ""), artifact(t, "", "", ""), ""},
		"a list's":        {says(404, "unknown "+string(d), ""), index(t, "", d), d},
		"a child as well": {says(404, "unknown "+string(d), ""), index(t, "", d, d), ""},
	} {
		assert.Equal(t, c.want, RefusedSubject(c.err, c.doc), name)
	}
}
