package tasks

import (
	"os"
	"testing"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }
