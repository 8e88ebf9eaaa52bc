"""Selective copy: repeat the symbols that stood here and there among blanks."""

import torch

from tasks.classification import one_hot
from tasks.copy_memory import CopyMemory
from tasks.endings import at
from tasks.task import Batch


class SelectiveCopy(CopyMemory):
    """Repeat `span` symbols that stand at random places among blanks, in their order (Jing et al. 2019, denoising; as
    named and placed by Gu & Dao 2023).

    With K=3 symbols a b c, span L=2, delay T=6, blank `_` and delimiter `:` a sequence and its answer, T+2L steps, are

        inputs   _ b _ _ _ a _ : _ _
        targets  _ _ _ _ _ _ _ _ b a

    It is copy memory whose symbols and blanks of before the delimiter, T+L−1 steps, are shuffled, the symbols keeping
    their order: how far back each symbol lies differs from sequence to sequence, so it cannot be solved by counting.
    Everything else, the baseline L·ln K/(T+2L) too, is as in copy memory.

    Args: see `CopyMemory`.
    """

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device, blank, delimiter = generator.device, self.symbols, self.symbols + 1
        shown = torch.randint(self.symbols, (self.span, batch_size), generator=generator, device=device)
        before = self.span + self.delay - 1
        # The places of the `span` largest of as many random numbers as there are steps: any set is as likely.
        chance = torch.rand(before, batch_size, generator=generator, device=device)
        places = chance.topk(self.span, dim=0).indices.sort(dim=0).values
        classes = torch.full((self.length, batch_size), blank, device=device)
        targets = classes.clone()
        classes.scatter_(0, places, shown)
        classes[before] = delimiter
        targets[-self.span :] = shown
        return Batch(one_hot(classes, self.input_size), targets)

    def cue(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        step = batch.inputs[..., : self.symbols].sum(dim=-1).argmax(dim=0)
        return at(batch.inputs, step)[:, : self.symbols], step
