package main

import (
	"context"
	"errors"
	"fmt"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// Lists have allPlatforms; platforms are those that a mirror wants.
var (
	allPlatforms = []string{"linux/amd64", "linux/arm64", "linux/s390x"}
	platforms    = allPlatforms[:2]
)

// mirror copies what s selects from one registry to another, with everything that is attached to
// it, and verifies that the destination is what it should be.
func (s selection) mirror(ctx context.Context, action copy.SparseManifestListAction, from, to *registrytest.Registry) (*copy.Report, error) {
	options, err := s.options(action)
	if err != nil {
		return nil, err
	}
	return s.mirrorWith(ctx, options, from, to)
}

// mirrorWith is mirror, with options that are made.
func (s selection) mirrorWith(ctx context.Context, options *copy.Options, from, to *registrytest.Registry) (report *copy.Report, err error) {
	report = options.Report
	src, err := s.at(from)
	if err != nil {
		return report, err
	}
	dest, err := s.at(to)
	if err != nil {
		return report, err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, policy.Destroy()) }()
	if _, err := copy.Image(ctx, policy, dest, src, options); err != nil {
		return report, err
	}
	again := *options
	again.Report = nil
	found, err := copy.Verify(ctx, policy, dest, src, &copy.VerifyOptions{Options: &again, ReadBlobs: true})
	if err != nil {
		return report, err
	}
	for _, v := range found.Violations {
		err = errors.Join(err, fmt.Errorf("after the copy: %s", v))
	}
	return report, err
}

func (s selection) options(action copy.SparseManifestListAction) (*copy.Options, error) {
	sys := &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}
	options := &copy.Options{
		SourceCtx: sys, DestinationCtx: sys, Report: &copy.Report{},
		ImageListSelection: copy.CopySpecificImages, SparseManifestListAction: action,
		Referrers: copy.AllReferrers, DigestTags: true, DigestTagSuffixes: copy.AllDigestTags,
		SingleImage: s.single,
	}
	for _, p := range platforms {
		filter, err := copy.ParsePlatformFilter(p)
		if err != nil {
			return nil, err
		}
		options.InstancePlatforms = append(options.InstancePlatforms, filter)
	}
	return options, nil
}

// at is the reference of s in a registry.
func (s selection) at(reg *registrytest.Registry) (types.ImageReference, error) {
	return docker.ParseReference("//" + reg.Host() + "/" + s.repo + ":" + s.tag)
}
