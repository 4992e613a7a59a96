package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// repository is where the publisher has the lists, and where each mirror has them.
const repository = "team/app"

// tags are those of the lists.
var tags = []string{"v1", "v2", "nested"}

// What the mirror is called in what it says, the type of that, and what it says.
const (
	verifierID  = "https://mirror.example/sparsecopy"
	summaryType = "https://slsa.dev/verification_summary/v1"
	level       = "SPARSECOPY_SUBSET_OF_SIGNED_LIST"
)

// A scene is a publisher who has signed lists with cosign, and a mirror of them.
type scene struct {
	bench
	out    io.Writer
	source *registrytest.Registry
	lists  *imagetest.Fixture
}

// check lets cosign sign lists, mirrors them, stops the source, and lets everybody judge the
// mirrors. Then it tampers with one, and demands that this is noticed.
func check(ctx context.Context, out io.Writer) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	logrus.SetOutput(io.Discard) // distribution has much to tell
	b, err := newBench()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	s := &scene{bench: b, out: out, source: registrytest.New(registrytest.Options{})}
	defer s.source.Close()
	if err := s.publish(ctx); err != nil {
		return err
	}
	ours := registrytest.New(registrytest.Options{Strict: true})
	defer ours.Close()
	hosts := map[string]string{}
	for _, k := range kinds {
		if hosts[k.name], err = serve(ctx, k.make(ctx)); err != nil {
			return err
		}
		if err := s.mirror(ctx, hosts[k.name], tags...); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	if err := s.mirror(ctx, ours.Host(), "v1"); err != nil {
		return err
	}
	if err := s.mirrorUnproven(ctx, ours.Host()); err != nil {
		return err
	}

	s.source.Close()
	for _, k := range kinds {
		fmt.Fprintf(out, "\nAt %s, with the source gone:\n", k.name)
		if err := s.judge(ctx, hosts[k.name]); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	fmt.Fprintf(out, "\nWhat is tampered with:\n")
	return s.tamper(ctx, ours)
}

// publish pushes the lists and signs them in both formats, and writes the policies of those who
// trust the publisher, and the mirror.
func (s *scene) publish(ctx context.Context) error {
	s.lists = pushLists(s.source, repository)
	for _, name := range []string{"cosign", "other"} {
		if err := s.keys(ctx, name); err != nil {
			return err
		}
	}
	if err := s.cosign(ctx, []string{"generate-key-pair", "--output-key-prefix", "mirror"}); err != nil {
		return err
	}
	repo := s.source.Host() + "/" + repository
	if err := s.signTags(ctx, repo, "", s.lists, "v2", "arm64-v2", "nested"); err != nil {
		return err
	}
	if err := s.signBundles(ctx, repo, s.lists, "v2", "nested"); err != nil {
		return err
	}
	if err := os.Mkdir(s.path("registries.d"), 0o755); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"registries.d/default.yaml": "default-docker:\n  use-sigstore-attachments: true\n",
		"passphrase":                "\n",
		"publisher.json":            s.policy("cosign.pub"),
		"mirror.json":               s.policy("mirror.pub"),
		"other.json":                s.policy("other.pub"),
		"anything.json":             `{"default":[{"type":"insecureAcceptAnything"}]}`,
		"nothing.json":              `{"default":[{"type":"reject"}]}`,
	} {
		if err := os.WriteFile(s.path(name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "cosign has signed %s:v1 (8 platforms), v2 and nested, as tags and as bundles\n", repo)
	return nil
}

// policy is a policy.json that wants signatures by a key.
func (s *scene) policy(key string) string {
	return fmt.Sprintf(`{"default":[{"type":"sigstoreSigned","keyPath":%q,"signedIdentity":{"type":"matchRepository"}}]}`, s.path(key))
}

// origin is the reference under which everybody knows a list of the publisher.
func (s *scene) origin(tag string) string { return at(s.source.Host(), repository, tag) }

func at(host, repo, tag string) string { return "docker://" + host + "/" + repo + ":" + tag }

// copying are the arguments of mirror copy, but for the policy and the references.
var copying = []string{
	"copy", "--platform", "linux/amd64,linux/arm64", "--sparse", "strip", "--attach-original", "--registries.d", "registries.d",
	"--sign-by-sigstore-private-key", "mirror.key", "--sign-passphrase-file", "passphrase", "--verifier-id", verifierID,
	"--src-tls-verify=false", "--dest-tls-verify=false",
}

// mirror copies two platforms of lists, as somebody does who trusts the publisher and says so; and
// once more, when there is nothing to do.
func (s *scene) mirror(ctx context.Context, host string, tags ...string) error {
	for _, tag := range tags {
		args := append(slices.Clone(copying), "--policy", "publisher.json", "--origin-key", "cosign.pub", s.origin(tag), at(host, repository, tag))
		if _, err := s.run(ctx, "mirror", args...); err != nil {
			return err
		}
		output, err := s.run(ctx, "mirror", args...)
		if err != nil {
			return err
		}
		if !strings.Contains(output, "nothing to do") {
			return fmt.Errorf("%s is copied again: %s", tag, output)
		}
	}
	return nil
}

// mirrorUnproven copies a list as somebody does who accepts anything: the key signs nothing.
func (s *scene) mirrorUnproven(ctx context.Context, host string) error {
	args := append(slices.Clone(copying), "--policy", "anything.json", s.origin("v1"), at(host, "unproven", "v1"))
	if _, err := s.run(ctx, "mirror", args...); err != nil {
		return err
	}
	if err := s.cosignVerify(ctx, "mirror.pub", host+"/unproven:v1", "no signatures found"); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "a mirror whose policy accepts anything has signed nothing")
	return nil
}
