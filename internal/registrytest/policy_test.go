package registrytest

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// list returns an index; entries with "" as architecture have no platform.
func list(children ...imgspecv1.Descriptor) string {
	index := imgspecv1.Index{MediaType: imgspecv1.MediaTypeImageIndex, Manifests: children}
	index.SchemaVersion = 2
	return marshal(index)
}

func child(d digest.Digest, arch string) imgspecv1.Descriptor {
	desc := imgspecv1.Descriptor{MediaType: imageType, Digest: d, Size: 2}
	if arch != "" {
		desc.Platform = &imgspecv1.Platform{OS: "linux", Architecture: arch}
	}
	return desc
}

// putList PUTs a list in repository a.
func (c *client) putList(body string) answer {
	c.t.Helper()
	a, err := c.try("PUT", "/v2/a/manifests/v1", newReader(body), "Content-Type", imgspecv1.MediaTypeImageIndex)
	require.NoError(c.t, err)
	return a
}

func TestListPolicies(t *testing.T) {
	there := digest.FromString("{}")
	gone1, gone2, blobOnly := digest.FromString("gone1"), digest.FromString("gone2"), digest.FromString("blob")
	amdThere, armGone, riscvGone := child(there, "amd64"), child(gone1, "arm64"), child(gone2, "riscv64")
	two := list(amdThere, armGone, riscvGone, armGone)
	each := func(code, message string) string { // an error for each of the two missing
		one := `{"code":"` + code + `","message":"` + message + `","detail":"%s"}`
		return fmt.Sprintf(`{"errors":[`+one+`,`+one+`]}`, gone1, gone2)
	}
	for _, tc := range []struct {
		name   string
		policy ListPolicy
		list   string
		status int
		body   string // "" if 201
	}{
		{"distribution 2.8", Distribution28, two, 400, each("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")},
		{"distribution 2.8, blob", Distribution28, list(child(blobOnly, "arm64")), 201, ""},
		{"distribution 3", Distribution3, two, 400, each("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")},
		{"distribution 3, blob", Distribution3, list(child(blobOnly, "arm64")), 400,
			`{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":"` + blobOnly.String() + `"}]}`},
		{"distribution 3, listed", Distribution3Listed("linux/amd64"), two, 201, ""},
		{"distribution 3, listed missing", Distribution3Listed("linux/arm64"), two, 400,
			`{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":"` + gone1.String() + `"}]}`},
		{"Quay", Quay, two, 400, `{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid",
			"detail":{"message":"Could not find child manifest with digest ` + gone1.String() + `"}}]}`},
		{"Quay sparse", QuaySparse("amd64"), two, 201, ""},
		{"Quay sparse, required", QuaySparse("riscv64"), two, 400, `{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid",
			"detail":{"message":"Could not find child manifest with digest ` + gone2.String() + `"}}]}`},
		{"Harbor", Harbor, two, 400, each("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")},
		{"Harbor, blob", Harbor, list(child(blobOnly, "arm64")), 404,
			`{"errors":[{"code":"NOT_FOUND","message":"artifact a@` + blobOnly.String() + ` not found"}]}`},
		{"zot", Zot, two, 400, `{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{"reference":"v1"}}]}`},
		{"GitLab", GitLab, two, 400, each("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")},
		{"Gitea", Gitea, two, 404, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":""}]}`},
		{"Gitea, nested", Gitea, list(imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: there}), 400,
			`{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid"}]}`},
		{"Nexus", Nexus, list(amdThere, armGone), 400, fmt.Sprintf(`{"errors":[
			{"code":"BLOB_UNKNOWN","message":"blob unknown to registry","detail":"%[1]s"},
			{"code":"BLOB_UNKNOWN","message":"blob unknown to registry","detail":"%[1]s"}]}`, gone1)},
		{"Nexus race", NexusRace, list(amdThere), 400,
			`{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry","detail":"` + there.String() + `"}]}`},
		{"ECR", ECR, two, 400, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"Images with digests '[` + gone1.String() + `, ` +
			gone2.String() + `]' required for pushing image into repository with name 'a' in the registry with id '123456789012' do not exist"}]}`},
		{"go-containerregistry", GoContainerRegistry, two, 404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"Sub-manifest \"` + gone1.String() + `\" not found"}]}`},
		{"go-containerregistry, a blob", GoContainerRegistry, list(amdThere, imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageLayer, Digest: blobOnly}), 201, ""},
		{"olareg", Olareg, two, 400, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"manifest references a manifest or blob unknown to registry",
			"detail":"manifest entry ` + gone1.String() + ` is not in the repository"}]}`},
		{"cue-labs", CueLabs, list(amdThere, armGone), 500, `{"errors":[{"code":"UNKNOWN","message":"unknown error: invalid manifest: nothing found for manifests[1]"}]}`},
		{"Docker Hub", DockerHub, two, 400, each("MANIFEST_BLOB_UNKNOWN", "manifest blob unknown")},
		{"GHCR", Accept, two, 201, ""},
		{"sparse registry", RequireArchitectures("amd64"), two, 201, ""},
		{"sparse registry, none required", RequireArchitectures(), list(child(gone1, "")), 201, ""},
		{"sparse registry, no platform", RequireArchitectures("amd64"), list(child(gone1, "")), 400,
			fmt.Sprintf(`{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"Required architecture '' manifest not found",
			"detail":{"architecture":"","digest":"%s","required_architectures":["amd64"]}}]}`, gone1)},
		{"sparse registry, required", RequireArchitectures("arm64", "riscv64"), two, 400, fmt.Sprintf(`{"errors":[
			{"code":"MANIFEST_BLOB_UNKNOWN","message":"Required architecture 'arm64' manifest not found (and 1 more)",
			"detail":{"architecture":"arm64","digest":"%s","required_architectures":["arm64","riscv64"]}},
			{"code":"MANIFEST_BLOB_UNKNOWN","message":"Required architecture 'riscv64' manifest not found",
			"detail":{"architecture":"riscv64","digest":"%s","required_architectures":["arm64","riscv64"]}}]}`, gone1, gone2)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := start(t, Options{ListPolicy: tc.policy})
			c.PutManifest("a", there.String(), imageType, []byte("{}"))
			c.PutBlob("a", []byte("blob"))
			before := c.Snapshot("a")
			a := c.putList(tc.list)
			require.Equal(t, tc.status, a.StatusCode, "%s", a.body)
			_, tagged := c.Resolve("a", "v1")
			require.Equal(t, tc.body == "", tagged)
			if tc.body != "" {
				require.JSONEq(t, tc.body, string(a.body))
				require.Equal(t, before, c.Snapshot("a"))
			}
			c.do(201, "PUT", "/v2/a/manifests/image", "{}", "Content-Type", imageType) // policies are about lists
		})
	}
}

