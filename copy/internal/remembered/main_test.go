package remembered

import (
	"os"
	"testing"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) {
	os.Exit(hermetictest.Main(func() int {
		if dir := os.Getenv(writerIn); dir != "" {
			return writeOn(dir, os.Getenv(writerNamed))
		}
		return m.Run()
	}))
}
