package endpoint_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

func TestRegistryErrorText(t *testing.T) {
	unknown := func(detail string) endpoint.RegistryErrorDetail {
		return endpoint.RegistryErrorDetail{Code: "MANIFEST_BLOB_UNKNOWN", Message: "blob unknown", Detail: json.RawMessage(detail)}
	}
	const request = "PUT http://h/v2/r/manifests/t: "
	for _, c := range []struct {
		status int
		errors []endpoint.RegistryErrorDetail
		text   string
		want   string
	}{
		{status: 500, want: "received unexpected HTTP status: 500 Internal Server Error"},
		{status: 599, text: "no <idea>", want: `received unexpected HTTP status: 599: "no <idea>"`},
		{status: 400, errors: []endpoint.RegistryErrorDetail{{Code: "DENIED"}}, want: "400 Bad Request: DENIED: denied"},
		{status: 404, text: "<html>", want: `StatusCode: 404 Not Found: "<html>"`},
		{
			status: 404, errors: []endpoint.RegistryErrorDetail{{Code: "NAME_UNKNOWN", Message: "no such repository"}},
			want: "404 Not Found: NAME_UNKNOWN: name unknown: no such repository",
		},
		{status: 400, errors: []endpoint.RegistryErrorDetail{unknown("null")}, want: "400 Bad Request: MANIFEST_BLOB_UNKNOWN: blob unknown"},
		{
			status: 400, errors: []endpoint.RegistryErrorDetail{unknown(`"a"`), unknown(`"b"`), {Code: "DENIED", Message: "no"}},
			want: `400 Bad Request: MANIFEST_BLOB_UNKNOWN: blob unknown ("a", "b"); DENIED: no`,
		},
		{
			status: 400, errors: []endpoint.RegistryErrorDetail{unknown("1"), unknown("2"), unknown("3"), unknown("4"), unknown("5"), unknown("6"), unknown("7")},
			want: "400 Bad Request: MANIFEST_BLOB_UNKNOWN: blob unknown (1, 2, 3, 4, 5); and 2 more",
		},
	} {
		err := &endpoint.RegistryError{Method: "PUT", URL: "http://h/v2/r/manifests/t", Status: c.status, Errors: c.errors, Text: c.text}
		assert.EqualError(t, err, request+c.want)
	}
}
