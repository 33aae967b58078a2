"""Which names a checkout of Kubespray knows, on a small tree of the same form."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_how.errors import SpecError
from ai_how.kubernetes.variables import check_names, known_names

FILES = {
    "roles/a/defaults/main.yml": "---\nplain_one: 1\nnested:\n  inner_key: 2\n# commented_one: 3\n# Note: prose\n",
    "roles/deep/er/vars/main/extra.yaml": "from_vars: true\n",
    "inventory/sample/group_vars/all/all.yml": "# sample_only:\n#   below_it: 1\n## heading_like: in prose\n",
    "roles/a/tasks/main.yml": "- debug: {msg: \"{{ asked_for | default('x') }}\"}\n  when: maybe_there is defined\n",
    "roles/a/templates/x.j2": "{{ thing.attribute | default(1) }}{{ ansible_user | d(2) }}\n",
    "playbooks/remove.yml": "- hosts: \"{{ node | default('none') }}\"\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_defined_commented_and_asked_for_names_are_known(checkout: Path) -> None:
    assert known_names(checkout) == {
        "plain_one", "nested", "commented_one", "from_vars", "sample_only", "asked_for", "maybe_there", "node"
    }  # fmt: skip


def test_an_unknown_name_is_refused_with_the_nearest(checkout: Path) -> None:
    with pytest.raises(SpecError) as caught:
        check_names(["plain_one", "plian_one", "zzzzzz"], checkout, version="2.31.0")
    assert caught.value.brief == "Kubespray 2.31.0 has no variables plian_one, zzzzzz"
    assert caught.value.evidence == "plian_one: unknown, did you mean plain_one?\nzzzzzz: unknown"


def test_what_a_role_sets_whatever_the_inventory_says_is_refused(checkout: Path) -> None:
    with pytest.raises(SpecError) as caught:
        check_names(["plain_one", "from_vars"], checkout, version="2.31.0")
    assert caught.value.brief == "Kubespray 2.31.0 does not let change variable from_vars"
    assert caught.value.evidence == "from_vars: a role sets it itself"


def test_known_names_pass(checkout: Path) -> None:
    check_names(["plain_one", "node"], checkout, version="2.31.0")
