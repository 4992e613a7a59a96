package signing

import (
	"os"
	"testing"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) {
	os.Exit(hermetictest.Main(func() int {
		var err error
		if keyDir, err = os.MkdirTemp("", "signing-*"); err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(keyDir) }()
		return m.Run()
	}))
}
