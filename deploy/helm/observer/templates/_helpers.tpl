{{/* The name of every object: the release's, which says observer already where it is called so. */}}
{{- define "observer.name" -}}
{{- if contains "observer" .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-observer" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* The name of what belongs to no namespace: another release may have the same name in another one. */}}
{{- define "observer.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "observer.name" .) | trunc 253 | trimSuffix "-" }}
{{- end }}

{{/* What finds the pods; it can't change while a DaemonSet lives. */}}
{{- define "observer.selector" -}}
app.kubernetes.io/name: observer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "observer.labels" -}}
{{ include "observer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "observer.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "observer.name" .) }}
{{- end }}

{{- define "observer.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Not empty where the configuration wants labels or annotations of namespaces. */}}
{{- define "observer.followsNamespaces" -}}
{{- $attributes := default dict (default dict .Values.config.kubernetes).attributes -}}
{{- if or $attributes.namespace_labels $attributes.namespace_annotations -}}true{{- end -}}
{{- end }}

{{/* observer.yaml: the values' config, with what other values say. */}}
{{- define "observer.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "prometheus" (printf "0.0.0.0:%v" .Values.metrics.port) -}}
{{- $cluster := dict "watch" (ternary "auto" "off" .Values.kubernetes.enabled) "services" (ternary "on" "off" .Values.kubernetes.services) -}}
{{- $_ := set $config "kubernetes" (merge $cluster (default dict $config.kubernetes)) -}}
{{- if .Values.otlp.endpoint -}}
{{- $_ := set $config "otlp" (merge (dict "endpoint" .Values.otlp.endpoint) (default dict $config.otlp)) -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}
