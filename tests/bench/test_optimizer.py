"""The optimiser of a run is torch's, without torch's compiler."""

import pytest
import torch
from torch.optim import Optimizer

from bench.record.errors import ConfigError
from bench.spec.config import Training
from bench.spec.optimizer import make_optimizer
from tests.python import python

OPTIONS = {"SGD": {"momentum": 0.9}, "Muon": {"momentum": 0.9}}
NAMES = [
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type)
    and issubclass(kind, Optimizer)
    and name not in ("Optimizer", "LBFGS", "SparseAdam")  # which takes no dense gradients
]
ONE_STEP = """
import sys, torch
from bench.spec.config import Training
from bench.spec.optimizer import make_optimizer
weight = torch.nn.Parameter(torch.ones(2, 2))
optimizer = make_optimizer(Training(optimizer=sys.argv[1]), [weight])
optimizer.zero_grad()
weight.sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
print(weight[0, 0].item() < 1, "torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_torchs_steps_and_keeps_torchs_state(name: str):
    options = OPTIONS.get(name, {})
    training = Training(optimizer=name, learning_rate=0.01, optimizer_options=options)
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(3, 4))
    expected = torch.nn.Parameter(weight.detach().clone())
    mine = make_optimizer(training, [weight])
    fused = {"fused": True} if mine.defaults.get("fused") else {}
    torchs = getattr(torch.optim, name)([expected], lr=0.01, **fused, **options)
    for _ in range(3):
        gradient = torch.randn(3, 4)
        weight.grad, expected.grad = gradient.clone(), gradient.clone()
        mine.step()
        torchs.step()
    assert torch.equal(weight, expected)
    states = [each.state_dict() for each in (mine, torchs)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for one, other in zip(*(state["state"][0].items() for state in states), strict=True):
        assert one[0] == other[0]
        assert torch.equal(torch.as_tensor(one[1]), torch.as_tensor(other[1]))


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_a_step_and_a_checkpoint_do_without_torchs_compiler(name: str):
    said = python("-c", ONE_STEP, name).stdout
    assert said.split() == ["True", "False"]


def test_a_wrong_option_is_named_as_torch_names_it():
    with pytest.raises(ConfigError, match=r"Adam got an unexpected keyword argument 'momentum'"):
        make_optimizer(Training(optimizer_options={"momentum": 0.5}), [torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(ConfigError, match="no such optimiser"):
        make_optimizer(Training(optimizer="Adamm"), [torch.nn.Parameter(torch.zeros(1))])
