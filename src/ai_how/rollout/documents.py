"""Reads the objects that others have written as YAML documents: published files, and what Helm prints."""

from __future__ import annotations

from collections.abc import Mapping

from ai_how.errors import ProviderError
from ai_how.kubernetes_api.objects import ApiObject


def objects_in(text: str, what: str) -> tuple[ApiObject, ...]:
    """Every object in the documents, in their order; empty documents are passed over. Pure.

    Args:
        what: What holds them, for the error.

    Raises:
        ProviderError: it is no YAML, or a document is no object.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import SafeConstructor
    from ruamel.yaml.error import YAMLError

    class Constructor(SafeConstructor):
        """Takes a lone = for text, as Kubernetes does: YAML 1.1 has a type of its own for it."""

    Constructor.add_constructor("tag:yaml.org,2002:value", Constructor.construct_yaml_str)
    reader = YAML(typ="safe")
    reader.Constructor = Constructor
    try:
        documents = [each for each in reader.load_all(text) if each]
    except YAMLError as error:
        raise ProviderError(f"{what} holds no objects", evidence=str(error)[:300]) from error
    for document in documents:
        if not isinstance(document, Mapping):
            raise ProviderError(f"{what} holds no objects", evidence=f"it has {type(document).__name__}")
    return tuple(documents)


def without_status(thing: ApiObject) -> ApiObject:
    """What its server has noted is not ours to apply. Pure."""
    return {key: value for key, value in thing.items() if key != "status"}
