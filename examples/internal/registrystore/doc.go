// Package registrystore is about what a registry has stored: who may write to it.
package registrystore
