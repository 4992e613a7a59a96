package registries

import (
	"os"
	"testing"

	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) {
	registry.LowerRanges(large/2, segment, 0)
	registry.LowerNotes(notes)
	os.Exit(hermetictest.Main(func() int { return copytest.Run(m) }))
}
