package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// judge lets everybody judge a mirror.
func (s *scene) judge(ctx context.Context, host string) error {
	for _, tag := range tags {
		output, err := s.verify(ctx, at(host, repository, tag), caller{origin: s.origin(tag), policy: "publisher.json", key: "cosign.pub"})
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "mirror verify --origin, %s: accepted\n%s", tag, lines(output, "signed by ", "proven: "))
	}
	if err := s.judgeVersions(ctx, host); err != nil {
		return err
	}
	name := host + "/" + repository + ":v1"
	if err := s.judgeByCosign(ctx, name); err != nil {
		return err
	}
	if err := s.allowed(ctx, name, "mirror.json"); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "containers/image with a policy that wants the mirror's key: accepted")
	return nil
}

// judgeByCosign lets cosign judge what the mirror says: that is no signature of the publisher.
func (s *scene) judgeByCosign(ctx context.Context, name string) error {
	for key, want := range map[string]string{"mirror.pub": "", "cosign.pub": "no matching attestations"} {
		if err := s.cosignVerify(ctx, key, name, want); err != nil {
			return err
		}
	}
	fmt.Fprintln(s.out, "cosign verify: accepted with the mirror's key, and not with the publisher's")
	envelope, err := s.run(ctx, "cosign", "verify-attestation", "--type", summaryType, "--key", "mirror.pub", "--insecure-ignore-tlog", name)
	if err != nil {
		return err
	}
	statement, err := summaryOf(envelope)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "cosign verify-attestation --type %s: accepted\n    %s\n", summaryType, statement)
	return nil
}

// cosignVerify demands that cosign refuses an image with these words, or accepts it if there are
// none.
func (s *scene) cosignVerify(ctx context.Context, key, name, want string) error {
	_, err := s.run(ctx, "cosign", "verify", "--key", key, "--insecure-ignore-tlog", name)
	var refused *failure
	switch {
	case want == "":
		return err
	case err == nil:
		return fmt.Errorf("cosign verify --key %s accepts %s", key, name)
	case errors.As(err, &refused) && strings.Contains(refused.stderr, want):
		return nil
	}
	return fmt.Errorf("not refused with %q: %w", want, err)
}

// summaryOf is what the summary in an envelope of cosign's says, in a line.
func summaryOf(envelope string) (string, error) {
	var dsse struct{ Payload []byte }
	if err := json.Unmarshal([]byte(envelope), &dsse); err != nil {
		return "", err
	}
	var statement struct {
		Predicate struct {
			Verifier           struct{ ID string }
			ResourceURI        string
			VerificationResult string
			VerifiedLevels     []string
			InputAttestations  []any
		}
	}
	if err := json.Unmarshal(dsse.Payload, &statement); err != nil {
		return "", err
	}
	p := statement.Predicate
	text := fmt.Sprintf("%s has verified %s by %d signatures: %s %s", p.Verifier.ID, p.ResourceURI, len(p.InputAttestations),
		p.VerificationResult, strings.Join(p.VerifiedLevels, " "))
	if p.Verifier.ID != verifierID || p.VerificationResult != "PASSED" || !slices.Equal(p.VerifiedLevels, []string{level}) || len(p.InputAttestations) == 0 {
		return "", fmt.Errorf("the summary says: %s", text)
	}
	return text, nil
}

// judgeVersions shows what is not proven: that a tag names the version that its publisher would
// have it name. An origin with a digest proves it.
func (s *scene) judgeVersions(ctx context.Context, host string) error {
	older := caller{origin: s.origin("v1"), policy: "publisher.json"}
	if _, err := s.verify(ctx, at(host, repository, "v2"), older); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "mirror verify --origin, v2 in the place of v1: accepted, as the publisher has signed both")
	older.origin = strings.Replace(older.origin, ":v1", "@"+s.lists.Digest(imagetest.Top).String(), 1)
	words, err := s.refusal(ctx, at(host, repository, "v2"), older)
	if err != nil {
		return err
	}
	if !strings.Contains(words, "the origin's reference names another digest") {
		return fmt.Errorf("v2 in the place of v1 by its digest: %s", words)
	}
	fmt.Fprintln(s.out, "mirror verify --origin, v2 in the place of v1 by its digest: refused")
	return nil
}

// lines are the lines of a text that begin with one of these, indented.
func lines(text string, with ...string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if slices.ContainsFunc(with, func(w string) bool { return strings.HasPrefix(line, w) }) {
			b.WriteString("    " + line)
		}
	}
	return b.String()
}

// A caller is what somebody says who verifies a mirror.
type caller struct{ origin, policy, key string } // policy and key are files, "" for none

// verify lets mirror verify a mirror by what came along with it, and returns what it printed.
func (s *scene) verify(ctx context.Context, ref string, c caller) (string, error) {
	args := []string{"verify", "--dest-tls-verify=false", "--registries.d", "registries.d", "--origin", c.origin}
	if c.policy != "" {
		args = append(args, "--policy", c.policy)
	}
	if c.key != "" {
		args = append(args, "--origin-key", c.key)
	}
	return s.run(ctx, "mirror", append(args, ref)...)
}

// allowed asks containers/image whether its policy allows an image to run.
func (s *scene) allowed(ctx context.Context, name, policyFile string) (err error) {
	policy, err := signature.NewPolicyFromFile(s.path(policyFile))
	if err != nil {
		return err
	}
	judge, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, judge.Destroy()) }()
	ref, err := docker.ParseReference("//" + name)
	if err != nil {
		return err
	}
	src, err := ref.NewImageSource(ctx, &types.SystemContext{
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue, RegistriesDirPath: s.path("registries.d"),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	_, err = judge.IsRunningImageAllowed(ctx, image.UnparsedInstance(src, nil))
	return err
}
