"""The one way in: a Gateway with TLS, the certificates' issuer, and the routes to MLflow, Grafana and the console.

Routes to models come with their endpoints. Source of the fields: Gateway API 1.5.1, NGINX Gateway Fabric 2.6.7's CRDs.
"""

from __future__ import annotations

from ai_how.stack.components import cert_manager, gateway_controller, mlflow, monitoring, namespaces, object_store
from ai_how.stack.manifests import Object
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Address, Backup, Part, Workload
from ai_how.stack.policies import from_space, policy, ports, to_space
from ai_how.stack.setting import CERT_MANAGER, GATEWAY, MLOPS, MODELS, MONITORING, NGINX_GATEWAY, Setting

NAME = "gateway"
GATEWAY_NAME = "ai-how"
NGINX_NAME = f"{GATEWAY_NAME}-nginx"
"""What the controller makes for it: named after the Gateway and its class."""
CERTIFICATE = "gateway-tls"
AUTHORITY = "ai-how-ca"
ISSUER = "ai-how"
HTTP, HTTPS = 80, 443
METRICS_PORT, SOLVER_PORT = 9113, 8089
_API = "gateway.networking.k8s.io/v1"
_NGINX = "gateway.nginx.org/v1alpha1"


def render(setting: Setting) -> Part:
    """The Gateway, its certificate and the routes."""
    objects = [
        *_issuers(setting),
        _certificate(setting),
        _gateway(setting),
        _redirect(setting),
        *_routes(setting),
        *_policies(setting),
    ]
    return Part(
        title="Gateway",
        version=setting.version("nginx-gateway-fabric"),
        component=Component(
            name=NAME,
            namespace=GATEWAY,
            objects=tuple(objects),
            needs=(
                namespaces.NAME,
                cert_manager.NAME,
                gateway_controller.NAME,
                mlflow.NAME,
                monitoring.NAME,
                object_store.NAME,
            ),
            awaited=(
                Awaited(
                    api_version="cert-manager.io/v1",
                    kind="Certificate",
                    name=CERTIFICATE,
                    namespace=GATEWAY,
                    condition="Ready",
                ),
                Awaited(api_version=_API, kind="Gateway", name=GATEWAY_NAME, namespace=GATEWAY, condition="Programmed"),
                # the Gateway counts as programmed whether or not its nginx has a pod
                Awaited(api_version="apps/v1", kind="Deployment", name=NGINX_NAME, namespace=GATEWAY),
            ),
        ),
        workloads=(Workload(name=NGINX_NAME, request=gateway_controller.NGINX),),
        addresses=(Address(title="Inference", url=_models_url(setting)),),
        backups=_backups(setting),
        notes=_notes(setting),
    )


def _models_url(setting: Setting) -> str:
    # KServe's default template: name-namespace.domain
    return setting.url(f"<name>-{MODELS}")


def _notes(setting: Setting) -> tuple[str, ...]:
    access = setting.stack.access
    if access.issuer == "acme":
        return ("ACME signs no wildcards over HTTP: the hosts of models have no certificate of their own",)
    if access.issuer == "self-signed":
        return (f"browsers trust it when they are given tls.crt of Secret {CERT_MANAGER}/{AUTHORITY}",)
    return ()


def _backups(setting: Setting) -> tuple[Backup, ...]:
    if setting.stack.access.issuer != "self-signed":
        return ()
    return (Backup(kind="secrets", namespace=CERT_MANAGER, items=(AUTHORITY,)),)


def _issuer_name(setting: Setting) -> str:
    return setting.stack.access.cluster_issuer or ISSUER


def _issuers(setting: Setting) -> tuple[Object, ...]:
    access = setting.stack.access
    if access.issuer == "existing":
        return ()
    if access.issuer == "acme":
        solver = {
            "http01": {
                "gatewayHTTPRoute": {
                    "parentRefs": [
                        {"kind": "Gateway", "name": GATEWAY_NAME, "namespace": GATEWAY, "sectionName": "http"}
                    ]
                }
            }
        }
        acme = {
            "server": access.acme_server,
            "email": access.acme_email,
            "privateKeySecretRef": {"name": "ai-how-acme"},
            "solvers": [solver],
        }
        return (_cluster_issuer(ISSUER, {"acme": acme}),)
    first = f"{ISSUER}-self-signed"
    authority = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": AUTHORITY, "namespace": CERT_MANAGER},
        "spec": {
            "isCA": True,
            "commonName": f"ai-how {setting.site} {setting.cluster}"[:64],
            "secretName": AUTHORITY,
            "duration": "87600h",
            # browsers are told to trust this very key
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Never"},
            "issuerRef": {"name": first, "kind": "ClusterIssuer", "group": "cert-manager.io"},
        },
    }
    return (
        _cluster_issuer(first, {"selfSigned": {}}),
        authority,
        _cluster_issuer(ISSUER, {"ca": {"secretName": AUTHORITY}}),
    )


def _cluster_issuer(name: str, spec: Object) -> Object:
    return {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": name}, "spec": spec}


def _certificate(setting: Setting) -> Object:
    # HTTP challenges cannot prove a wildcard
    acme = setting.stack.access.issuer == "acme"
    names = [setting.host(name) for name in _hosts(setting)] if acme else [setting.host("*")]
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": CERTIFICATE, "namespace": GATEWAY},
        "spec": {
            "secretName": CERTIFICATE,
            "dnsNames": names,
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "issuerRef": {"name": _issuer_name(setting), "kind": "ClusterIssuer", "group": "cert-manager.io"},
        },
    }