// TestRegistries plays every row with a full and with a sparse list.
func TestRegistries(t *testing.T) {
	for _, row := range Registries() {
		t.Run(row.Name, func(t *testing.T) {
			c := start(t, Options{ListPolicy: row.Policy})
			d := c.PutManifest("a", "image", imageType, []byte("{}"))
			require.Equal(t, 201, c.putList(list(child(d, "amd64"))).StatusCode)
			sparse := c.putList(list(child(d, "amd64"), child(digest.FromString("gone"), "arm64")))
			require.Equal(t, row.Sparse, sparse.StatusCode == 201, "%s", sparse.body)
		})
	}
}

func TestUnrelated(t *testing.T) {
	full := list(child(digest.FromString("{}"), "amd64"))
	status := map[string]int{"denied": 403, "tag immutable": 400, "tag immutable, Harbor": 412, "too large": 413, "500": 500, "503": 503}
	for _, row := range Unrelated() {
		t.Run(row.Name, func(t *testing.T) {
			c := start(t, Options{ListPolicy: row.Policy})
			c.PutManifest("a", "image", imageType, []byte("{}"))
			before := c.Snapshot("a")
			a, err := c.try("PUT", "/v2/a/manifests/v1", newReader(full), "Content-Type", imgspecv1.MediaTypeImageIndex)
			if row.Name == "connection closed" {
				require.Error(t, err)
			} else {
				require.NoError(t, err)
				require.Equal(t, status[row.Name], a.StatusCode)
			}
			require.Equal(t, before, c.Snapshot("a"))
		})
	}
}

func TestStrict(t *testing.T) {
	c := start(t, Options{Strict: true})
	gone := digest.FromString("gone")
	a := c.putList(list(child(gone, "amd64")))
	require.Equal(t, 400, a.StatusCode)
	require.EqualValues(t, gone, a.errors(t)[0].Detail)
	// Docker lists too, and an explicit policy wins.
	a = c.do(400, "PUT", "/v2/a/manifests/v1", `{"manifests":[{"digest":"`+gone.String()+`"}]}`, "Content-Type", MediaTypeDockerList)
	require.Equal(t, []string{"MANIFEST_BLOB_UNKNOWN"}, a.codes(t))
	c = start(t, Options{Strict: true, ListPolicy: Accept})
	require.Equal(t, 201, c.putList(list(child(gone, "amd64"))).StatusCode)
}

func TestPolicyIsTold(t *testing.T) {
	var told []ListPut
	c := start(t, Options{ListPolicy: func(l ListPut) Answer {
		told = append(told, l)
		return Answer{}
	}})
	d := c.PutManifest("a", "image", imageType, []byte("{}"))
	b := c.PutBlob("a", []byte("blob"))
	body := list(child(d, "amd64"), child(b, ""))
	c.putList(body)
	c.putList(body)
	require.Len(t, told, 2)
	l := told[1]
	require.Equal(t, 2, l.Attempt)
	require.Equal(t, "a", l.Repo)
	require.Equal(t, "v1", l.Ref)
	require.Equal(t, imgspecv1.MediaTypeImageIndex, l.MediaType)
	require.Equal(t, body, string(l.Body))
	require.Equal(t, []Child{{child(d, "amd64"), true, false}, {child(b, ""), false, true}}, l.Children)
	require.Equal(t, []digest.Digest{b}, l.Missing())
}

func TestNexusRacePassesOnRetry(t *testing.T) {
	c := start(t, Options{ListPolicy: NexusRace})
	d := c.PutManifest("a", "image", imageType, []byte("{}"))
	body := list(child(d, "amd64"))
	require.Equal(t, 400, c.putList(body).StatusCode)
	require.Equal(t, 201, c.putList(body).StatusCode)
}

func TestDistribution3ListedPanics(t *testing.T) {
	c := start(t, Options{ListPolicy: Distribution3Listed("linux/amd64")})
	_, err := c.try("PUT", "/v2/a/manifests/v1", newReader(list(child(digest.FromString("gone"), ""))),
		"Content-Type", imgspecv1.MediaTypeImageIndex)
	require.Error(t, err)
	require.Empty(t, c.Snapshot("a"))
}
