package mirrorcmd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/transports"
	"golang.org/x/term"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A guard stands before a list that one image would replace, because the flags that copy lists were
// forgotten.
type guard struct {
	env  *environment
	ends *ends
}

// guard returns a guard if one is wanted: nothing says which image is meant, and nobody that
// anything may be replaced. It returns nil otherwise.
func (c *copyCommand) guard(ends *ends) *guard {
	chosen := len(changed(c.sel.flags, systemFlags)) > 0
	if c.yes || c.out.quiet || chosen || c.sel.options.ImageListSelection != copy.CopySystemImage {
		return nil
	}
	return &guard{c.env, ends}
}

// A replacedList is the error of a copy that waits for somebody to say whether a list may be
// replaced. Nothing was copied.
type replacedList struct {
	name, platforms string
}

func (r *replacedList) Error() string {
	return "nothing was copied: " + r.text("would have replaced")
}

func (r *replacedList) text(replaces string) string {
	return fmt.Sprintf("%s names a list%s, which one image %s; --all or --platform copies lists", r.name, r.platforms, replaces)
}

// replacing is Options.Replacing: it warns, but at a terminal it is an error, *replacedList, until
// somebody was asked.
func (g *guard) replacing(ctx context.Context, named digest.Digest, plan *copy.Plan) error {
	if plan.List != nil {
		return nil
	}
	there, err := g.ends.copier.ReadManifest(ctx, g.ends.destination, &copy.ReadOptions{SystemContext: g.ends.options.DestinationCtx, Side: copy.DestinationSide})
	if err != nil { // then the copy will tell
		logrus.Debugf("What %s replaces: %v", plan.Destination, err)
		return nil
	}
	if there.Digest != named || !manifest.IsListMediaType(there.MediaType) {
		return nil
	}
	replaced := &replacedList{transports.ImageName(g.ends.destination), listedPlatforms(there)}
	if g.env.atTerminal() {
		return replaced
	}
	logrus.Warn(replaced.text("replaces") + ", and --yes says that this is meant")
	return nil
}

// confirm asks whether a list may be replaced. The error is r if it may not.
func (e *environment) confirm(ctx context.Context, r *replacedList) error {
	fmt.Fprintf(e.stderr, "%s\nReplace it? [y/N] ", r.text("would replace"))
	answer, err := await(ctx, func() (string, error) { return bufio.NewReader(e.stdin).ReadString('\n') })
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return r
}

// atTerminal reports whether somebody can be asked.
func (e *environment) atTerminal() bool {
	for _, stream := range []any{e.stdin, e.stderr} {
		if f, ok := stream.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
			return false
		}
	}
	return true
}

// listedPlatforms says of which platforms a list is, "" if it cannot be read.
func listedPlatforms(doc copy.Document) string {
	list, err := manifest.Parse(doc.Bytes, doc.MediaType)
	if err != nil {
		return ""
	}
	var names []string
	for _, in := range list.Instances() {
		if in.Platform != nil && in.Platform.OS != "" && in.Platform.OS != "unknown" {
			names = append(names, strings.Trim(strings.Join([]string{in.Platform.OS, in.Platform.Architecture, in.Platform.Variant}, "/"), "/"))
		}
	}
	switch more := len(names) - maxPlatforms; {
	case len(names) == 0:
		return ""
	case more > 0:
		names = append(names[:maxPlatforms], fmt.Sprintf("%d more", more))
	}
	return " (" + printable(strings.Join(names, ", ")) + ")"
}
