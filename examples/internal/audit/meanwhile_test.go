package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// A changing storage does something just before a directory is listed, or a file is read.
type changing struct {
	storagedriver.StorageDriver
	mu      sync.Mutex
	listed  map[string]func()              // by the end of the path; guarded by mu, removed when done
	altered map[string]func([]byte) []byte // by the end of the path; guarded by mu, removed when done
}

// take returns what is to be done about a path, and forgets it.
func take[F any](c *changing, todo map[string]F, path string) (do F, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for suffix, do := range todo {
		if strings.HasSuffix(path, suffix) {
			delete(todo, suffix)
			return do, true
		}
	}
	return do, false
}

func (c *changing) List(ctx context.Context, path string) ([]string, error) {
	if do, ok := take(c, c.listed, path); ok {
		do()
	}
	return c.StorageDriver.List(ctx, path)
}

func (c *changing) Reader(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	alter, ok := take(c, c.altered, path)
	if !ok {
		return c.StorageDriver.Reader(ctx, path, offset)
	}
	content, err := c.StorageDriver.GetContent(ctx, path)
	return io.NopCloser(bytes.NewReader(alter(content))), err
}

// TestWhatChangesMeanwhileIsNoDamage changes the storage in the middle of the first look.
func TestWhatChangesMeanwhileIsNoDamage(t *testing.T) {
	f := sample()
	served := startPeer(t)
	served.pushSample(f, "app")
	served.rebuild()
	type (
		listed  = map[string]func()
		altered = map[string]func([]byte) []byte
	)
	for _, c := range []struct {
		name   string
		change func(*peer) *changing
	}{
		{"a tag and its manifest are deleted", func(p *peer) *changing {
			return &changing{listed: listed{"app/_manifests/revisions": func() {
				p.remove(p.file("repositories/app/_manifests/tags/v1"))
				p.remove(p.link("app", "_manifests/revisions", f.Digest("outer")))
			}}}
		}},
		{"a child is pushed after the list was read", func(p *peer) *changing {
			child := p.link("app", "_manifests/revisions", f.Digest("arm64"))
			return &changing{listed: listed{
				"app/_manifests/revisions": func() { p.remove(child) },
				"app/_layers":              func() { p.write(child, f.Digest("arm64").String()) },
			}}
		}},
		{"an image is collected", func(p *peer) *changing {
			return &changing{listed: listed{"app/_layers": func() {
				p.remove(p.link("app", "_manifests/revisions", f.Digest("sig")))
				p.remove(p.data(f.Digest("sig")))
				p.remove(p.link("app", "_layers", f.Digest("sig.config")))
				p.remove(p.data(f.Digest("sig.config")))
				p.remove(p.file("repositories/app/_referrers"))
			}}}
		}},
		{"a disk hands out other bytes, once", func(*peer) *changing {
			return &changing{altered: altered{
				f.Digest("base").Encoded() + "/data": func(content []byte) []byte { return content[1:] },
			}}
		}},
		{"a disk hands out another manifest, once", func(*peer) *changing {
			return &changing{altered: altered{
				f.Digest("top").Encoded() + "/data": func([]byte) []byte { return []byte("{}") },
			}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := served.copy(t)
			p.age()
			change := c.change(p)
			p.store = p.store.WithDriver(func(d storagedriver.StorageDriver) storagedriver.StorageDriver {
				change.StorageDriver = d
				return change
			})
			for _, f := range p.check(Options{}).Findings {
				assert.Equal(t, Orphan, f.Kind, f)
			}
			assert.Empty(t, change.listed)
			assert.Empty(t, change.altered)
		})
	}
}

// TestBesideAServer checks a storage again and again while clients push and delete.
func TestBesideAServer(t *testing.T) {
	p := startPeer(t)
	const workers, pushes, looks = 2, 10, 4 // at least
	var (
		clients sync.WaitGroup
		turns   [workers]sync.RWMutex // each held for reading while a client works on one image
		checks  atomic.Int64
	)
	for worker := range workers {
		clients.Go(func() {
			for i := 0; i < pushes || checks.Load() < looks; i++ {
				turns[worker].RLock()
				err := pushAndDelete(t.Context(), p.client, fmt.Sprintf("w%d/%d", worker, i%2), i)
				turns[worker].RUnlock()
				if !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	untilTheNext := func(context.Context) error {
		for worker := range workers {
			turns[worker].Lock()   // the image that the client was at is complete
			turns[worker].Unlock() //nolint:staticcheck // and it goes on
		}
		return nil
	}
	for running := true; running; checks.Add(1) {
		select {
		case <-done:
			running = false
		default:
		}
		assert.Empty(t, p.check(Options{Wait: untilTheNext}).Findings)
	}
}

// pushAndDelete pushes an image in a list, and deletes what was pushed before.
func pushAndDelete(ctx context.Context, client *sparsetest.Client, repo string, i int) error {
	f := imagetest.New()
	f.Image("image", imagetest.Platform("linux/amd64"), imagetest.Annotation("i", fmt.Sprint(repo, i)))
	f.List("list", imagetest.Entries("image"))
	if err := client.PushImage(ctx, f, repo, "image"); err != nil {
		return err
	}
	answer, err := client.TryPut(ctx, f, repo, fmt.Sprint("v", i), "list")
	if err != nil || answer.Status != http.StatusCreated {
		return fmt.Errorf("%d %s: %w", answer.Status, answer.Body, err)
	}
	for _, ref := range []string{f.Digest("list").String(), f.Digest("image").String()} {
		answer, err := client.Try(ctx, http.MethodDelete, sparsetest.ManifestPath(repo, ref), nil, nil)
		if err != nil || answer.Status != http.StatusAccepted {
			return fmt.Errorf("DELETE: %d %s: %w", answer.Status, answer.Body, err)
		}
	}
	return nil
}