def _gateway(setting: Setting) -> Object:
    spaces = {
        "from": "Selector",
        "selector": {
            "matchExpressions": [
                {
                    "key": "kubernetes.io/metadata.name",
                    "operator": "In",
                    "values": [MLOPS, MODELS, MONITORING],
                }
            ]
        },
    }
    return {
        "apiVersion": _API,
        "kind": "Gateway",
        "metadata": {"name": GATEWAY_NAME, "namespace": GATEWAY},
        "spec": {
            "gatewayClassName": "nginx",
            "listeners": [
                {
                    "name": "http",
                    "port": HTTP,
                    "protocol": "HTTP",
                    "allowedRoutes": {"namespaces": {"from": "Same"}},
                },
                {
                    "name": "https",
                    "port": HTTPS,
                    "protocol": "HTTPS",
                    "hostname": setting.host("*"),
                    "tls": {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": CERTIFICATE}]},
                    "allowedRoutes": {"namespaces": spaces},
                },
            ],
        },
    }


def _redirect(setting: Setting) -> Object:
    access = setting.stack.access
    to = {"scheme": "https", "statusCode": 301}
    if access.type == "node-port":
        to["port"] = access.https_port
    return {
        "apiVersion": _API,
        "kind": "HTTPRoute",
        "metadata": {"name": "to-https", "namespace": GATEWAY},
        "spec": {
            "parentRefs": [{"name": GATEWAY_NAME, "sectionName": "http"}],
            "hostnames": [setting.host("*")],
            "rules": [{"filters": [{"type": "RequestRedirect", "requestRedirect": to}]}],
        },
    }


def _hosts(setting: Setting) -> tuple[str, ...]:
    """What has a route of its own, by host."""
    found = ["grafana"]
    if setting.stack.object_store.type != "external":
        found.append("console")
    if mlflow.login_asked(setting):
        found.append("mlflow")
    return tuple(sorted(found))


def _routes(setting: Setting) -> tuple[Object, ...]:
    found: list[Object] = []
    hosts = _hosts(setting)
    if "grafana" in hosts:
        found.append(_route("grafana", MONITORING, setting, service="grafana", port=80))
    if "console" in hosts:
        port = object_store.CONSOLE_PORTS[setting.stack.object_store.type]
        found.append(_route("console", MLOPS, setting, service=object_store.APP, port=port))
    if "mlflow" in hosts:
        asks = {
            "type": "ExtensionRef",
            "extensionRef": {"group": "gateway.nginx.org", "kind": "AuthenticationFilter", "name": mlflow.LOGIN},
        }
        found += [
            _route("mlflow", MLOPS, setting, service=mlflow.APP, port=mlflow.PORT, filters=(asks,)),
            _login(),
            _any_size(),
        ]
    return tuple(found)


def _route(
    name: str, space: str, setting: Setting, *, service: str, port: int, filters: tuple[Object, ...] = ()
) -> Object:
    rule: Object = {"backendRefs": [{"name": service, "port": port}]}
    if filters:
        rule["filters"] = list(filters)
    return {
        "apiVersion": _API,
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": space},
        "spec": {
            "parentRefs": [{"name": GATEWAY_NAME, "namespace": GATEWAY, "sectionName": "https"}],
            "hostnames": [setting.host(name)],
            "rules": [rule],
        },
    }


def _login() -> Object:
    return {
        "apiVersion": _NGINX,
        "kind": "AuthenticationFilter",
        "metadata": {"name": mlflow.LOGIN, "namespace": MLOPS},
        "spec": {"type": "Basic", "basic": {"realm": "MLflow", "secretRef": {"name": mlflow.LOGIN}}},
    }


def _any_size() -> Object:
    """nginx refuses bodies above 1 MB; artifacts are larger."""
    return {
        "apiVersion": _NGINX,
        "kind": "ClientSettingsPolicy",
        "metadata": {"name": "mlflow", "namespace": MLOPS},
        "spec": {
            "targetRef": {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "mlflow"},
            "body": {"maxSize": "0"},
        },
    }


def _policies(setting: Setting) -> tuple[Object, ...]:
    out = [
        to_space(NGINX_GATEWAY, gateway_controller.AGENT_PORT),
        to_space(MONITORING, monitoring.GRAFANA_PORT),
        to_space(MLOPS, mlflow.PORT, app=mlflow.APP),
        {"to": to_space(MODELS)["to"], "ports": [{"port": 1024, "endPort": 65535, "protocol": "TCP"}]},
    ]
    if setting.stack.object_store.type != "external":
        console = object_store.CONSOLE_PORTS[setting.stack.object_store.type]
        out.append(to_space(MLOPS, console, app=object_store.APP))
    everyone: Object = {"ports": ports(HTTP, HTTPS)}
    inside = [everyone, from_space(MONITORING, METRICS_PORT)]
    if setting.stack.access.issuer == "acme":
        # pods that answer challenges run beside nginx
        inside.append(from_space(GATEWAY, SOLVER_PORT))
        out.append(to_space(GATEWAY, SOLVER_PORT))
    return (policy("allow-clients", GATEWAY, ingress=tuple(inside), egress=tuple(out)),)
