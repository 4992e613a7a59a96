package registrytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func TestParseRoute(t *testing.T) {
	for path, want := range map[string]route{
		"/v2/":                               {kind: KindPing},
		"/v2":                                {kind: KindPing},
		"/token":                             {kind: KindToken},
		"/v2/a/manifests/latest":             {KindManifest, "a", "latest"},
		"/v2/manifests/manifests/manifests":  {KindManifest, "manifests", "manifests"},
		"/v2/a/blobs/uploads/manifests/tag":  {KindManifest, "a/blobs/uploads", "tag"},
		"/v2/a/blobs/sha256:x":               {KindBlob, "a", "sha256:x"},
		"/v2/a/b/blobs/uploads/":             {KindUpload, "a/b", ""},
		"/v2/a/b/blobs/uploads":              {KindUpload, "a/b", ""},
		"/v2/a/b/blobs/uploads/id":           {KindUpload, "a/b", "id"},
		"/v2/a/tags/list":                    {KindTags, "a", ""},
		"/v2/a/referrers/sha256:x":           {KindReferrers, "a", "sha256:x"},
		"/storage/a/b/sha256:x":              {KindBlob, "a/b", "sha256:x"},
		"/v2/A/manifests/latest":             {kind: KindOther},
		"/v2/a/../manifests/latest":          {kind: KindOther},
		"/v2//manifests/latest":              {kind: KindOther},
		"/v2/manifests/latest":               {kind: KindOther},
		"/v2/uploads/x":                      {kind: KindOther},
		"/v2/a/tags/other":                   {kind: KindOther},
		"/api/v1/registry/capabilities":      {kind: KindOther},
		"/v2/a/b/c/d/e/f/g/manifests/v1.0-a": {KindManifest, "a/b/c/d/e/f/g", "v1.0-a"},
	} {
		require.Equal(t, want, parseRoute(path), path)
	}
}

func TestPing(t *testing.T) {
	c := start(t, Options{})
	a := c.do(200, "GET", "/v2/", "")
	require.Equal(t, "{}", string(a.body))
	require.Equal(t, "registry/2.0", a.Header.Get("Docker-Distribution-API-Version"))
	require.NotContains(t, a.Header, "X-Sparse-Manifest-Support")
	c.do(405, "POST", "/v2/", "")
	c.do(404, "GET", "/v2/other", "")
	c.do(404, "GET", "/api/v1/registry/capabilities", "")
}

func TestAnnounce(t *testing.T) {
	c := start(t, Options{Announce: &Announcement{Sparse: true, Architectures: []string{"amd64", "arm64"}}})
	a := c.do(200, "GET", "/v2/", "")
	require.Equal(t, "true", a.Header.Get("X-Sparse-Manifest-Support"))
	require.Equal(t, "amd64,arm64", a.Header.Get("X-Required-Architectures"))
	a = c.do(200, "GET", "/api/v1/registry/capabilities", "")
	require.JSONEq(t, `{"sparse_manifests":{"supported":true,"required_architectures":["amd64","arm64"]}}`, string(a.body))

	c = start(t, Options{Announce: &Announcement{}})
	require.Equal(t, "false", c.do(200, "GET", "/v2/", "").Header.Get("X-Sparse-Manifest-Support"))
	a = c.do(200, "GET", "/api/v1/registry/capabilities", "")
	require.JSONEq(t, `{"sparse_manifests":{"supported":false,"required_architectures":[]}}`, string(a.body))
}

func TestAnnouncePerRepository(t *testing.T) {
	own := &Announcement{Sparse: true, More: &MoreAnnounced{Platforms: []string{"linux/arm/v7"}, WithoutPlatform: true}}
	c := start(t, Options{Announce: &Announcement{More: &MoreAnnounced{WithoutPlatform: true, Repositories: map[string]*Announcement{"a/b": own}}}})
	for query, want := range map[string]string{
		"":                  `{"supported":false,"required_architectures":[],"required_platforms":[],"required_without_platform":true}`,
		"?repository=other": `{"supported":false,"required_architectures":[],"required_platforms":[],"required_without_platform":true}`,
		"?repository=a/b":   `{"supported":true,"required_architectures":[],"required_platforms":["linux/arm/v7"],"required_without_platform":true}`,
	} {
		a := c.do(200, "GET", "/api/v1/registry/capabilities"+query, "")
		require.JSONEq(t, `{"sparse_manifests":`+want+`}`, string(a.body), query)
	}
	a := c.do(200, "GET", "/v2/?repository=a%2Fb", "")
	require.Equal(t, "true", a.Header.Get("X-Sparse-Manifest-Support"))
	require.Equal(t, "linux/arm/v7", a.Header.Get("X-Required-Platforms"))
	require.Equal(t, "true", a.Header.Get("X-Required-Without-Platform"))

	c = start(t, Options{
		Auth:     &Auth{Accounts: []Account{{Username: "u", Password: "p"}}},
		Announce: &Announcement{More: &MoreAnnounced{Repositories: map[string]*Announcement{"a/b": own}}},
	})
	require.Contains(t, string(c.do(200, "GET", "/api/v1/registry/capabilities?repository=a/b", "").body), `"supported":false`, "to whom may not pull")
}

