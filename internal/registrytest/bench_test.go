package registrytest

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkBlob is what the registry itself costs in the measurements that stand on it.
func BenchmarkBlob(b *testing.B) {
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond} {
		for _, tls := range []bool{false, true} {
			r := Start(b, Options{RTT: rtt, TLS: tls, DiscardBlobs: true})
			tr := &http.Transport{TLSClientConfig: r.ClientTLS()}
			client := &http.Client{Transport: tr}
			content := Seeded(1, 64<<20)
			r.PutContent("a", content)
			run := func(name string, request func() (*http.Request, error)) {
				b.Run(fmt.Sprintf("%s/rtt=%v/tls=%v", name, rtt, tls), func(b *testing.B) {
					b.SetBytes(content.Size)
					for b.Loop() {
						req, err := request()
						require.NoError(b, err)
						resp, err := client.Do(req)
						require.NoError(b, err)
						_, err = io.Copy(io.Discard, resp.Body)
						require.NoError(b, err)
						require.NoError(b, resp.Body.Close())
						require.Less(b, resp.StatusCode, 300)
					}
				})
			}
			run("GET", func() (*http.Request, error) {
				return http.NewRequest("GET", r.URL()+"/v2/a/blobs/"+content.Digest.String(), nil)
			})
			run("POST", func() (*http.Request, error) {
				return http.NewRequest("POST", r.URL()+"/v2/b/blobs/uploads/?digest="+content.Digest.String(), content.Reader())
			})
			tr.CloseIdleConnections()
		}
	}
}
