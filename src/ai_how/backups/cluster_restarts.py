"""What has to follow Secrets that were put back: restarts, and the certificate that the authority among them signs.

By the ages of pods a restore that was broken off knows what is left to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from ai_how.apply.provider import Say
from ai_how.backups.cluster_secrets import SecretBack, Way
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.removal import remove_one
from ai_how.kubernetes_api.waiting import wait_until_well
from ai_how.stack.components import gateway
from ai_how.stack.setting import CERT_MANAGER, GATEWAY
from ai_how.stack_access.restarts import WELL_S, Restart, restarts_for
from ai_how.stack_access.running import RunningStack

_GONE_S = 60
_AUTHORITY = Ref(api_version="v1", kind="Secret", namespace=CERT_MANAGER, name=gateway.AUTHORITY)
_CERTIFICATE = Ref(api_version="v1", kind="Secret", namespace=GATEWAY, name=gateway.CERTIFICATE)


def plan_restarts(stack: RunningStack, planned: Sequence[SecretBack]) -> tuple[Restart, ...]:
    """What has to be restarted for these Secrets. Changes nothing.

    Raises:
        NotFoundError: as ``restarts_for``.
    """
    changes = {one.ref: one.way is not Way.SAME for one in planned if one.way is not Way.LEAVE}
    return restarts_for(stack, changes)


def stale_certificate(client: Client, planned: Sequence[SecretBack]) -> bool:
    """Whether the gateway's certificate is of another authority than the one that there will be."""
    back = next((one for one in planned if one.ref == _AUTHORITY), None)
    if back is None or back.way is Way.LEAVE:
        return False
    if back.way is not Way.SAME:
        return True
    ours, theirs = client.get(_AUTHORITY), client.get(_CERTIFICATE)
    if ours is None or theirs is None:
        return False
    return bool((theirs.get("data") or {}).get("ca.crt") != (ours.get("data") or {}).get("tls.crt"))


def renew_certificate(client: Client, *, say: Say) -> None:
    """Have cert-manager sign the gateway's certificate again: it does where the Secret of one is not there.

    Raises:
        NotWellError: it does not.
    """
    live = client.get(_CERTIFICATE)
    say(f"{_CERTIFICATE} is signed again")
    if live is not None:
        remove_one(client, _CERTIFICATE, uid=str(live["metadata"]["uid"]), timeout_s=_GONE_S)
    wait_until_well(client, _CERTIFICATE, timeout_s=WELL_S)
    certificate = Ref(api_version="cert-manager.io/v1", kind="Certificate", namespace=GATEWAY, name=gateway.CERTIFICATE)
    wait_until_well(client, certificate, timeout_s=WELL_S)
