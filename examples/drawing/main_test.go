package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

const drawing = "../../docs/images/actions.svg"

// TestDrawingIsCurrent compares the drawing of the README with what would be drawn now; make
// drawing writes it.
func TestDrawingIsCurrent(t *testing.T) {
	svg, err := draw()
	require.NoError(t, err)
	committed, err := os.ReadFile(drawing)
	require.NoError(t, err)
	assert.Equal(t, string(committed), string(svg))

	decoder := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		if _, err := decoder.Token(); err != nil {
			require.True(t, errors.Is(err, io.EOF), "it is well-formed XML: %v", err)
			break
		}
	}
}

// TestPanels holds what is drawn against what the actions promise.
func TestPanels(t *testing.T) {
	all, err := panels()
	require.NoError(t, err)
	require.Len(t, all, 3)
	source, keep, strip := all[0], all[1], all[2]
	assert.Equal(t, source.digest, keep.digest)
	assert.NotEqual(t, source.digest, strip.digest)
	assert.Len(t, source.listed(), len(platforms))
	assert.Len(t, keep.listed(), len(platforms))
	assert.Len(t, strip.listed(), wanted)
	for _, r := range strip.listed() {
		assert.True(t, r.there, r.platform)
	}
	for i, r := range keep.rows {
		assert.Equal(t, i < wanted, r.there, r.platform)
	}
}
