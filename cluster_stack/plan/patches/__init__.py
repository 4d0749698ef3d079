"""The user's own patches of machine configurations: read, checked against what Talos decodes, and handed on. Offline.

Does not merge patches. What only the finished configuration shows (a key that a patch deletes and nobody wrote, two
documents that exclude each other) is found by Talos' own library, in the preview.
"""

from cluster_stack.plan.patches.checking import check
from cluster_stack.plan.patches.reading import PatchDocument, Place, as_patch_texts, read

__all__ = ["PatchDocument", "Place", "as_patch_texts", "check", "read"]
