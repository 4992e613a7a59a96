package ocihttp

import "net/http"

// Before is the layer that calls f before each request.
func Before(f func()) Layer {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
			f()
			return next.RoundTrip(req)
		})
	}
}

// Answers is the layer that calls f with each answer, whose body f leaves alone.
func Answers(f func(*http.Response)) Layer {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if err == nil {
				f(resp)
			}
			return resp, err
		})
	}
}
