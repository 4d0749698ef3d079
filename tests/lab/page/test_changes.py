"""What is sent to a browser that knows the last document."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.page.changes import merge_patch

leaves = st.integers() | st.text(max_size=3) | st.booleans() | st.lists(st.integers(), max_size=2)
documents = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(leaves, lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3), max_leaves=8),
    max_size=4,
)


def apply(target: Any, patch: Any) -> Any:
    """MergePatch of RFC 7396, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = apply(target.get(name), value)
    return target


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy with other things
@given(documents, documents)
def test_a_patch_makes_the_new_document_of_the_old_one(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = merge_patch(old, new)
    assert apply(old, patch) == new


def test_only_what_changed_is_in_it() -> None:
    old = {"vms": {"800": {"stage": "booting", "name": "cp1"}, "801": {"stage": "off"}}, "faults": []}
    new = {"vms": {"800": {"stage": "running", "name": "cp1"}}, "faults": []}
    assert merge_patch(old, new) == {"vms": {"800": {"stage": "running"}, "801": None}}
    assert merge_patch(new, new) == {}
