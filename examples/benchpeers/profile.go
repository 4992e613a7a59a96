package main

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
)

// startProfile starts profiles that are written to path.cpu, path.trace, path.allocs, path.block
// and path.mutex by stop. It does nothing if path is "".
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	runtime.SetBlockProfileRate(1)
	runtime.SetMutexProfileFraction(1)
	runtime.MemProfileRate = 4 << 10
	cpu, err := os.Create(path + ".cpu")
	if err != nil {
		return nil, err
	}
	traced, err := os.Create(path + ".trace")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(pprof.StartCPUProfile(cpu), trace.Start(traced)); err != nil {
		return nil, err
	}
	return func() error {
		pprof.StopCPUProfile()
		trace.Stop()
		err := errors.Join(cpu.Close(), traced.Close())
		runtime.GC() // allocations are profiled up to the last collection
		for _, name := range []string{"allocs", "block", "mutex"} {
			err = errors.Join(err, writeProfile(path, name))
		}
		return err
	}, nil
}

func writeProfile(path, name string) error {
	f, err := os.Create(path + "." + name)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup(name).WriteTo(f, 0), f.Close())
}
