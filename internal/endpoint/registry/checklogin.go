package registry

import (
	"context"
	"net/http"
	"net/url"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
)

// CheckLogin asks the registry that name is in whether it takes the credentials of
// sys.DockerAuthConfig, which must be set. It asks about no repository, so that the rights of whose
// credentials they are do not matter. It reports whether the registry has looked at them: one that
// lets everybody in may not.
//
// The error is a *endpoint.RegistryError if the registry, or its token service, refused.
func CheckLogin(ctx context.Context, name reference.Named, sys *types.SystemContext, sh *Shared) (checked bool, err error) {
	repo, err := ownRepository(name, pulling, sys, sh, &counters{})
	if err != nil {
		return false, err
	}
	if err := repo.ping(ctx, nil); err != nil {
		return false, err
	}
	if good, _ := repo.authorization.Known(); good {
		return true, nil
	}
	// Nobody has asked for them. Many a registry looks at them all the same.
	unasked := &http.Request{Header: http.Header{}}
	unasked.SetBasicAuth(sys.DockerAuthConfig.Username, sys.DockerAuthConfig.Password)
	if err := repo.ping(ctx, unasked.Header); err != nil {
		return false, err
	}
	good, _ := repo.authorization.Known()
	return good, nil
}

// ping asks whether the registry is one.
func (r *repository) ping(ctx context.Context, header http.Header) error {
	a, err := r.do(ctx, r.shared.newRetrier(), &request{
		method: http.MethodGet, location: &url.URL{Host: r.host.Name, Path: "/v2/"}, header: header, unscoped: true,
	})
	if err != nil {
		return err
	}
	return a.aboutContent()
}
