"""The acceptance table of a registry for sparse lists, by a client that knows HTTP, JSON and SHA-256.

    python3 acceptance.py HOST:PORT table          an empty registry with the policies of policies.yaml
    python3 acceptance.py HOST:PORT switched-off   the same afterwards, with the policy off everywhere

Each row is carried out with OCI indexes and with Docker manifest lists, by tag and by digest, in repositories of its own. Every check is
counted; each that fails is one line. The last line says how many there were, and the exit status is 1 if one failed.
"""

import concurrent.futures
import hashlib
import http.client
import json
import sys

OCI, DOCKER = "oci", "docker"
LIST = {OCI: "application/vnd.oci.image.index.v1+json", DOCKER: "application/vnd.docker.distribution.manifest.list.v2+json"}
IMAGE = {OCI: "application/vnd.oci.image.manifest.v1+json", DOCKER: "application/vnd.docker.distribution.manifest.v2+json"}
CONFIG = {OCI: "application/vnd.oci.image.config.v1+json", DOCKER: "application/vnd.docker.container.image.v1+json"}
LAYER = {OCI: "application/vnd.oci.image.layer.v1.tar+gzip", DOCKER: "application/vnd.docker.image.rootfs.diff.tar.gzip"}
ACCEPT = ", ".join([*LIST.values(), *IMAGE.values()])

# What the policies require, as policies.yaml has them; None for a policy that is off.
REQUIRED = {
    "unruled": None,
    "off": None,
    "off-amd64": None,
    "on": [],
    "on-amd64": ["amd64"],
    "on-amd64-arm64": ["amd64", "arm64"],
    "on-arm": ["arm"],
    "on-amd64-switch": ["amd64"],
    "on-armv7": [],
}

PLATFORMS = {
    "amd64": {"architecture": "amd64", "os": "linux"},
    "arm64": {"architecture": "arm64", "os": "linux"},
    "ppc64le": {"architecture": "ppc64le", "os": "linux"},
    "s390x": {"architecture": "s390x", "os": "linux"},
    "armv6": {"architecture": "arm", "os": "linux", "variant": "v6"},
    "armv7": {"architecture": "arm", "os": "linux", "variant": "v7"},
    "windows": {"architecture": "amd64", "os": "windows", "os.version": "10.0.20348.2700"},
    "attestation": {"architecture": "unknown", "os": "unknown"},
    "plain": None,
}


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def errors(self):
        """The errors of the answer, as dictionaries; one that says what is there instead if it has none."""
        try:
            return json.loads(self.body)["errors"]
        except (ValueError, KeyError, TypeError):
            return [{"code": "no errors in %r" % self.body[:200]}]


