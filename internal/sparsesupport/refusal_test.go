package sparsesupport

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

func TestClassify(t *testing.T) {
	d := func(name string) digest.Digest { return digest.FromString(name) }
	list := List{Digest: d("list")}
	list.Add(d("stored"), imgspecv1.MediaTypeImageManifest, false)
	list.Add(d("stored too"), "", false)
	list.Add(d("left out"), imgspecv1.MediaTypeImageManifest, true)
	list.Add(d("left out too"), imgspecv1.MediaTypeImageIndex, true)
	list.Add(d("blob"), imgspecv1.MediaTypeImageLayerGzip, true)
	type detail = endpoint.RegistryErrorDetail
	quoted := func(text string) json.RawMessage { return json.RawMessage(fmt.Sprintf("%q", text)) }
	absent := detail{Code: "MANIFEST_BLOB_UNKNOWN", Detail: quoted(d("left out").String())}
	for name, c := range map[string]struct {
		status int
		errors []detail
		want   Refusal
		lost   []digest.Digest
	}{
		"absent":                        {400, []detail{absent}, Absent, nil},
		"absent, twice":                 {400, []detail{absent, absent}, Absent, nil},
		"absent, an object":             {400, []detail{{Code: "BLOB_UNKNOWN", Detail: json.RawMessage(`{"Digest":"` + d("left out").String() + `"}`)}}, Absent, nil},
		"absent, an array":              {422, []detail{{Code: "BLOB_UNKNOWN", Detail: json.RawMessage(`[["` + d("left out").String() + `"]]`)}}, Absent, nil},
		"absent, in brackets":           {400, []detail{{Code: "MANIFEST_INVALID", Detail: json.RawMessage(`"no \u003c` + d("left out").String() + `\u003e"`)}}, Absent, nil},
		"absent, in a reference":        {404, []detail{{Code: "NOT_FOUND", Message: "artifact a/b@" + d("left out").String() + " not found"}}, Absent, nil},
		"absent, and the list":          {404, []detail{{Code: "MANIFEST_UNKNOWN", Message: fmt.Sprintf("%s names %s", d("list"), d("left out too"))}}, Absent, nil},
		"absent, twice in one":          {400, []detail{{Code: "MANIFEST_BLOB_UNKNOWN", Message: fmt.Sprintf("'[%s, %s]'", d("left out"), d("left out too"))}}, Absent, nil},
		"lost":                          {400, []detail{{Code: "MANIFEST_BLOB_UNKNOWN", Detail: quoted(d("stored").String())}}, Lost, []digest.Digest{d("stored")}},
		"lost, and absent":              {400, []detail{absent, {Code: "MANIFEST_INVALID", Message: d("stored").String() + ", " + d("stored too").String()}}, Lost, []digest.Digest{d("stored"), d("stored too")}},
		"unclear":                       {400, []detail{{Code: "MANIFEST_INVALID"}}, Unclear, nil},
		"unclear, the list":             {400, []detail{{Code: "MANIFEST_INVALID", Detail: json.RawMessage(`{"reference":"` + d("list").String() + `"}`)}}, Unclear, nil},
		"unclear, half of it":           {404, []detail{absent, {Code: "MANIFEST_BLOB_UNKNOWN"}}, Unclear, nil},
		"unclear, a blob":               {400, []detail{absent, {Code: "MANIFEST_BLOB_UNKNOWN", Detail: quoted(d("blob").String())}}, Unclear, nil},
		"unclear, a short digest":       {400, []detail{{Code: "MANIFEST_BLOB_UNKNOWN", Message: d("left out").String()[:19]}}, Unclear, nil},
		"something else":                {400, []detail{absent, {Code: "MANIFEST_BLOB_UNKNOWN", Detail: quoted(d("else").String())}}, Otherwise, nil},
		"another code":                  {400, []detail{absent, {Code: "TAG_INVALID"}}, Otherwise, nil},
		"another code, with the digest": {400, []detail{{Code: "DENIED", Detail: quoted(d("left out").String())}}, Otherwise, nil},
		"another status":                {403, []detail{absent}, Otherwise, nil},
		"a server error":                {500, []detail{absent}, Otherwise, nil},
		"nothing":                       {400, nil, Otherwise, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, lost := Classify(fmt.Errorf("writing: %w", &endpoint.RegistryError{Status: c.status, Errors: c.errors}), list)
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.lost, lost)
		})
	}
	got, _ := Classify(errors.New("connection closed"), list)
	assert.Equal(t, Otherwise, got)
	got, _ = Classify(&endpoint.RegistryError{Status: 404, TokenService: true, Errors: []detail{absent}}, list)
	assert.Equal(t, Otherwise, got)
}
