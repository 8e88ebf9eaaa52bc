"""States that are more than a tuple of tensors, as torch takes them apart."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


def register_state(kind: type[Any], parts: Callable[[Any], list[Tensor]]) -> None:
    """Let torch.export and torch.func take states of a class apart, and put them together as `kind(*parts)`."""
    pytree.register_pytree_node(
        kind,
        lambda state: (parts(state), None),
        lambda values, _: kind(*values),
        serialized_type_name=f"cells.{kind.__name__}",
        flatten_with_keys_fn=lambda state: (
            [(pytree.SequenceKey(number), part) for number, part in enumerate(parts(state))],
            None,
        ),
    )
