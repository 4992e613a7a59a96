//go:build !linux

package transport

import "errors"

// exchange makes each of two paths name what the other named, in one step. It cannot here.
func exchange(_, _ string) error { return errors.ErrUnsupported }
