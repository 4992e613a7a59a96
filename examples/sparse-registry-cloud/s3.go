//go:build s3

package main

import _ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws"
