// Command dist makes what a release consists of, from this checkout, with Go and nothing else.
//
//	dist build -version V [flags]        archives of the programs, their SBOMs, and SHA256SUMS
//	dist image -version V [flags]        an image of each program, as an OCI layout, from such archives
//	dist push  -version V [flags] NAME   push the image of a program, or some of its platforms, to NAME
//
// The same sources make the same bytes, whoever builds them in whatever directory, with the same
// version of Go. It is run in the directory examples.
//
//	build.go    the programs
//	archive.go  archives
//	contents.go what is in an archive beside the programs
//	sbom.go     of which modules a program consists
//	image.go    the images
//	push.go     how they leave
package main

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

// A release is what all that is made of one commit has in common.
type release struct {
	version  string
	revision string    // the commit; "" if that is not known
	time     time.Time // when it was committed: all files that are made are of that time
	checkout string    // of what it is built
	dir      string    // where what is made goes
	out      io.Writer // is told what was made
	level    int       // of compression, as gzip counts
}

// versions are the versions that a release may have: its files and a tag are named after it.
var versions = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("usage: dist build | image | push -version VERSION [flags]")
	}
	r := release{checkout: "..", out: out, level: gzip.BestCompression}
	flags := flag.NewFlagSet("dist "+args[0], flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&r.version, "version", "", "`VERSION` of the release")
	flags.StringVar(&r.dir, "dir", "../.bin/dist", "`DIRECTORY` of what is made")
	seconds := flags.Int64("time", 0, "when the release was committed, in `SECONDS` since 1970, as in SOURCE_DATE_EPOCH")
	flags.StringVar(&r.revision, "revision", "", "`HASH` of the commit")
	platforms := flags.String("platforms", "", "`OS/ARCH,...`; nothing means the usual ones, and all that the image has if it is pushed")
	program := flags.String("program", programs[0], "push the image of this `PROGRAM`: "+strings.Join(programs, " or "))
	insecure := flags.Bool("insecure", false, "push to a registry without TLS, or with a certificate of its own")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if !versions.MatchString(r.version) {
		return fmt.Errorf("-version %q cannot be part of a file's name and a tag", r.version)
	}
	if !slices.Contains(programs, *program) {
		return fmt.Errorf("-program %q is not %s", *program, strings.Join(programs, " or "))
	}
	r.time = time.Unix(*seconds, 0).UTC()
	chosen, err := parsePlatforms(cmp.Or(*platforms, usual[args[0]]))
	if err != nil {
		return err
	}
	switch operands := flags.Args(); {
	case args[0] == "build" && len(operands) == 0:
		return r.build(ctx, chosen)
	case args[0] == "image" && len(operands) == 0:
		return r.image(chosen)
	case args[0] == "push" && len(operands) == 1:
		return r.push(ctx, *program, operands[0], chosen, *insecure)
	}
	return fmt.Errorf("dist %s: no such command with %d arguments; see the comment of main.go", args[0], flags.NArg())
}

// A platform is what a program runs on.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }

// usual are the platforms that a command has if it is told none. Images are for Linux: one for
// Windows would need files of Microsoft's below it.
var usual = map[string]string{
	"build": "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64",
	"image": "linux/amd64,linux/arm64",
}

func parsePlatforms(list string) ([]platform, error) {
	var platforms []platform
	for name := range strings.SplitSeq(list, ",") {
		if name == "" {
			continue
		}
		os, arch, ok := strings.Cut(name, "/")
		if !ok || os == "" || arch == "" || strings.Contains(arch, "/") {
			return nil, fmt.Errorf("-platforms: %q is not OS/ARCH", name)
		}
		platforms = append(platforms, platform{os, arch})
	}
	return platforms, nil
}
