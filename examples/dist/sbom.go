package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

const sbomSuffix = ".spdx.json"

// An spdxDocument is a document of SPDX 2.3 in its JSON form, as far as it is used here:
// https://spdx.github.io/spdx-spec/v2.3/.
type spdxDocument struct {
	SPDXVersion       string             `json:"spdxVersion"`
	DataLicense       string             `json:"dataLicense"`
	SPDXID            string             `json:"SPDXID"`
	Name              string             `json:"name"`
	DocumentNamespace string             `json:"documentNamespace"`
	CreationInfo      spdxCreation       `json:"creationInfo"`
	Packages          []spdxPackage      `json:"packages"`
	Relationships     []spdxRelationship `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	Name                  string         `json:"name"`
	SPDXID                string         `json:"SPDXID"`
	VersionInfo           string         `json:"versionInfo"`
	PackageFileName       string         `json:"packageFileName,omitempty"`
	PrimaryPackagePurpose string         `json:"primaryPackagePurpose"`
	DownloadLocation      string         `json:"downloadLocation"`
	FilesAnalyzed         bool           `json:"filesAnalyzed"`
	Checksums             []spdxChecksum `json:"checksums,omitempty"`
	SourceInfo            string         `json:"sourceInfo,omitempty"`
	LicenseConcluded      string         `json:"licenseConcluded"`
	LicenseDeclared       string         `json:"licenseDeclared"`
	CopyrightText         string         `json:"copyrightText"`
	ExternalRefs          []spdxRef      `json:"externalRefs"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	spdxSelf   = "SPDXRef-DOCUMENT"
	unasserted = "NOASSERTION"
)

// sbom says of which modules programs consist: each program is a package with the checksum of its
// file, and depends on a package for each module that the go command has noted in it, and for the
// standard library.
func (r release) sbom(name string, built []program) spdxDocument {
	doc := spdxDocument{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: spdxSelf, Name: name,
		CreationInfo: spdxCreation{r.time.Format(time.RFC3339), []string{"Tool: sparsecopy-dist-" + r.version}},
	}
	all := sha256.New()
	modules := map[string]spdxPackage{} // by SPDXID
	for _, b := range built {
		all.Write(b.content)
		p := r.programPackage(b)
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, spdxRelationship{spdxSelf, "DESCRIBES", p.SPDXID})
		for _, m := range r.modulesOf(b.info) {
			module := modulePackage(m)
			modules[module.SPDXID] = module
			doc.Relationships = append(doc.Relationships, spdxRelationship{p.SPDXID, "DEPENDS_ON", module.SPDXID})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(modules)) {
		doc.Packages = append(doc.Packages, modules[id])
	}
	doc.DocumentNamespace = fmt.Sprintf("https://%s/spdx/%s-%x", library, name, all.Sum(nil))
	return doc
}

// modulesOf returns what a program consists of, as it was built: modules that replace others in
// their place, and those of the checkout with the version of the release.
func (r release) modulesOf(info *debug.BuildInfo) []debug.Module {
	modules := []debug.Module{
		{Path: info.Main.Path, Version: r.version},
		{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")},
	}
	for _, m := range info.Deps {
		m = cmp.Or(m.Replace, m)
		if m.Path == library {
			m = &debug.Module{Path: library, Version: r.version}
		}
		modules = append(modules, *m)
	}
	return modules
}

func (r release) programPackage(b program) spdxPackage {
	return spdxPackage{
		Name: b.name, SPDXID: "SPDXRef-Program-" + b.name, VersionInfo: r.version, PackageFileName: b.name, PrimaryPackagePurpose: "APPLICATION",
		DownloadLocation: unasserted, Checksums: []spdxChecksum{{"SHA256", fmt.Sprintf("%x", sha256.Sum256(b.content))}},
		LicenseConcluded: unasserted, LicenseDeclared: "Apache-2.0", CopyrightText: unasserted,
		ExternalRefs: []spdxRef{purl(examples, r.version, b.name)},
	}
}

// modulePackage describes a module. Its sum is one of go.sum's, over names and contents of all its
// files, for which SPDX knows no algorithm.
func modulePackage(m debug.Module) spdxPackage {
	p := spdxPackage{
		Name: m.Path, SPDXID: "SPDXRef-Module-" + spdxID(m.Path+"-"+m.Version), VersionInfo: m.Version, PrimaryPackagePurpose: "LIBRARY",
		DownloadLocation: unasserted, LicenseConcluded: unasserted, LicenseDeclared: unasserted, CopyrightText: unasserted,
		ExternalRefs: []spdxRef{purl(m.Path, m.Version, "")},
	}
	if m.Sum != "" {
		p.SourceInfo = "go.sum: " + m.Sum
	}
	return p
}

// spdxID makes of a text what an identifier may consist of.
func spdxID(text string) string { return noID.ReplaceAllString(text, "-") }

var noID = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// purl names a module, or a package in it, as https://github.com/package-url/purl-spec does: in
// small letters.
func purl(module, version, subpath string) spdxRef {
	locator := "pkg:golang/" + strings.ToLower(module) + "@" + url.QueryEscape(version)
	if subpath != "" {
		locator += "#" + subpath
	}
	return spdxRef{"PACKAGE-MANAGER", "purl", locator}
}
