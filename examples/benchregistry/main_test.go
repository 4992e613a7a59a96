package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		exit(serve(role, os.Args[1], os.Stdin))
	}
	os.Exit(m.Run())
}

// TestMeasure moves a small image through both servers.
func TestMeasure(t *testing.T) {
	var out strings.Builder
	require.NoError(t, measure(t.Context(), newImage(2, 2, 1000), 1, 1e6, &out))
	for _, server := range []string{plain, sparse} {
		for _, do := range []string{"push\t1\t", "pull\t5\t"} {
			assert.Equal(t, 1, strings.Count(out.String(), "BenchmarkRegistry/server="+server+"/do="+do), out.String())
		}
	}
	assert.Contains(t, out.String(), "ratio")
}

// TestReport: what is slower by more than the ranges allow is named.
func TestReport(t *testing.T) {
	var r results
	for i := range 9 {
		noise := time.Duration(i) * time.Millisecond
		r = append(r, result{plain, 100*time.Millisecond + noise, 100*time.Millisecond + noise, time.Second, time.Second})
		r = append(r, result{sparse, 106*time.Millisecond + noise, 112*time.Millisecond + noise, time.Second, 2 * time.Second})
	}
	var out strings.Builder
	assert.EqualError(t, r.report(&out, 3), "sparse-registry takes too long for pull")
	assert.Regexp(t, `(?m)^push +104\.0 ms +4\.0 ms +110\.0 ms +4\.0 ms +1\.058  1\.068$`, out.String())
	assert.Regexp(t, `(?m)^CPU of the server, pull +1000\.0 ms +0\.0 ms +2000\.0 ms +0\.0 ms +2\.000  -$`, out.String())
}
