"""The API key that clients of a cluster's endpoints send: a Secret that is made in the cluster.

vLLM compares keys itself and reads them once, when it starts. From its environment it takes one; several it takes as an
option only, which others can read on the node and which up to 0.23 it prints in its log. So there is one, which can be
made anew. Source: vllm/entrypoints/openai/api_server.py, ``build_app``; serve/utils/api_utils.py,
``log_non_default_args``.
"""

from __future__ import annotations

import time

from ai_how.apply.provider import Say
from ai_how.errors import ConflictError
from ai_how.kubernetes_api.generated import make_secret
from ai_how.kubernetes_api.marks import Mark
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.removal import remove_one
from ai_how.models.types import SecretText
from ai_how.stack.components import kserve
from ai_how.stack.components.kserve import API_KEY, API_KEYS
from ai_how.stack.setting import MODELS
from ai_how.stack_access.restarts import TICK_S, Restart, carry_out, restarts_for
from ai_how.stack_access.running import RunningStack, read_secret, value_of

_SECRET = Ref(api_version="v1", kind="Secret", namespace=MODELS, name=API_KEYS)
_GONE_S = 60


def read_api_keys(stack: RunningStack) -> dict[str, SecretText]:
    """Key name -> key; the default one is among them.

    Raises:
        NotFoundError, ProviderError: the Secret is missing, or lacks it.
    """
    values = read_secret(stack, MODELS, API_KEYS)
    value_of(values, API_KEY, of=f"{MODELS}/{API_KEYS}")
    return values


def restarts_of_renewal(stack: RunningStack) -> tuple[Restart, ...]:
    """What has to be restarted for another key: every endpoint that runs. Changes nothing.

    Raises:
        NotFoundError: a pod that nothing would make again uses the key.
    """
    return restarts_for(stack, {_SECRET: True})


def renew_api_key(stack: RunningStack, *, say: Say) -> None:
    """Make the key anew, and restart what has read the old one. Done again, it makes another one.

    Raises:
        NotWellError: an endpoint did not come back; the key is the new one.
    """
    live = stack.api.get(_SECRET)
    if live is not None:
        remove_one(stack.api, _SECRET, uid=str(live["metadata"]["uid"]), timeout_s=_GONE_S)
    made = next(secret for secret in kserve.render(stack.setting).component.secrets if secret.name == API_KEYS)
    mark = Mark(site=stack.site.name, component=kserve.NAME)
    make_secret(stack.api, made.name, namespaces=[made.namespace], random=made.random, texts=made.texts, mark=mark)
    time.sleep(TICK_S)
    carry_out(stack, restarts_for(stack, {_SECRET: False}), say=say)


def one_key(site: str) -> ConflictError:
    """The error for making or revoking a key on a cluster."""
    return ConflictError(
        f"the endpoints of site {site} share one key",
        evidence="vLLM takes several only as an option, which others can read, and prints them in its log",
        next_step=f"give clients that one: ai-how key show; make it anew, the old one ends: ai-how key renew {API_KEY}",
    )
