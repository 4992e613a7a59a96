package registry

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestMountFrom(t *testing.T) {
	isMount := func(q registrytest.Request) bool {
		return q.Method == http.MethodPost && strings.Contains(q.Query, "from=a%2Fsource")
	}
	for _, test := range []struct {
		name       string
		o          registrytest.Options
		wantReused bool
		wantBlobs  int // read from the source
	}{
		{"mounted", registrytest.Options{}, true, 0},
		{"ignored", registrytest.Options{IgnoreMounts: true}, false, 5},
		{"refused", registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
			if strings.Contains(req.URL.RawQuery, "from=a%2Fsource") {
				return registrytest.Fail(403, "DENIED", "")
			}
			return registrytest.Answer{}
		}}, false, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := registrytest.Start(t, test.o)
			im := newImage(t, 5, 1000, r, "a/source")
			sys := insecure(t)
			s := openSource(t, r.Host()+"/a/source:tag", sys, nil)
			d := openDestination(t, r.Host()+"/b/copy:tag", sys, nil)
			d.MountFrom(s)
			for _, b := range im.blobs {
				result, err := d.PutBlob(context.Background(), b, opener(s, b))
				require.NoError(t, err)
				assert.Equal(t, test.wantReused, result.Reused)
			}
			require.NoError(t, d.PutTop(context.Background(), s.Top(), nil))
			requireImage(t, r, "b/copy", im)
			assert.Equal(t, test.wantBlobs, r.Count(registrytest.Is("GET", registrytest.KindBlob)))
			if !test.wantReused {
				assert.Equal(t, 1, r.Count(isMount), "it is asked once")
			}
		})
	}
}

func TestMountFromElsewhere(t *testing.T) {
	from, to := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 1000, from, "a")
	sys := insecure(t)
	s := openSource(t, from.Host()+"/a:tag", sys, nil)
	d := openDestination(t, to.Host()+"/b:tag", sys, nil)
	d.MountFrom(s)
	mustCopy(t, s, d, im)
	assert.Zero(t, to.Count(func(q registrytest.Request) bool { return strings.Contains(q.Query, "from=a&") }))
}

// A registry that ignores mounts is found out where that matters: in a repository that has
// something already. From then on existence is asked first.
func TestIgnoredMountsAreNoticed(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{IgnoreMounts: true})
	im := newImage(t, 8, 1000, r, "a")
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), nil)
	_, err := d.Top(ctx)
	require.NoError(t, err)
	r.ResetLog()
	for _, b := range im.blobs {
		result, err := d.PutBlob(ctx, b, held(nil))
		require.NoError(t, err)
		assert.True(t, result.Reused)
	}
	assert.Equal(t, 8, r.Count(registrytest.Is("HEAD", registrytest.KindBlob)))
	assert.Equal(t, 1, r.Count(registrytest.Is("POST", "")))
	assert.Zero(t, r.Count(registrytest.Is("PUT", "")))
}

func TestLargeBlobsAreAskedForFirst(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{DiscardBlobs: true})
	c := registrytest.Seeded(1, maxOverlapped+1)
	r.PutContent("a", c)
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), nil)
	result, err := d.PutBlob(context.Background(), endpoint.Blob{Digest: c.Digest, Size: c.Size}, nil)
	require.NoError(t, err)
	assert.True(t, result.Reused)
	assert.Equal(t, []string{"HEAD blob 200"}, summary(r))
}

// A registry that refuses to be asked about itself gets plain uploads, after existence checks.
func TestMountRefused(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if strings.Contains(req.URL.RawQuery, "mount=") {
			return registrytest.Fail(405, "UNSUPPORTED", "")
		}
		return registrytest.Answer{}
	}})
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), nil)
	for _, text := range []string{"one", "two"} {
		_, err := d.PutBlob(context.Background(), blobOf([]byte(text)), held([]byte(text)))
		require.NoError(t, err)
	}
	assert.Equal(t, []string{
		"POST upload 405", "POST upload 202", "PUT upload 201",
		"HEAD blob 404", "POST upload 202", "PUT upload 201",
	}, summary(r))
}
