{{- /* One name for everything: the override, or the release where it names the chart, or both joined. */}}
{{- define "standin.app" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "standin.name" -}}
{{- $app := .Values.nameOverride | default .Chart.Name }}
{{- $joined := ternary .Release.Name (print .Release.Name "-" $app) (contains $app .Release.Name) }}
{{- .Values.fullnameOverride | default $joined | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "standin.selector" -}}
app.kubernetes.io/name: {{ template "standin.app" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "standin.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "standin.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  helm.sh/chart: {{ print .Chart.Name "-" .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "standin.ports" -}}
- {name: http, port: {{ .grpc }}, targetPort: http, protocol: TCP}
- {name: prometheus, port: {{ .metrics }}, targetPort: prometheus, protocol: TCP}
{{- end }}
