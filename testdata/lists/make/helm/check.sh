mkdir "$STATE"
helm pull "oci://$REGISTRY/helm-chart" --version 0.1.0 --plain-http --destination "$STATE"
cmp helm-chart-0.1.0.tgz "$STATE/helm-chart-0.1.0.tgz"
