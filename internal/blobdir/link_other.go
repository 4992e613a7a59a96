//go:build !linux

package blobdir

import (
	"errors"
	"os"
)

func mayLink(*os.File) bool { return false }

func link(*os.File, string) error { return errors.ErrUnsupported }
