package mirrorcmd

import "github.com/spf13/pflag"

// uploads are the flags that say how blobs are sent to registries.
type uploads struct {
	chunk uint64
}

func (u *uploads) define(flags *pflag.FlagSet) {
	flags.Var(byteCount{&u.chunk}, "chunk-size",
		"how much of a blob one request may bring to a registry: `BYTES`, such as 64M, for proxies that end long requests (default: all)")
}
