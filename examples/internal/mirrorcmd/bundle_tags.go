package mirrorcmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
)

// parseRepositories parses IMAGEs that stand for all tags of their repositories.
func (c *bundleCreateCommand) parseRepositories(args []string) ([]reference.Named, error) {
	var all []reference.Named
	for _, arg := range args {
		text, err := c.access.withTransport("IMAGE", arg)
		if err != nil {
			return nil, err
		}
		name, isDocker := strings.CutPrefix(text, "docker://")
		named, err := reference.ParseNormalizedNamed(name)
		if !isDocker || err != nil || !reference.IsNameOnly(named) {
			return nil, misusef("IMAGE %q: --all-tags takes repositories of registries, without tag and digest: docker://HOST/NAME", arg)
		}
		all = append(all, named)
	}
	return all, nil
}

// imagesOfRepositories returns the images that the tags of repositories name, but for those that
// are named after digests: what these name belongs to images. The images share a selection.
func (c *bundleCreateCommand) imagesOfRepositories(ctx context.Context, copier *copy.Copier, sys *types.SystemContext, repositories []reference.Named) ([]namedImage, error) {
	var images []namedImage
	for _, repository := range repositories {
		any, err := docker.NewReference(reference.TagNameOnly(repository))
		if err != nil {
			return nil, err
		}
		list, err := copier.Tags(ctx, any, &copy.TagsOptions{SystemContext: sys})
		if err != nil {
			return nil, err
		}
		for _, warning := range list.Warnings {
			logrus.Warn(printable(warning))
		}
		before := len(images)
		for _, tag := range list.Tags {
			if copy.IsDigestTag(tag) {
				continue
			}
			ref, err := atTag(repository, tag)
			if err != nil {
				return nil, err
			}
			images = append(images, namedImage{ref: ref, tag: tag, options: c.sel.options})
		}
		if len(images) == before {
			return nil, fmt.Errorf("docker://%s has no tags of images", repository.Name())
		}
	}
	return withNames(images)
}
