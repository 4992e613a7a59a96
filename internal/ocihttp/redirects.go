package ocihttp

import "net/http"

// maxRedirects is as in net/http.
const maxRedirects = 10

// Redirects is the layer that follows redirects, as net/http does, and more carefully:
//
//   - A request that leaves the host which it was for loses its Authorization header, for good, and
//     no URL brings credentials along.
//   - Only reading requests are followed to another host, and none is turned into a reading one:
//     what cannot be followed is the answer.
//
// The Request of an answer is the last one that was sent. Errors are of type *url.Error, whose URL
// is that of the last request, too.
func Redirects(next http.RoundTripper) http.RoundTripper {
	return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil && resp.StatusCode/100 != 3 {
			return resp, nil // an http.Client would have copied the header first, in case that it is led somewhere
		}
		client := &http.Client{Transport: goingOn(next, resp, err), CheckRedirect: checkRedirect}
		resp, err = client.Do(req)
		if err != nil {
			return nil, err // with a redirect that is refused, there is an answer too
		}
		return resp, nil
	})
}

// goingOn is next for one client, but for the first request, which was answered already.
func goingOn(next http.RoundTripper, resp *http.Response, err error) http.RoundTripper {
	first := true
	return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		if first {
			first = false
			return resp, err
		}
		return next.RoundTrip(req)
	})
}

// A redirectError says that redirects do not lead anywhere.
type redirectError struct{ text string }

func (e *redirectError) Error() string { return e.text }

// checkRedirect returns nil if req, the last of via led elsewhere, is to be sent.
func checkRedirect(req *http.Request, via []*http.Request) error {
	err := mayFollow(req, via)
	if err != nil && req.Body != nil {
		_ = req.Body.Close() // net/http has opened it, and forgets it
	}
	return err
}

func mayFollow(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return &redirectError{"too many redirects"}
	}
	stays := sameOrigin(req.URL, via[0].URL)
	for _, earlier := range via {
		stays = stays && sameOrigin(earlier.URL, via[0].URL)
	}
	reading := via[0].Method == http.MethodGet || via[0].Method == http.MethodHead
	if !reading && (!stays || req.Method != via[0].Method) {
		return http.ErrUseLastResponse
	}
	if !stays {
		req.Header.Del("Authorization")
	}
	req.URL.User = nil        // a location must not choose credentials
	req.Header.Del("Referer") // its query may hold secrets
	return nil
}
