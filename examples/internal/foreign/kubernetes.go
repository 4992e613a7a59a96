package foreign

import (
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

var kubernetes = Format{
	Name:    "kubernetes",
	Title:   "a Kubernetes manifest",
	NeedsTo: true,
	Keys: []Key{
		{"**.template.spec.containers[].image", "source", "of every kind, also of custom resources. Without a registry it is Docker Hub's, without tag and digest it has the tag `latest`"},
		{"**.template.spec.initContainers[].image", "source", "the same"},
		{"**.template.spec.ephemeralContainers[].image", "source", "the same"},
		{"**.template.spec.volumes[].image.reference", "source", "the same"},
		{"spec.containers[].image", "source", "of `Pod`, Knative's `Revision`, and `Prometheus`, `PrometheusAgent`, `Alertmanager` and `ThanosRuler`; so are the other three"},
		{"spec.image", "source", "of `Prometheus`, `PrometheusAgent`, `Alertmanager`, `ThanosRuler`, Tekton's `StepAction`, OLM's `CatalogSource`"},
		{"spec.thanos.image", "source", "of `Prometheus`"},
		{"spec.templates[].container.image", "source", "of Argo's `Workflow`, `WorkflowTemplate` and `ClusterWorkflowTemplate`; so are those of `script`, `containerSet`, `initContainers` and `sidecars`, and `templateDefaults`"},
		{"spec.workflowSpec.templates[].container.image", "source", "of Argo's `CronWorkflow`, and so are the others"},
		{"spec.steps[].image", "source", "of Tekton's `Task` and `ClusterTask`; so are those of `sidecars` and `stepTemplate`"},
		{"**.taskSpec.steps[].image", "source", "of Tekton's `TaskRun`, `Pipeline` and `PipelineRun`, and so are the others"},
		{"spec.relatedImages[].image", "source", "of OLM's `ClusterServiceVersion`"},
		{"items[]", "source", "of each kind that ends with `List`"},
		{"*", nothing, "a manifest is no list of images: its other keys are not lost. What looks like an image at another place is named in a note; `--kubernetes-image-path KIND=.path[].image` has it copied"},
	},
	read: readKubernetes,
}

// podPaths are where images are in the specification of a pod.
var podPaths = []string{
	"containers[].image", "initContainers[].image", "ephemeralContainers[].image", "volumes[].image.reference",
}

// argoPaths are where images are in the specification of an Argo workflow, and taskPaths in that of
// a Tekton task.
var (
	argoPaths = []string{
		"templates[].container.image", "templates[].script.image", "templates[].containerSet.containers[].image",
		"templates[].initContainers[].image", "templates[].sidecars[].image",
		"templateDefaults.container.image", "templateDefaults.script.image",
	}
	taskPaths = []string{"steps[].image", "sidecars[].image", "stepTemplate.image"}
)

// imagePaths are where images are, by kind; under "", in every kind. ** at the beginning is any
// number of keys.
var imagePaths = map[string][]string{
	"":                        below("**.template.spec.", podPaths),
	"Pod":                     below("spec.", podPaths),
	"Revision":                below("spec.", podPaths), // Knative
	"Prometheus":              append(below("spec.", podPaths), "spec.image", "spec.thanos.image"),
	"PrometheusAgent":         append(below("spec.", podPaths), "spec.image"),
	"Alertmanager":            append(below("spec.", podPaths), "spec.image"),
	"ThanosRuler":             append(below("spec.", podPaths), "spec.image"),
	"Workflow":                below("spec.", argoPaths),
	"WorkflowTemplate":        below("spec.", argoPaths),
	"ClusterWorkflowTemplate": below("spec.", argoPaths),
	"CronWorkflow":            below("spec.workflowSpec.", argoPaths),
	"Task":                    below("spec.", taskPaths),
	"ClusterTask":             below("spec.", taskPaths),
	"StepAction":              {"spec.image"},
	"TaskRun":                 below("**.taskSpec.", taskPaths),
	"Pipeline":                below("**.taskSpec.", taskPaths),
	"PipelineRun":             below("**.taskSpec.", taskPaths),
	"ClusterServiceVersion":   {"spec.relatedImages[].image"}, // OLM
	"CatalogSource":           {"spec.image"},                 // OLM
}

func below(prefix string, paths []string) []string {
	var all []string
	for _, path := range paths {
		all = append(all, prefix+path)
	}
	return all
}

// A kubernetesReader reads manifests.
type kubernetesReader struct {
	*reader
	paths    map[string][][]string // where images are, by kind, taken apart
	all      []*one
	suspects []*one // what looks like an image elsewhere
}

func readKubernetes(r *reader) {
	k := &kubernetesReader{reader: r, paths: map[string][][]string{}}
	for kind, paths := range imagePaths {
		for _, path := range paths {
			k.addPath(kind, path)
		}
	}
	for _, flag := range r.options.KubernetesImagePaths {
		kind, path, ok := strings.Cut(flag, "=")
		path = strings.TrimPrefix(strings.ReplaceAll(path, "[*]", "[]"), ".")
		if !ok || kind == "" || path == "" {
			r.problem(nil, "--kubernetes-image-path %q: write KIND=.path.to.image, with [] behind lists", flag)
			return
		}
		k.addPath(kind, path)
	}
	for _, document := range r.documents() {
		k.object(document)
		document.takeAll()
	}
	k.noteSuspects()
	r.ones(k.all)
}

// noteSuspects notes what looks like an image, and is not copied for another reason.
func (k *kubernetesReader) noteSuspects() {
	copied := map[string]bool{}
	for _, i := range k.all {
		copied[i.source] = true
	}
	for _, s := range k.suspects {
		if !copied[s.source] {
			k.note(s.from, "%s looks like an image, at no place that is known: it is not copied", strings.TrimPrefix(s.source, "docker://"))
		}
	}
}

func (k *kubernetesReader) addPath(kind, path string) {
	k.paths[kind] = append(k.paths[kind], strings.Split(strings.ReplaceAll(path, "[]", ".[]"), "."))
}

// printers print the manifests that a kind stands for.
var printers = map[string]string{
	"Kustomization": "kustomize build", "HelmRelease": "helm template", "HelmChart": "helm template", "Application": "argocd app manifests",
}

// object reads one object, or the list of them that n is.
func (k *kubernetesReader) object(n *node) {
	kind := n.key("kind").text()
	items := n.key("items")
	switch {
	case strings.HasSuffix(kind, "List") && items != nil:
		for _, item := range items.elements() {
			k.object(item)
		}
	case kind == "":
		k.lost(n, "it has no kind, and so it is no object of Kubernetes")
	case printers[kind] != "":
		k.note(n, "what a %s deploys is not read: import what %s prints", kind, printers[kind])
	case kind != "CustomResourceDefinition":
		for _, e := range n.entries() {
			if e.name != "status" {
				k.value(kind, e, []string{e.name})
			}
		}
	}
}

// value looks for images in a value at a path of an object.
func (k *kubernetesReader) value(kind string, n *node, path []string) {
	if k.isImage(kind, path) {
		k.image(n)
		return
	}
	if n.kind == yaml.ScalarNode {
		k.suspect(n, kind, path)
		return
	}
	if isImageName(n.name) && n.child("repository") != nil {
		k.note(n, mayBeImage, kind, pattern(path))
		return
	}
	for _, child := range n.children {
		k.value(kind, child, append(slices.Clip(path), child.name))
	}
}

// isImage reports whether an image is at a path of a kind.
func (k *kubernetesReader) isImage(kind string, path []string) bool {
	fits := func(pattern []string) bool {
		if pattern[0] == "**" {
			pattern = pattern[1:]
			return len(path) >= len(pattern) && matches(pattern, path[len(path)-len(pattern):])
		}
		return matches(pattern, path)
	}
	return slices.ContainsFunc(k.paths[""], fits) || slices.ContainsFunc(k.paths[kind], fits)
}

// image reads an image: a text, or a mapping with the parts of one.
func (k *kubernetesReader) image(n *node) {
	text := n.value
	if n.kind == yaml.MappingNode {
		text = imageOfParts(n)
	}
	if text == "" {
		k.note(n, "no image stands here")
		return
	}
	if named := k.named(n, text); named != nil {
		k.all = append(k.all, oneOf(n, named))
	}
}

// imageOfParts is the image whose parts are in a mapping, as in the values of many charts.
func imageOfParts(n *node) string {
	part := func(names ...string) string {
		for _, name := range names {
			if child := n.child(name); child != nil {
				return child.value
			}
		}
		return ""
	}
	text := part("repository", "name", "image")
	if registry := part("registry"); registry != "" {
		text = registry + "/" + text
	}
	if tag := part("tag", "version"); tag != "" {
		text += ":" + tag
	}
	if digest := part("digest", "sha"); digest != "" {
		text += "@" + digest
	}
	return text
}

// mayBeImage are the words for what has the name of an image, at a path that is not known.
const mayBeImage = "this may be an image: if it is, --kubernetes-image-path %s=%s"

// pattern is a path as --kubernetes-image-path takes it.
func pattern(path []string) string {
	var b strings.Builder
	for _, name := range path {
		if strings.HasPrefix(name, "[") {
			b.WriteString("[]")
			continue
		}
		b.WriteString("." + name)
	}
	return b.String()
}

func isImageName(name string) bool { return name == "image" || strings.HasSuffix(name, "Image") }

var (
	// wholeImage is a text, or the value of a flag, that is an image with a registry, and with a
	// tag or digest.
	wholeImage = late.Regexp(`^(?:--?[A-Za-z0-9._-]+=)?([a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]+)?(?:/[a-z0-9._-]+)+(?::[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})+)$`)
	// innerImage is a line of YAML or JSON in a text that has an image.
	innerImage = late.Regexp(`(?m)^[\s{-]*"?image"?: *["']?[a-z0-9]`)
)

// suspect looks at a text at no path that is known.
func (k *kubernetesReader) suspect(n *node, kind string, path []string) {
	if isImageName(n.name) && n.value != "" {
		k.note(n, mayBeImage, kind, pattern(path))
		return
	}
	if found := wholeImage().FindStringSubmatch(n.value); found != nil {
		if named, err := reference.ParseNormalizedNamed(found[1]); err == nil {
			k.suspects = append(k.suspects, oneOf(n, named))
		}
		return
	}
	if innerImage().MatchString(n.value) {
		k.note(n, "this text has images, and they are not copied: import it by itself, if it is a manifest")
	}
}
