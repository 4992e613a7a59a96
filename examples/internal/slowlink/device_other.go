//go:build !linux

package slowlink

import (
	"fmt"
	"runtime"
)

func newNamespace(string) (*Namespace, error) {
	return nil, fmt.Errorf("network namespaces are Linux's, this is %s", runtime.GOOS)
}

// CongestionControl is "": there are no links.
func CongestionControl() string { return "" }
