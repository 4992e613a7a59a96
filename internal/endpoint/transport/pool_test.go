package transport

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
)

// countedSource counts how often it was closed.
type countedSource struct {
	types.ImageSource
	closed int
}

func (s *countedSource) Close() error {
	s.closed++
	return nil
}

func TestPoolClosesEverySourceOnce(t *testing.T) {
	var all []*countedSource
	make := func(context.Context) (types.ImageSource, error) {
		src := &countedSource{}
		all = append(all, src)
		return src, nil
	}
	first, err := make(t.Context())
	require.NoError(t, err)
	p := newPool(first, false, make)
	var releases []func()
	for range maxIdle + 2 {
		_, release, err := p.get(t.Context())
		require.NoError(t, err)
		releases = append(releases, release)
	}
	assert.Len(t, all, maxIdle+2)
	for _, release := range releases[1:] {
		release()
	}
	assert.Equal(t, 1, all[maxIdle+1].closed, "more than are kept")
	require.NoError(t, p.close())
	assert.Zero(t, all[0].closed, "still in use")
	releases[0]()
	require.NoError(t, p.close())
	for i, src := range all {
		assert.Equal(t, 1, src.closed, i)
	}
}

func TestPoolWaitsWhereNoneCanBeOpened(t *testing.T) {
	broken := errors.New("broken")
	for name, open := range map[string]func(context.Context) (types.ImageSource, error){
		"never": nil,
		"fails": func(context.Context) (types.ImageSource, error) { return nil, broken },
	} {
		p := newPool(&countedSource{}, false, open)
		first, release, err := p.get(t.Context())
		require.NoError(t, err, name)
		got := make(chan types.ImageSource, 1)
		go func() {
			src, release, err := p.get(t.Context())
			assert.NoError(t, err)
			release()
			got <- src
		}()
		release()
		assert.Same(t, first, <-got, name)
		require.NoError(t, p.close())
	}
}

func TestSharedPool(t *testing.T) {
	src := &countedSource{}
	p := newPool(src, true, nil)
	for range 3 {
		got, release, err := p.get(t.Context())
		require.NoError(t, err)
		assert.Same(t, src, got)
		release()
	}
	require.NoError(t, p.close())
	require.NoError(t, p.close())
	assert.Equal(t, 1, src.closed)
}
