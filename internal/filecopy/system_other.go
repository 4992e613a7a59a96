//go:build !linux

package filecopy

import (
	"errors"
	"os"
)

func clone(*os.File, *os.File) error { return errors.ErrUnsupported }

func copyRange(*os.File, int64, *os.File, int64, int) (int, error) { return 0, errors.ErrUnsupported }