func TestPutManifestRefusals(t *testing.T) {
	c := start(t, Options{})
	there := c.push("a", "there")
	gone1, gone2 := digest.FromString("gone1"), digest.FromString("gone2")
	for _, tc := range []struct {
		name, ref, body, mediaType string
		status                     int
		code                       string
	}{
		{"other digest", digest.FromString("x").String(), image(there), imageType, 400, "DIGEST_INVALID"},
		{"no digest", "sha256:zz", image(there), imageType, 400, "DIGEST_INVALID"},
		{"colon", "a:b", image(there), imageType, 400, "DIGEST_INVALID"},
		{"bad tag", "-x", image(there), imageType, 400, "TAG_INVALID"},
		{"no JSON", "v1", "{", imageType, 400, "MANIFEST_INVALID"},
		{"media types differ", "v1", image(there), imgspecv1.MediaTypeImageIndex, 400, "MANIFEST_INVALID"},
		{"no media type", "v1", "{}", "", 400, "MANIFEST_INVALID"},
		{"too large", "v1", `"` + strings.Repeat("x", MaxManifest-1) + `"`, imageType, 413, "SIZE_INVALID"},
		{"blob missing", "v1", image(there, gone1), imageType, 400, "MANIFEST_BLOB_UNKNOWN"},
		{"no config", "v1", image(gone1, there), imageType, 400, "MANIFEST_BLOB_UNKNOWN"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := c.do(tc.status, "PUT", "/v2/a/manifests/"+tc.ref, tc.body, "Content-Type", tc.mediaType)
			require.Equal(t, []string{tc.code}, a.codes(t))
		})
	}
	a := c.do(400, "PUT", "/v2/a/manifests/v1", image(there, gone1, gone2, gone1), "Content-Type", imageType)
	errs := a.errors(t)
	require.Len(t, errs, 2)
	require.EqualValues(t, gone1, errs[0].Detail)
	require.EqualValues(t, gone2, errs[1].Detail)

	c.do(400, "PUT", "/v2/other/manifests/v1", image(there), "Content-Type", imageType)
	require.Equal(t, []string{"a"}, c.Repos())
	require.Empty(t, c.Manifests("a"))
	require.Len(t, c.History("a"), 1, "only the blob")
}

func TestPutManifestAccepts(t *testing.T) {
	c := start(t, Options{})
	config := c.push("a", "{}")
	m := `{"schemaVersion":2,"mediaType":"` + imageType + `","config":{"digest":"` + config.String() +
		`"},"layers":[{"digest":"` + digest.FromString("elsewhere").String() + `","urls":["https://example.com/x"]}]}`
	c.do(201, "PUT", "/v2/a/manifests/foreign", m, "Content-Type", imageType+"; charset=utf-8")
	_, mediaType, ok := c.Manifest("a", "foreign")
	require.True(t, ok)
	require.Equal(t, imageType, mediaType)

	c.do(201, "PUT", "/v2/a/manifests/"+digest.SHA512.FromString(m).String(), m) // media type of the document
	largest := m + strings.Repeat(" ", MaxManifest-len(m))
	c.do(201, "PUT", "/v2/a/manifests/large", largest, "Content-Type", imageType)
	require.Equal(t, []string{"foreign", "large"}, c.Tags("a"))
}

func TestImmutableTags(t *testing.T) {
	c := start(t, Options{ImmutableTags: true})
	config := c.push("a", "{}")
	m := image(config)
	c.do(201, "PUT", "/v2/a/manifests/v1", m, "Content-Type", imageType)
	c.do(201, "PUT", "/v2/a/manifests/v1", m, "Content-Type", imageType)
	a := c.do(400, "PUT", "/v2/a/manifests/v1", m+" ", "Content-Type", imageType)
	require.Equal(t, []string{"TAG_INVALID"}, a.codes(t))
	c.do(201, "PUT", "/v2/a/manifests/"+digest.FromString(m+" ").String(), m+" ", "Content-Type", imageType)
}

func TestGetManifest(t *testing.T) {
	c := start(t, Options{HonourAccept: true})
	c.PutManifest("a", "v1", imageType, []byte("{}"))
	c.do(200, "GET", "/v2/a/manifests/v1", "")
	c.do(200, "GET", "/v2/a/manifests/v1", "", "Accept", "text/plain, "+imageType)
	c.do(200, "HEAD", "/v2/a/manifests/v1", "", "Accept", "*/*")
	a := c.do(404, "GET", "/v2/a/manifests/v1", "", "Accept", imgspecv1.MediaTypeImageIndex)
	require.Equal(t, []string{"MANIFEST_UNKNOWN"}, a.codes(t))
	c.do(404, "HEAD", "/v2/a/manifests/v2", "")
	c.do(404, "GET", "/v2/b/manifests/v1", "")
	c.do(405, "POST", "/v2/a/manifests/v1", "")
}

func TestDelete(t *testing.T) {
	c := start(t, Options{})
	blob := c.push("a", "x")
	d := c.PutManifest("a", "v1", imageType, []byte("{}"))
	c.PutManifest("a", "v2", imageType, []byte("{}"))
	before := c.Snapshot("a")
	require.Equal(t, "blob "+blob.String()+" 1\nmanifest "+d.String()+" 2 "+imageType+"\ntag v1 "+d.String()+"\ntag v2 "+
		d.String()+"\n", before)

	c.do(202, "DELETE", "/v2/a/manifests/v1", "")
	c.do(404, "DELETE", "/v2/a/manifests/v1", "")
	require.Equal(t, []string{"v2"}, c.Tags("a"))
	c.do(202, "DELETE", "/v2/a/manifests/"+d.String(), "")
	c.do(404, "DELETE", "/v2/a/manifests/"+d.String(), "")
	require.Empty(t, c.Tags("a"))
	c.do(202, "DELETE", "/v2/a/blobs/"+blob.String(), "")
	c.do(404, "DELETE", "/v2/a/blobs/"+blob.String(), "")
	require.Empty(t, c.Snapshot("a"))
	require.NotEqual(t, before, c.Snapshot("a"))
	var kinds []EventKind
	for _, e := range c.History("a") {
		kinds = append(kinds, e.Kind)
	}
	require.Equal(t, []EventKind{
		EventBlob, EventManifest, EventTag, EventManifest, EventTag,
		EventDeleteTag, EventDeleteTag, EventDeleteManifest, EventDeleteBlob,
	}, kinds)
}

func TestBlobs(t *testing.T) {
	c := start(t, Options{})
	d := c.PutBlob("a", []byte("0123456789"))
	path := "/v2/a/blobs/" + d.String()
	a := c.do(200, "GET", path, "")
	require.Equal(t, "0123456789", string(a.body))
	require.Equal(t, d.String(), a.Header.Get("Docker-Content-Digest"))
	require.Equal(t, "bytes", a.Header.Get("Accept-Ranges"))
	require.EqualValues(t, 10, c.do(200, "HEAD", path, "").ContentLength)

	for spec, want := range map[string]string{
		"bytes=0-": "0123456789", "bytes=3-": "3456789", "bytes=3-4": "34", "bytes=9-100": "9", "bytes=-2": "89", "bytes=-20": "0123456789",
	} {
		a = c.do(206, "GET", path, "", "Range", spec)
		require.Equal(t, want, string(a.body), spec)
	}
	require.Equal(t, "bytes 3-4/10", c.do(206, "GET", path, "", "Range", "bytes=3-4").Header.Get("Content-Range"))
	for _, spec := range []string{"bytes=10-", "bytes=5-4", "bytes=-0", "lines=1-2", "bytes=0-1,4-5", "bytes=a-b", "bytes=-"} {
		a = c.do(416, "GET", path, "", "Range", spec)
		require.Equal(t, "bytes */10", a.Header.Get("Content-Range"))
	}
	gone := digest.FromString("gone").String()
	require.Equal(t, []string{"BLOB_UNKNOWN"}, c.do(404, "GET", "/v2/a/blobs/"+gone, "").codes(t))
	c.do(404, "HEAD", "/v2/a/blobs/"+gone, "")
	require.Equal(t, []string{"DIGEST_INVALID"}, c.do(400, "GET", "/v2/a/blobs/sha256:1", "").codes(t))
	c.do(405, "PUT", path, "")

	empty := c.PutBlob("a", nil)
	require.Empty(t, c.do(200, "GET", "/v2/a/blobs/"+empty.String(), "").body)
	c.do(416, "GET", "/v2/a/blobs/"+empty.String(), "", "Range", "bytes=-1")
}

