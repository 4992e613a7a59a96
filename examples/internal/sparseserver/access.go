package sparseserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // the only access controller here
)

// realm is what clients show when they ask for a password.
const realm = "sparse-registry"

// An access lets the users of an htpasswd file in.
type access struct {
	controller auth.AccessController // nil lets everybody in
}

// newAccess reads an htpasswd file; "" stands for none. It refuses a file that is missing, which
// distribution would make, and one that does not parse, which distribution would notice at the
// first request.
func newAccess(htpasswd string) (*access, error) {
	if htpasswd == "" {
		return &access{}, nil
	}
	if _, err := os.Stat(htpasswd); err != nil {
		return nil, err
	}
	controller, err := auth.GetAccessController("htpasswd", map[string]any{"realm": realm, "path": htpasswd})
	if err != nil {
		return nil, err
	}
	probe, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "/v2/", nil)
	if err != nil {
		return nil, err
	}
	probe.SetBasicAuth("nobody", "")
	var challenge auth.Challenge
	if _, err := controller.Authorized(probe); err != nil && !errors.As(err, &challenge) {
		return nil, fmt.Errorf("%s: %w", htpasswd, err)
	}
	return &access{controller: controller}, nil
}

// require answers 401 to whoever is no user.
func (a *access) require(next http.Handler) http.Handler {
	if a.controller == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		grant, err := a.controller.Authorized(r)
		var challenge auth.Challenge
		switch {
		case err == nil:
			noteUser(r, grant.User.Name)
			next.ServeHTTP(w, r)
		case errors.As(err, &challenge):
			challenge.SetHeaders(r, w)
			_ = errcode.ServeJSON(w, errcode.ErrorCodeUnauthorized) // only the client can make it fail, by leaving
		default:
			noteError(r, err)
			_ = errcode.ServeJSON(w, errcode.ErrorCodeUnknown)
		}
	})
}
