package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Format is that of the documents that a product sends.
type Format string

// The formats.
const (
	// Distribution is that of CNCF Distribution (registry:2 and registry:3), and of those built on
	// it, such as GitLab's registry:
	// https://distribution.github.io/distribution/about/notifications/
	Distribution Format = "distribution"
	// DockerHub is that of repository webhooks of Docker Hub:
	// https://docs.docker.com/docker-hub/repos/manage/webhooks/
	DockerHub Format = "docker-hub"
	// Harbor is that of project webhooks of Harbor, both the Default and the CloudEvents one:
	// "Configure Webhook Notifications" in https://goharbor.io/docs/
	Harbor Format = "harbor"
	// Quay is that of repository notifications of Quay:
	// https://docs.quay.io/guides/notifications.html
	Quay Format = "quay"
	// GHCR is that of GitHub's webhooks for packages, its events package and registry_package:
	// https://docs.github.com/en/webhooks/webhook-events-and-payloads#package
	GHCR Format = "ghcr"
)

// Formats returns the names of all formats, sorted.
func Formats() []Format { return slices.Sorted(maps.Keys(formats)) }

// Auth returns how the product of f can prove who it is, if nobody says otherwise.
func (f Format) Auth() Auth { return formats[f].auth }

// Registry returns the registry that documents of f are about, if nobody says otherwise. It is ""
// where the product is run by anybody.
func (f Format) Registry() string { return formats[f].registry }

// A Push is a tag that was pushed, as its registry calls it.
type Push struct {
	Repository string // without the registry
	Tag        string // what is no valid tag, such as a digest, is not one of those that were pushed
}

// Parse returns the pushes that a document of f tells of, in its order. They have a repository and
// a tag, which may be invalid. Documents about anything else have none: pulls, layers, deletes,
// builds, tests of the connection. An error says that body is no document of f.
func (f Format) Parse(body []byte) ([]Push, error) {
	product, known := formats[f]
	if !known {
		return nil, fmt.Errorf("the format %q is unknown", f)
	}
	pushes, err := product.parse(body)
	if err != nil {
		return nil, fmt.Errorf("this is no document of the format %s: %w", f, err)
	}
	return slices.DeleteFunc(pushes, func(p Push) bool { return p.Repository == "" || p.Tag == "" }), nil
}

var formats = map[Format]struct {
	parse    func([]byte) ([]Push, error)
	auth     Auth
	registry string
}{
	Distribution: {distribution, Header, ""},
	DockerHub:    {dockerHub, Path, "docker.io"},
	Harbor:       {harbor, Header, ""},
	Quay:         {quay, Path, "quay.io"},
	GHCR:         {ghcr, Signature, "ghcr.io"},
}

// distribution parses an envelope of events. Every blob and every manifest is an event: only that
// of a manifest that was pushed by its tag has a tag.
func distribution(body []byte) ([]Push, error) {
	var envelope struct {
		Events []struct {
			Action string `json:"action"`
			Target struct {
				Repository string `json:"repository"`
				Tag        string `json:"tag"`
			} `json:"target"`
		} `json:"events"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return nil, err
	}
	var pushes []Push
	for _, event := range envelope.Events {
		if event.Action == "push" {
			pushes = append(pushes, Push{event.Target.Repository, event.Target.Tag})
		}
	}
	return pushes, nil
}

// dockerHub parses the one document that Docker Hub sends. Its callback_url wants to be told
// whether all went well, and is not: the webhook works without.
func dockerHub(body []byte) ([]Push, error) {
	var document struct {
		PushData struct {
			Tag string `json:"tag"`
		} `json:"push_data"`
		Repository struct {
			Name string `json:"repo_name"`
		} `json:"repository"`
	}
	err := json.Unmarshal(body, &document)
	return []Push{{document.Repository.Name, document.PushData.Tag}}, err
}

// harborPushes are the types of documents about pushes: of the Default format, of the same before
// Harbor 2, and of the CloudEvents one.
var harborPushes = []string{"PUSH_ARTIFACT", "pushImage", "harbor.artifact.pushed"}

// harbor parses a document of either format: CloudEvents has in data what Default has in
// event_data. What was pushed without a tag has its digest for a tag.
func harbor(body []byte) ([]Push, error) {
	type event struct {
		Resources []struct {
			Tag string `json:"tag"`
		} `json:"resources"`
		Repository struct {
			Name string `json:"repo_full_name"`
		} `json:"repository"`
	}
	var document struct {
		Type      string `json:"type"`
		EventData event  `json:"event_data"`
		Data      event  `json:"data"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, err
	}
	var pushes []Push
	if slices.Contains(harborPushes, document.Type) {
		for _, e := range []event{document.EventData, document.Data} {
			for _, resource := range e.Resources {
				pushes = append(pushes, Push{e.Repository.Name, resource.Tag})
			}
		}
	}
	return pushes, nil
}

// quay parses a notification about a push, which is the only one that has updated_tags.
func quay(body []byte) ([]Push, error) {
	var document struct {
		Repository  string   `json:"repository"`
		UpdatedTags quayTags `json:"updated_tags"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, err
	}
	var pushes []Push
	for _, tag := range document.UpdatedTags {
		pushes = append(pushes, Push{document.Repository, tag})
	}
	return pushes, nil
}

// quayTags are the tags of a push: a list; in documents of old, the keys of an object.
type quayTags []string

func (t *quayTags) UnmarshalJSON(b []byte) error {
	if !bytes.HasPrefix(b, []byte("{")) {
		return json.Unmarshal(b, (*[]string)(t))
	}
	var object map[string]any
	err := json.Unmarshal(b, &object)
	*t = slices.Sorted(maps.Keys(object))
	return err
}

// ghcr parses the events package (webhooks of repositories and organizations) and registry_package
// (GitHub Apps), which are alike. Images that only a list names are published, too, without a tag.
// The package's URL is the one field that has the name in all of them; it has the owner's capital
// letters, which the registry's names do not have, and may end with a colon.
func ghcr(body []byte) ([]Push, error) {
	type published struct {
		Version struct {
			URL      string `json:"package_url"`
			Metadata struct {
				Tag struct {
					Name string `json:"name"`
				} `json:"tag"`
			} `json:"container_metadata"`
		} `json:"package_version"`
	}
	var document struct {
		Action          string    `json:"action"`
		Package         published `json:"package"`
		RegistryPackage published `json:"registry_package"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, err
	}
	if document.Action != "published" && document.Action != "updated" {
		return nil, nil
	}
	var pushes []Push
	for _, p := range []published{document.Package, document.RegistryPackage} {
		_, name, _ := strings.Cut(strings.ToLower(p.Version.URL), "/") // the registry is the sender's
		name, _, _ = strings.Cut(name, ":")
		pushes = append(pushes, Push{name, p.Version.Metadata.Tag.Name})
	}
	return pushes, nil
}
