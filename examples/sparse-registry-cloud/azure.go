//go:build azure

package main

import _ "github.com/distribution/distribution/v3/registry/storage/driver/azure"