func TestRangeForms(t *testing.T) {
	for form, want := range map[RangeForm]struct {
		status       int
		body, stated string
	}{
		RangeComplete:    {206, "345", "bytes 3-5/10"},
		RangeFirst:       {206, "012", "bytes 0-2/10"},
		RangeFalse:       {206, "012", "bytes 3-5/10"},
		RangeCoded:       {206, "345", "bytes 3-5/10"},
		RangeWithoutSize: {206, "345", "bytes 3-5/*"},
		RangeMovingTag:   {206, "345", "bytes 3-5/10"},
		RangeWeakTag:     {206, "345", "bytes 3-5/10"},
		RangeRefused:     {416, "", "bytes */10"},
	} {
		c := start(t, Options{Ranges: form})
		path := "/v2/a/blobs/" + c.PutBlob("a", []byte("0123456789")).String()
		a := c.do(want.status, "GET", path, "", "Range", "bytes=3-5")
		require.Equal(t, want.stated, a.Header.Get("Content-Range"))
		require.Equal(t, form == RangeCoded, a.Header.Get("Content-Encoding") != "")
		if form == RangeRefused {
			continue
		}
		require.Equal(t, want.body, string(a.body))
		again := map[bool]int{true: 200, false: 206}[form == RangeMovingTag || form == RangeWeakTag]
		c.do(again, "GET", path, "", "Range", "bytes=3-5", "If-Range", a.Header.Get("ETag"))
		c.do(200, "GET", path, "", "Range", "bytes=3-5", "If-Range", `"other"`)
	}
}

func TestLyingBlobs(t *testing.T) {
	c := start(t, Options{})
	wrong := Bytes([]byte("wrong"))
	wrong.Digest = digest.FromString("right")
	c.PutContent("a", wrong)
	require.Equal(t, "wrong", string(c.do(200, "GET", "/v2/a/blobs/"+wrong.Digest.String(), "").body))

	short := Bytes([]byte("short"))
	short.Size = 100
	c.PutContent("a", short)
	a, err := c.try("GET", "/v2/a/blobs/"+short.Digest.String(), nil)
	require.NoError(t, err)
	require.EqualValues(t, 100, a.ContentLength)
	require.ErrorIs(t, a.err, io.ErrUnexpectedEOF)
	require.Equal(t, "short", string(a.body))
}

func TestQuirksOfReading(t *testing.T) {
	c := start(t, Options{Ranges: RangeIgnored, RefuseHEAD: true})
	d := c.PutBlob("a", []byte("0123456789"))
	c.PutManifest("a", "v1", imageType, []byte("{}"))
	a := c.do(200, "GET", "/v2/a/blobs/"+d.String(), "", "Range", "bytes=3-")
	require.Len(t, a.body, 10)
	require.Empty(t, a.Header.Get("Accept-Ranges"))
	c.do(405, "HEAD", "/v2/a/blobs/"+d.String(), "")
	c.do(405, "HEAD", "/v2/a/manifests/v1", "")
}

func TestUploadInOneRequest(t *testing.T) {
	d := digest.FromString("x")
	c := start(t, Options{})
	a := c.do(201, "POST", "/v2/a/blobs/uploads/?digest="+d.String(), "x")
	require.Equal(t, d.String(), a.Header.Get("Docker-Content-Digest"))
	require.Equal(t, []digest.Digest{d}, c.Blobs("a"))
	a = c.do(400, "POST", "/v2/a/blobs/uploads/?digest="+d.String(), "y")
	require.Equal(t, []string{"DIGEST_INVALID"}, a.codes(t))
	c.do(400, "POST", "/v2/a/blobs/uploads/?digest=x", "y")

	c = start(t, Options{NoMonolithicPost: true})
	a = c.do(202, "POST", "/v2/a/blobs/uploads/?digest="+d.String(), "x")
	require.Empty(t, c.Blobs("a"))
	c.do(201, "PUT", addQuery(a.Header.Get("Location"), "digest", d.String()), "x")
}

