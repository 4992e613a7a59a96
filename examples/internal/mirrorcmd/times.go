package mirrorcmd

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/copy"
)

// times are the flags that say how long registries may take, and how much is left to others.
type times struct {
	stall, blob, answer time.Duration
	minRemaining        uint
	noRanges            bool
}

func (t *times) define(flags *pflag.FlagSet) {
	flags.DurationVar(&t.stall, "stall-timeout", copy.DefaultStallTimeout, "how long no byte may move in the middle of a transfer: `DURATION`")
	flags.DurationVar(&t.blob, "blob-timeout", copy.DefaultBlobTimeout, "how long the first byte of a blob may take, and the answer to the end of its upload: `DURATION`")
	flags.DurationVar(&t.answer, "answer-timeout", copy.DefaultAnswerTimeout, "how long any other answer of a registry may take: `DURATION`")
	flags.Var(optionalCount{&t.minRemaining}, "min-remaining", "how many pulls are to remain of those that a registry allows, if it says so: nothing more is read from it then")
	flags.BoolVar(&t.noRanges, "no-ranges", false, "read each blob over one connection, also large ones that several would bring sooner")
}

func (t *times) check() error {
	for name, d := range map[string]time.Duration{"stall-timeout": t.stall, "blob-timeout": t.blob, "answer-timeout": t.answer} {
		if d <= 0 {
			return misusef("--%s is %s: write a duration above zero, such as 90s or 10m", name, d)
		}
	}
	return nil
}

// options are what a Copier has to know.
func (t *times) options() copy.CopierOptions {
	return copy.CopierOptions{StallTimeout: t.stall, BlobTimeout: t.blob, AnswerTimeout: t.answer, MinRemaining: t.minRemaining, NoRanges: t.noRanges}
}

// limits are what a Copier has to know, once the flags were checked.
func (e *environment) limits(a *access) copy.CopierOptions {
	options := a.times.options()
	options.ChunkSize, options.ResumeDir = a.uploads.chunk, a.uploads.resumeDir
	options.NoSync, options.HardLinks, options.TrustSource = a.layouts.noSync, a.layouts.hardLinks, a.layouts.trustSource
	options.Clock, options.Cache, options.RegistryContext = e.clock, a.cache, a.registryContext
	return options
}

// timeFlags are the flags behind the options that limit times.
var timeFlags = map[string]string{"StallTimeout": "--stall-timeout", "BlobTimeout": "--blob-timeout", "AnswerTimeout": "--answer-timeout"}
