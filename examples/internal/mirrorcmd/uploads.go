package mirrorcmd

import (
	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/copy"
)

// uploads are the flags that say how blobs are sent to registries.
type uploads struct {
	chunk     uint64
	resumeDir string
}

func (u *uploads) define(flags *pflag.FlagSet) {
	flags.Var(byteCount{&u.chunk}, "chunk-size",
		"how much of a blob one request may bring to a registry: `BYTES`, such as 64M, for proxies that end long requests (default: all)")
	flags.StringVar(&u.resumeDir, "resume-dir", "",
		"`DIR` that remembers for a day how far uploads of large blobs have come, so that the next run goes on with them (default: none)")
}

// check makes the directory, and refuses one that somebody else may write to.
func (u *uploads) check() error {
	if u.resumeDir == "" {
		return nil
	}
	if err := copy.MakeResumeDir(u.resumeDir); err != nil {
		return misusef("--resume-dir: %w", err)
	}
	return nil
}