func TestUploadInChunks(t *testing.T) {
	c := start(t, Options{})
	d := digest.FromString("0123456789")
	a := c.do(202, "POST", "/v2/a/blobs/uploads/", "")
	require.Equal(t, "0-0", a.Header.Get("Range"))
	loc := a.Header.Get("Location")
	a = c.do(202, "PATCH", loc, "0123", "Content-Range", "0-3")
	require.Equal(t, "0-3", a.Header.Get("Range"))
	loc = a.Header.Get("Location")
	a = c.do(416, "PATCH", loc, "0123", "Content-Range", "0-3")
	require.Equal(t, "0-3", a.Header.Get("Range"))
	c.do(416, "PATCH", loc, "45", "Content-Range", "4-9")
	require.Equal(t, "0-3", c.do(204, "GET", loc, "").Header.Get("Range"))
	c.do(202, "PATCH", loc, "45")
	c.do(400, "PUT", loc, "") // no digest
	c.do(201, "PUT", addQuery(loc, "digest", d.String()), "6789", "Content-Range", "6-9")
	b, ok := c.Blob("a", d)
	require.True(t, ok)
	require.Equal(t, "0123456789", string(b))
	c.do(404, "GET", loc, "")

	// a PUT without body, another algorithm
	d = digest.SHA512.FromString("0123")
	loc = c.do(202, "POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
	c.do(202, "PATCH", loc, "0123")
	c.do(201, "PUT", addQuery(loc, "digest", d.String()), "")
	d = digest.SHA512.FromString("45")
	loc = c.do(202, "POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
	c.do(201, "PUT", addQuery(loc, "digest", d.String()), "45")
}

func TestUploadErrors(t *testing.T) {
	c := start(t, Options{})
	loc := c.do(202, "POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
	unknown := []string{"BLOB_UPLOAD_UNKNOWN"}
	require.Equal(t, unknown, c.do(404, "PATCH", addQuery(loc, "_state", "x"), "x").codes(t))
	require.Equal(t, unknown, c.do(404, "PATCH", strings.Replace(loc, "/v2/a/", "/v2/b/", 1), "x").codes(t))
	require.Equal(t, unknown, c.do(404, "PATCH", "/v2/a/blobs/uploads/x", "x").codes(t))
	c.do(405, "POST", loc, "")
	c.do(405, "GET", "/v2/a/blobs/uploads/", "")

	a := c.do(400, "PUT", addQuery(loc, "digest", digest.FromString("y").String()), "x")
	require.Equal(t, []string{"DIGEST_INVALID"}, a.codes(t))
	c.do(404, "GET", loc, "") // a wrong digest ends the upload

	loc = c.do(202, "POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
	c.do(204, "DELETE", loc, "")
	c.do(404, "DELETE", loc, "")
	require.Empty(t, c.Blobs("a"))
}

// brokenReader breaks off after some bytes.
type brokenReader struct{ r io.Reader }

func (b brokenReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		err = io.ErrClosedPipe
	}
	return n, err
}

func TestUploadBrokenOffByClient(t *testing.T) {
	c := start(t, Options{})
	whole := strings.Repeat("0123456789", 10_000)
	d := digest.FromString(whole)
	loc := c.do(202, "POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
	_, err := c.try("PUT", addQuery(loc, "digest", d.String()), brokenReader{strings.NewReader(whole[:50_000])})
	require.Error(t, err)
	require.Empty(t, c.Blobs("a"))
	// What arrived is kept, and the upload can go on: once the server has noticed.
	var last int
	require.Eventually(t, func() bool {
		a, err := c.try("GET", loc, nil)
		if err != nil || a.StatusCode != 204 {
			return false
		}
		last, err = strconv.Atoi(strings.TrimPrefix(a.Header.Get("Range"), "0-"))
		return err == nil && last > 0
	}, waitFor, tick)
	require.Less(t, last, 50_000)
	c.do(201, "PUT", addQuery(loc, "digest", d.String()), whole[last+1:],
		"Content-Range", fmt.Sprintf("%d-%d", last+1, len(whole)-1))
}

func TestOneRequestAtATimePerUpload(t *testing.T) {
	c := start(t, Options{})
	loc := c.do(202, "POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
	pr, pw := io.Pipe()
	done := make(chan int)
	go func() {
		a, err := c.try("PATCH", loc, pr)
		if err != nil {
			done <- 0
			return
		}
		done <- a.StatusCode
	}()
	_, err := pw.Write([]byte("x"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		a, err := c.try("GET", loc, nil)
		return err == nil && a.StatusCode == 409
	}, waitFor, tick)
	c.push("a", "other") // nobody else has to wait
	require.NoError(t, pw.Close())
	require.Equal(t, 202, <-done)
}

func TestMount(t *testing.T) {
	c := start(t, Options{})
	d := c.PutBlob("a", []byte("x"))
	gone := digest.FromString("gone")
	mount := func(d digest.Digest, from string) string {
		return "/v2/b/blobs/uploads/?mount=" + d.String() + "&from=" + from
	}
	c.do(202, "POST", mount(gone, "a"), "")
	c.do(202, "POST", mount(d, "nowhere"), "")
	c.do(202, "POST", mount(d, "b"), "") // itself: not there
	c.do(202, "POST", "/v2/b/blobs/uploads/?mount="+d.String(), "")
	c.do(400, "POST", "/v2/b/blobs/uploads/?mount=x&from=a", "")
	require.Empty(t, c.Blobs("b"))
	a := c.do(201, "POST", mount(d, "a"), "")
	require.Equal(t, d.String(), a.Header.Get("Docker-Content-Digest"))
	c.do(201, "POST", mount(d, "b"), "") // itself: there
	h := c.History("b")
	require.Len(t, h, 2)
	require.True(t, h[0].Changed)
	require.False(t, h[1].Changed)

	c = start(t, Options{IgnoreMounts: true})
	d = c.PutBlob("a", []byte("x"))
	loc := c.do(202, "POST", mount(d, "a"), "").Header.Get("Location")
	c.do(201, "PUT", addQuery(loc, "digest", d.String()), "x")
}

func TestLocationForms(t *testing.T) {
	c := start(t, Options{Location: LocationRelative})
	loc := c.do(202, "POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
	require.True(t, strings.HasPrefix(loc, "/v2/a/blobs/uploads/"), loc)
	d := digest.FromString("x")
	c.do(201, "PUT", addQuery(loc, "digest", d.String()), "x")

	for _, tls := range []bool{false, true} {
		c = start(t, Options{Location: LocationSecond, TLS: tls, Auth: &Auth{Accounts: []Account{{Username: "u", Password: "p"}}}})
		basic := []string{"Authorization", "Basic dTpw"}
		loc = c.do(202, "POST", "/v2/a/blobs/uploads/", "", basic...).Header.Get("Location")
		require.True(t, strings.HasPrefix(loc, c.scheme()+"://"+c.SecondHost()+"/v2/a/blobs/uploads/"), loc)
		require.NotEqual(t, c.Host(), c.SecondHost())
		c.do(202, "PATCH", loc, "x") // without credentials
		c.do(201, "PUT", addQuery(loc, "digest", d.String()), "")
		c.do(404, "GET", c.scheme()+"://"+c.SecondHost()+"/v2/", "")
		require.Equal(t, 3, c.Count(func(q Request) bool { return q.Second && q.Authorization() == "" }))
	}
}

func TestRedirectBlobs(t *testing.T) {
	c := start(t, Options{RedirectBlobs: true, Auth: &Auth{Accounts: []Account{{Username: "u", Password: "p"}}}})
	d := c.PutBlob("a/b", []byte("0123"))
	basic := []string{"Authorization", "Basic dTpw"}
	c.do(401, "GET", "/v2/a/b/blobs/"+d.String(), "")
	c.do(200, "HEAD", "/v2/a/b/blobs/"+d.String(), "", basic...)
	loc := c.do(307, "GET", "/v2/a/b/blobs/"+d.String(), "", basic...).Header.Get("Location")
	require.Contains(t, loc, "http://"+c.SecondHost()+"/")
	require.Equal(t, "0123", string(c.do(200, "GET", loc, "").body))
	require.Equal(t, "23", string(c.do(206, "GET", loc, "", "Range", "bytes=2-").body))
	c.do(400, "GET", loc, "", basic...)
	c.do(404, "GET", "http://"+c.SecondHost()+"/storage/a/c/"+d.String(), "")
	q := c.Requests()
	require.Equal(t, KindBlob, q[len(q)-2].Kind)
	require.Equal(t, "a/b", q[len(q)-2].Repo)
	require.True(t, q[len(q)-2].Second)
}

func TestDiscardBlobs(t *testing.T) {
	c := start(t, Options{DiscardBlobs: true})
	d := c.push("a", "0123")
	require.EqualValues(t, 4, c.do(200, "HEAD", "/v2/a/blobs/"+d.String(), "").ContentLength)
	c.do(500, "GET", "/v2/a/blobs/"+d.String(), "")
	_, ok := c.Blob("a", d)
	require.False(t, ok)
	content, ok := c.Content("a", d)
	require.True(t, ok)
	require.EqualValues(t, 4, content.Size)
	_, err := io.ReadAll(content.Reader())
	require.ErrorContains(t, err, "not kept")
	loc := c.do(202, "POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
	c.do(400, "PUT", addQuery(loc, "digest", d.String()), "0124")

	long := digest.SHA512.FromString("0123")
	loc = c.do(202, "POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
	c.do(201, "PUT", addQuery(loc, "digest", long.String()), "0123")

	kept := c.PutBlob("b", []byte("kept"))
	require.Equal(t, "kept", string(c.do(200, "GET", "/v2/b/blobs/"+kept.String(), "").body))
	c.PutBlob("a", []byte("0123")) // now there is content
	require.Equal(t, "0123", string(c.do(200, "GET", "/v2/a/blobs/"+d.String(), "").body))
}

func TestSeeded(t *testing.T) {
	const size = 3*seededPage + 100
	s := Seeded(7, size)
	whole, err := io.ReadAll(s.Reader())
	require.NoError(t, err)
	require.Len(t, whole, size)
	require.Equal(t, digest.FromBytes(whole), s.Digest)
	for _, off := range []int64{0, 1, 15, 16, 17, seededPage - 1, seededPage, 2*seededPage + 5, size - 1} {
		part, err := io.ReadAll(io.NewSectionReader(s.Reader(), off, size-off))
		require.NoError(t, err)
		require.True(t, bytes.Equal(whole[off:], part), off)
		var one [1]byte
		_, err = s.Reader().ReadAt(one[:], off)
		require.NoError(t, err)
		require.Equal(t, whole[off], one[0])
	}
	_, err = s.at.ReadAt(make([]byte, 2), size-1)
	require.Equal(t, io.EOF, err)
	_, err = s.at.ReadAt(make([]byte, 2), -1)
	require.Error(t, err)
	require.Equal(t, s.Digest, Seeded(7, size).Digest)
	require.NotEqual(t, s.Digest, Seeded(8, size).Digest)
	require.Equal(t, digest.FromString(""), Seeded(1, 0).Digest)

	c := start(t, Options{})
	c.PutContent("a", s)
	require.True(t, bytes.Equal(whole, c.do(200, "GET", "/v2/a/blobs/"+s.Digest.String(), "").body))
}

func TestTags(t *testing.T) {
	c := start(t, Options{PageSize: 2})
	require.Equal(t, []string{"NAME_UNKNOWN"}, c.do(404, "GET", "/v2/a/tags/list", "").codes(t))
	for _, tag := range []string{"d", "b", "a", "c", "e"} {
		c.PutManifest("a", tag, imageType, []byte("{}"))
	}
	var pages []string
	next := "/v2/a/tags/list"
	for next != "" {
		a := c.do(200, "GET", next, "")
		pages = append(pages, string(a.body))
		next, _, _ = strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "<"), ">")
	}
	require.Equal(t, []string{
		`{"name":"a","tags":["a","b"]}`, `{"name":"a","tags":["c","d"]}`, `{"name":"a","tags":["e"]}`,
	}, pages)
	require.JSONEq(t, `{"name":"a","tags":["c"]}`, string(c.do(200, "GET", "/v2/a/tags/list?n=1&last=bb", "").body))
	require.JSONEq(t, `{"name":"a","tags":[]}`, string(c.do(200, "GET", "/v2/a/tags/list?last=e", "").body))
	c.do(405, "POST", "/v2/a/tags/list", "")
}

func TestReferrers(t *testing.T) {
	c := start(t, Options{PageSize: 1})
	subject := digest.FromString("subject")
	config := c.push("a", "{}")
	put := func(artifactType, annotation string) digest.Digest {
		m := `{"schemaVersion":2,"artifactType":"` + artifactType + `","config":{"mediaType":"config/type","digest":"` + config.String() +
			`"},"subject":{"digest":"` + subject.String() + `"},"annotations":{"k":"` + annotation + `"}}`
		a := c.do(201, "PUT", "/v2/a/manifests/"+digest.FromString(m).String(), m, "Content-Type", imageType)
		require.Equal(t, subject.String(), a.Header.Get("OCI-Subject"))
		return digest.FromString(m)
	}
	one, two := put("x/y", "1"), put("", "2")
	found := map[digest.Digest]imgspecv1.Descriptor{}
	next := "/v2/a/referrers/" + subject.String()
	for pages := 0; next != ""; pages++ {
		a := c.do(200, "GET", next, "")
		require.Equal(t, imgspecv1.MediaTypeImageIndex, a.Header.Get("Content-Type"))
		var index imgspecv1.Index
		unmarshal(t, a.body, &index)
		require.Len(t, index.Manifests, 1)
		found[index.Manifests[0].Digest] = index.Manifests[0]
		next, _, _ = strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "<"), ">")
		require.Less(t, pages, 2)
	}
	require.Len(t, found, 2)
	require.Equal(t, "x/y", found[one].ArtifactType)
	require.Equal(t, "config/type", found[two].ArtifactType)
	require.Equal(t, map[string]string{"k": "2"}, found[two].Annotations)
	b, _, _ := c.Manifest("a", two.String())
	require.EqualValues(t, len(b), found[two].Size)

	a := c.do(200, "GET", "/v2/a/referrers/"+subject.String()+"?artifactType=x%2Fy", "")
	require.Equal(t, "artifactType", a.Header.Get("OCI-Filters-Applied"))
	require.Contains(t, string(a.body), one.String())
	require.NotContains(t, string(a.body), two.String())
	a = c.do(200, "GET", "/v2/none/referrers/"+subject.String(), "")
	require.Contains(t, string(a.body), `"manifests":[]`)
	c.do(400, "GET", "/v2/a/referrers/x", "")
	c.do(405, "PUT", "/v2/a/referrers/"+subject.String(), "")

	for form, says := range map[ReferrersForm]string{
		ReferrersJSON: `"artifactType":"x/y"`, ReferrersBare: `"annotations":null`, ReferrersOfConfigs: `"artifactType":"config/type"`,
		ReferrersStale: `"manifests":[]`,
	} {
		c = start(t, Options{Referrers: form})
		config = c.push("a", "{}")
		put("x/y", "1")
		a = c.do(200, "GET", "/v2/a/referrers/"+subject.String()+"?artifactType=x%2Fy", "")
		require.Contains(t, string(a.body), says)
		require.Equal(t, form == ReferrersOfConfigs || form == ReferrersStale, a.Header.Get("Content-Type") == imgspecv1.MediaTypeImageIndex)
	}

	c = start(t, Options{NoReferrers: true})
	c.do(404, "GET", "/v2/a/referrers/"+subject.String(), "")
	m := `{"subject":{"digest":"` + subject.String() + `"}}`
	require.Empty(t, c.do(201, "PUT", "/v2/a/manifests/v1", m, "Content-Type", imageType).Header.Get("OCI-Subject"))
}

// TestSubjects are wanted first, and referrers tags are taken for digests, as by GitLab.
func TestSubjects(t *testing.T) {
	c := start(t, Options{RequireSubjects: true, DigestTags: true, NoDockerSubjects: true, TypePolicy: GitLabTypes("x/y")})
	image := `{"schemaVersion":2}`
	put := func(status int, artifactType string, subject digest.Digest, says string) {
		m := `{"artifactType":"` + artifactType + `","subject":{"digest":"` + subject.String() + `"}}`
		require.Contains(t, string(c.do(status, "PUT", "/v2/a/manifests/"+digest.FromString(m).String(), m, "Content-Type", imageType).body), says)
	}
	d := digest.FromString(image)
	put(400, "x/y", d, d.String())
	put(400, "a/b", d, "unknown media type: a/b")
	c.do(201, "PUT", "/v2/a/manifests/"+d.String(), image, "Content-Type", imageType)
	put(201, "x/y", d, "")
	require.Equal(t, image, string(c.do(200, "GET", "/v2/a/manifests/sha256-"+d.Encoded(), "").body))
	c.do(404, "GET", "/v2/a/manifests/sha256-"+d.Encoded()[:63], "")
	c.do(404, "GET", "/v2/a/manifests/sha256-"+d.Encoded()+".sig", "")
	c.Registry.PutManifest("a", "docker", "application/vnd.docker.distribution.manifest.v2+json", []byte("{}"))
	put(400, "x/y", digest.FromString("{}"), "no OCI manifest")
}

// TestTypes are those of artifacts, of configs and of layers, as registries know them.
func TestTypes(t *testing.T) {
	const (
		image, empty = imgspecv1.MediaTypeImageConfig, imgspecv1.MediaTypeEmptyJSON
		tar, ours    = imgspecv1.MediaTypeImageLayer, "application/vnd.ours"
	)
	artifact, plain := Types{Artifact: ours, Config: empty, Layers: []string{ours}}, Types{Config: image, Layers: []string{tar}}
	referrer, list := Types{Config: image, Layers: []string{tar}, Subject: true}, Types{}
	for name, c := range map[string]struct {
		policy  TypePolicy
		refused []Types
		taken   []Types
		says    string
	}{
		"GitLab":       {GitLabTypes(), []Types{artifact, {Config: ours}, {Config: empty, Layers: []string{ours}}}, []Types{plain, referrer, list, {Config: empty}}, "unknown media type: " + ours},
		"GitLab, ours": {GitLabTypes(ours), nil, []Types{artifact, plain}, ""},
		"Quay":         {QuayTypes(nil), []Types{{Config: ours}, {Config: image, Layers: []string{tar, ours}}}, []Types{plain, referrer, list, {Artifact: ours, Config: image}}, "'" + ours + "' is not one of"},
		"Quay, ours":   {QuayTypes(map[string][]string{empty: {ours}}), []Types{{Config: image, Layers: []string{ours}}}, []Types{artifact, plain}, ours},
		"ECR":          {ECRTypes, []Types{artifact, referrer}, []Types{plain, list}, "Invalid JSON syntax"},
	} {
		for _, types := range c.refused {
			says, err := json.Marshal(c.policy(types).Errors)
			require.NoError(t, err)
			require.Contains(t, string(says), c.says, "%s, %+v", name, types)
		}
		for _, types := range c.taken {
			require.Zero(t, c.policy(types).Status, "%s, %+v", name, types)
		}
	}
}
