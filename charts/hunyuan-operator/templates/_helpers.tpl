{{- define "hunyuan-operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "hunyuan-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hunyuan-operator.labels" -}}
{{ include "hunyuan-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* A tag of digits alone is a number to --set, and would be written as 2.0261124e+07. */}}
{{- define "hunyuan-operator.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{ .Values.image.repository }}:{{ kindIs "string" $tag | ternary $tag (int64 $tag) }}
{{- end }}

{{/* Everything that the operator does outside its own namespace, and nothing more. */}}
{{- define "hunyuan-operator.rules" -}}
- apiGroups: [hunyuan.dev]
  resources: [hunyuandeployments, hunyuanfinetunes]
  verbs: [get, list, watch]
- apiGroups: [hunyuan.dev]
  resources: [hunyuandeployments/status, hunyuanfinetunes/status]
  verbs: [patch]
# Children bear ownerReferences with blockOwnerDeletion; where the admission plugin
# OwnerReferencesPermissionEnforcement is on (OpenShift), that asks for this right.
- apiGroups: [hunyuan.dev]
  resources: [hunyuandeployments/finalizers, hunyuanfinetunes/finalizers]
  verbs: [update]
# patch: adoption of pods that an earlier deployment of the same name left.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, delete]
# patch: server-side apply.
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
# Gangs: whichever of them is installed. Asked for by name; never listed nor watched.
- apiGroups: [scheduling.volcano.sh, scheduling.x-k8s.io, scheduling.k8s.io]
  resources: [podgroups]
  verbs: [get, create, delete]
# Is the token of a deployment there? Asked by name, for metadata only; never listed, watched or read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
