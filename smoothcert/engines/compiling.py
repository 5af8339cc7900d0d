"""torch.compile for voters."""

import torch._dynamo
from torch import nn

_ENGINES = 256  # compiled in one process, at most


def compile_voter(voter: nn.Module, options: dict[str, bool] | None = None) -> None:
    """Compile in place for one fixed shape; the work is done at the first call. No kernel is chosen by timing
    it: the next process might choose another, which is another base classifier.

    Every engine is a recompilation of the same forward. Beyond its limit (8) torch goes on uncompiled without
    a word, which would be another base classifier than the one named: raise the limit, and fail beyond it.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _ENGINES)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    voter.compile(dynamic=False, options={"deterministic": True, **(options or {})})
