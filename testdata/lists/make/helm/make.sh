helm create helm-chart
helm package helm-chart
helm push helm-chart-0.1.0.tgz "oci://$REGISTRY" --plain-http