class Registry:
    """One connection. It is not for several threads."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=60)

    def ask(self, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body=body, headers=headers)
        response = self.connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def manifest(self, method, repository, reference):
        return self.ask(method, "/v2/%s/manifests/%s" % (repository, reference), Accept=ACCEPT)

    def put(self, repository, reference, media_type, content):
        return self.ask("PUT", "/v2/%s/manifests/%s" % (repository, reference), content, Content_Type=media_type)

    def put_blob(self, repository, content):
        begun = self.ask("POST", "/v2/%s/blobs/uploads/" % repository)
        if begun.status != 202:
            raise RuntimeError("POST of an upload in %s: status %d" % (repository, begun.status))
        location = begun.headers["Location"]
        location = location[location.index("/v2/"):]
        location += ("&" if "?" in location else "?") + "digest=" + digest_of(content)
        done = self.ask("PUT", location, content, Content_Type="application/octet-stream")
        if done.status != 201:
            raise RuntimeError("PUT of a blob to %s: status %d" % (repository, done.status))


class Document:
    """A manifest or list: bytes that are pushed as they are."""

    def __init__(self, media_type, content, blobs=()):
        self.media_type, self.content, self.blobs, self.digest = media_type, content, blobs, digest_of(content)

    def entry(self, platform, **changes):
        entry = {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}
        if platform is not None:
            entry["platform"] = platform
        entry.update(changes)
        return entry


def image(form, name):
    """The image of a child. The same arguments make the same bytes."""
    config = json.dumps({"architecture": name, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    layer = ("the layer of " + name).encode()
    described = lambda media_type, blob: {"mediaType": media_type, "size": len(blob), "digest": digest_of(blob)}
    content = {
        "schemaVersion": 2,
        "mediaType": IMAGE[form],
        "config": described(CONFIG[form], config),
        "layers": [described(LAYER[form], layer)],
    }
    return Document(IMAGE[form], json.dumps(content).encode(), (config, layer))


def sparse_list(form, entries, **more):
    """A list, written as no program of a registry would write it: with spaces, escapes, and a field that nobody knows."""
    content = {"manifests": entries, "x-unknown": {"b": 1.50, "a": "\u00fc\u2028"}, "schemaVersion": 2, "mediaType": LIST[form], **more}
    return Document(LIST[form], b"\n " + json.dumps(content, indent=3).encode() + b"\n\n")


class Row:
    """One row of the table, in one form, by tag or by digest."""

    def __init__(self, registry, form, by):
        self.registry, self.form, self.by = registry, form, by
        self.checks, self.failures = 0, []

    def begin(self, name, policy):
        """What follows is about a row, and a repository of its own that has a policy."""
        self.name, self.policy = name, policy
        self.repository = "%s/%s/%s/%s" % (policy, name.split()[0].lower(), self.form, self.by)
        if " " in name:
            self.repository += "/" + name.split(" ", 1)[1].replace(" ", "-")

    def equal(self, what, got, want):
        self.checks += 1
        if got != want:
            self.failures.append("%s (%s, by %s, policy %s): %s: got %r, want %r" % (self.name, self.form, self.by, self.policy, what, got, want))

    def images(self, *names):
        return [image(self.form, name) for name in names]

    def list_of(self, *names, **more):
        return sparse_list(self.form, [image(self.form, n).entry(PLATFORMS[n]) for n in names], **more)

    def push_images(self, *names):
        for child in self.images(*names):
            for blob in child.blobs:
                self.registry.put_blob(self.repository, blob)
            answer = self.registry.put(self.repository, child.digest, child.media_type, child.content)
            self.equal("PUT of a child", answer.status, 201)

    def reference(self, document):
        return "v1" if self.by == "tag" else document.digest

    def push(self, document):
        return self.registry.put(self.repository, self.reference(document), document.media_type, document.content)

    # What may come of it.

    def accepted(self, document, *more_tags):
        answer = self.push(document)
        self.equal("PUT", (answer.status, answer.body[:300] if answer.status != 201 else b""), (201, b""))
        self.equal("digest of PUT", answer.headers["Docker-Content-Digest"], document.digest)
        self.equal("Location of PUT", (answer.headers["Location"] or "").endswith("/manifests/" + document.digest), True)
        self.served(document)
        self.equal("tags", self.tags(), [*more_tags, "v1"] if self.by == "tag" else [*more_tags])
        return answer

    def served(self, document):
        for reference in {self.reference(document), document.digest}:
            for method in "GET", "HEAD":
                answer = self.registry.manifest(method, self.repository, reference)
                self.equal(method, answer.status, 200)
                self.equal("bytes of " + method, answer.body, document.content if method == "GET" else b"")
                self.equal("size of " + method, answer.headers["Content-Length"], str(len(document.content)))
                self.equal("digest of " + method, answer.headers["Docker-Content-Digest"], document.digest)
                self.equal("type of " + method, answer.headers["Content-Type"], document.media_type)

    def refused(self, document, *missing):
        """Expects one error for each (name of a child, architecture)."""
        answer = self.push(document)
        self.equal("PUT", answer.status, 400)
        self.equal("type of the refusal", answer.headers["Content-Type"], "application/json")
        errors = answer.errors()
        self.equal("codes", [e["code"] for e in errors], ["MANIFEST_BLOB_UNKNOWN"] * len(missing))
        required = REQUIRED[self.policy]
        for i, (error, (name, architecture)) in enumerate(zip(errors, missing)):
            message, detail = error.get("message", ""), error.get("detail", {})
            digest = image(self.form, name).digest if name in PLATFORMS else name
            self.equal("digest in the detail", detail.get("digest"), digest)
            self.equal("architecture in the detail", detail.get("architecture"), architecture)
            self.equal("requirements in the detail", detail.get("required_architectures"), required or [])
            if required and architecture:
                text = "Required architecture '%s' manifest not found" % architecture
                more = " (and %d more)" % (len(missing) - 1) if i == 0 and len(missing) > 1 else ""
                self.equal("message", message, text + more)
            elif not self.policy.startswith("on-armv7"):
                self.equal("the message names the child", digest in message, True)
        self.nothing_stored(document)

    def nothing_stored(self, document):
        for reference in {self.reference(document), document.digest}:
            self.unknown(reference)
        self.equal("tags", self.tags(), [])

    def unknown(self, reference):
        answer = self.registry.manifest("GET", self.repository, reference)
        self.equal("GET of what is not there", (answer.status, answer.errors()[0]["code"]), (404, "MANIFEST_UNKNOWN"))
        self.equal("HEAD of what is not there", self.registry.manifest("HEAD", self.repository, reference).status, 404)

    def tags(self):
        answer = self.registry.ask("GET", "/v2/%s/tags/list" % self.repository)
        if answer.status == 404:
            return []
        return json.loads(answer.body)["tags"] or []

    def absent(self, *names):
        for child in self.images(*names):
            self.unknown(child.digest)

    def present(self, *names):
        for child in self.images(*names):
            answer = self.registry.manifest("GET", self.repository, child.digest)
            self.equal("GET of a child", (answer.status, answer.body), (200, child.content))

    def invalid(self, document, code, reference=None):
        answer = self.registry.put(self.repository, reference or self.reference(document), document.media_type, document.content)
        self.equal("PUT", (answer.status, [e["code"] for e in answer.errors()]), (400, [code]))
        self.nothing_stored(document)


def table(row):
    """The rows of the table that a client can see. Q13 and Q24 to Q26 are about starting, about another client, and about a change."""
    for policy in "unruled", "off", "on-amd64":
        row.begin("Q1" if policy != "on-amd64" else "Q19", policy)
        row.push_images("amd64", "arm64", "ppc64le")
        row.accepted(row.list_of("amd64", "arm64", "ppc64le"))
        row.present("amd64", "arm64", "ppc64le")

    for policy in "unruled", "off", "off-amd64":
        row.begin("Q2" if policy != "off-amd64" else "Q3", policy)
        row.push_images("amd64", "ppc64le")
        row.refused(row.list_of("amd64", "arm64", "ppc64le"), ("arm64", "arm64"))

    row.begin("Q4", "on")
    row.accepted(row.list_of("amd64", "arm64", "plain", "attestation"))
    row.absent("amd64", "arm64", "plain", "attestation")

    row.begin("Q5", "on-amd64")
    row.push_images("amd64")
    row.accepted(row.list_of("amd64", "arm64", "ppc64le"))
    row.present("amd64")
    row.absent("arm64", "ppc64le")
    row.push_images("arm64")
    row.name = "Q17"
    row.present("arm64")
    row.served(row.list_of("amd64", "arm64", "ppc64le"))

    row.begin("Q6", "on-amd64")
    row.push_images("arm64")
    row.refused(row.list_of("amd64", "arm64", "ppc64le"), ("amd64", "amd64"))
    row.push_images("amd64")
    row.name = "Q16"
    row.accepted(row.list_of("amd64", "arm64", "ppc64le"))

    row.begin("Q7", "on-amd64-arm64")
    row.refused(row.list_of("amd64", "s390x", "arm64"), ("amd64", "amd64"), ("arm64", "arm64"))

    row.begin("Q8", "on-amd64")
    row.accepted(row.list_of("arm64", "s390x"))

    for policy in "on-amd64", "on-amd64-switch":
        row.begin("Q9", policy)
        row.push_images("amd64")
        if policy == "on-amd64":
            row.refused(row.list_of("amd64", "plain"), ("plain", ""))
        else:
            row.accepted(row.list_of("amd64", "plain"))

    row.begin("Q10", "on-amd64")
    row.push_images("amd64")
    row.accepted(row.list_of("amd64", "attestation"))

    row.begin("Q11", "on-arm")
    row.push_images("armv7")
    row.refused(row.list_of("armv6", "armv7"), ("armv6", "arm"))

    row.begin("Q12", "on-amd64")
    row.push_images("amd64")
    row.refused(row.list_of("amd64", "windows"), ("windows", "amd64"))

    row.begin("Q14", "on-amd64")
    row.push_images("amd64")
    row.invalid(sparse_list(row.form, [image(row.form, "amd64").entry(PLATFORMS["amd64"], size=12)]), "MANIFEST_INVALID")

    row.begin("Q15", "on-amd64-arm64")
    twice = [image(row.form, "amd64").entry(PLATFORMS[name]) for name in ("amd64", "arm64")]
    row.refused(sparse_list(row.form, twice), ("amd64", "amd64"))
    row.push_images("amd64")
    row.accepted(sparse_list(row.form, twice))

    for policy, again in ("on-amd64", 400), ("on-arm", 201):
        row.begin("Q18", policy)
        row.push_images("amd64", "arm64")
        row.accepted(row.list_of("amd64", "arm64"))
        deleted = row.registry.ask("DELETE", "/v2/%s/manifests/%s" % (row.repository, image(row.form, "amd64").digest))
        row.equal("DELETE of a child", deleted.status, 202)
        row.absent("amd64")
        row.served(row.list_of("amd64", "arm64"))
        row.equal("PUT again", row.push(row.list_of("amd64", "arm64")).status, again)
        row.served(row.list_of("amd64", "arm64"))

    inner = row.list_of("arm64", "s390x")
    for policy in "off", "on-amd64":
        row.begin("Q20", policy)
        row.push_images("amd64")
        outer = sparse_list(row.form, [image(row.form, "amd64").entry(PLATFORMS["amd64"]), inner.entry(None)])
        row.refused(outer, (inner.digest, ""))
        if policy == "on-amd64":
            row.equal("PUT of the inner list", row.registry.put(row.repository, inner.digest, inner.media_type, inner.content).status, 201)
            row.accepted(outer)

    for policy in "off", "on-amd64":
        row.begin("Q21", policy)
        row.push_images("amd64")
        subject = image(row.form, "s390x")
        document = row.list_of("amd64", subject=subject.entry(None))
        # In Docker's form, nobody can refer to anything. In OCI's, a tag tells clients that do not know the API.
        referrers = [document.digest] if row.form == OCI else []
        answer = row.accepted(document, *[subject.digest.replace(":", "-") for _ in referrers])
        row.equal("OCI-Subject", answer.headers["OCI-Subject"], subject.digest if referrers else None)
        listed = row.registry.ask("GET", "/v2/%s/referrers/%s" % (row.repository, subject.digest))
        row.equal("referrers", [m["digest"] for m in json.loads(listed.body)["manifests"]], referrers)
        row.absent("s390x")

    row.begin("Q23", "on")
    row.invalid(row.list_of("amd64"), "DIGEST_INVALID", reference=digest_of(b"something else"))

    # Required platforms are told from what they are no variant of.
    row.begin("Q28", "on-armv7")
    row.push_images("armv7")
    row.accepted(row.list_of("armv6", "armv7", "arm64", "windows"))
    row.begin("Q28 missing", "on-armv7")
    row.push_images("armv6")
    row.refused(row.list_of("armv6", "armv7"), ("armv7", "arm"))

    row.begin("Q26", "on-amd64")
    row.push_images("amd64")
    row.accepted(row.list_of("amd64", "arm64"))


def announced(row):
    """Q22, which is about no list. For all repositories it is off, since some are."""
    row.begin("Q22", "off")
    for policy, required in [("", None), *REQUIRED.items()]:
        row.policy = policy or "of all"
        query = "?repository=%s/any" % policy if policy else ""
        answer = row.registry.ask("GET", "/v2/" + query)
        row.equal("status", answer.status, 200)
        row.equal("support", answer.headers["X-Sparse-Manifest-Support"], "false" if required is None else "true")
        row.equal("architectures", answer.headers["X-Required-Architectures"], ",".join(required or []) or None)
        answer = row.registry.ask("GET", "/api/v1/registry/capabilities" + query)
        said = json.loads(answer.body)["sparse_manifests"]
        row.equal("capabilities", (said["supported"], said["required_architectures"]), (required is not None, required or []))
        platforms = ["linux/arm/v7"] if policy == "on-armv7" else []
        row.equal("platforms", (said["required_platforms"], answer.status), (platforms, 200))


def switched_off(row):
    """What was accepted under another policy stays, and is refused if it is pushed again."""
    row.begin("Q26", "on-amd64")
    document = row.list_of("amd64", "arm64")
    row.served(document)
    answer = row.push(document)
    row.equal("PUT again", (answer.status, [e["code"] for e in answer.errors()]), (400, ["MANIFEST_BLOB_UNKNOWN"]))
    row.served(document)
    row.begin("Q5", "on-amd64")
    row.name = "Q17 after a restart"
    row.present("amd64", "arm64")
    row.served(row.list_of("amd64", "arm64", "ppc64le"))


def run(address, rows, form, by):
    row = Row(Registry(address), form, by)
    for carry_out in rows:
        carry_out(row)
    row.registry.connection.close()
    return row


def main(address, part):
    rows = {"table": [table], "switched-off": [switched_off]}[part]
    ways = [(rows, form, by) for form in (OCI, DOCKER) for by in ("tag", "digest")]
    if part == "table":
        ways.append(([announced], OCI, "tag"))
    with concurrent.futures.ThreadPoolExecutor(len(ways)) as threads:
        done = list(threads.map(lambda way: run(address, *way), ways))
    for row in done:
        for failure in row.failures:
            print(failure)
    failures = sum(len(row.failures) for row in done)
    print("%d checks, %d failed" % (sum(row.checks for row in done), failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
