"""The blocks of every system's networks, run again for their gradients, or sharded: same loss, same gradients."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from flipbook import parallel, systems
from flipbook.nn.doors import Doors
from flipbook.training.blocks import blocks_of, recompute

NAMES = ("thumb", "bench", "stable-diffusion", "animatediff", "modelscope", "svd", "lavie")


def network(name):
    torch.manual_seed(0)
    net = systems.build(name, tiny=True).denoiser
    with torch.no_grad():
        for parameter in net.parameters():  # away from layers that are born as zeros, behind which no gradient passes
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


def loss(net):
    config, chance = net.config, torch.Generator().manual_seed(1)
    vector = getattr(config, "vector", None) or ()
    doors = Doors(
        tokens=torch.randn(2, 3, config.text_dim, generator=chance),
        channels=torch.randn(2, config.channel_door, 2, 8, 8, generator=chance) if config.channel_door else None,
        vector=torch.full((2, sum(part.width for part in vector)), 3.0) if vector else None,
    )
    return net(torch.randn(2, config.in_channels, 2, 8, 8, generator=chance), torch.tensor([0.5, 0.9]), doors).square().mean()


def gradients(net):
    torch.manual_seed(2)  # some networks drop channels while they learn
    value = loss(net)
    value.backward()
    return {"loss": value.detach(), **{n: parallel.whole(p.grad) for n, p in net.named_parameters() if p.grad is not None}}


def saved_bytes(net):
    """Bytes that wait for the way back, other than weights."""
    weights, seen = {p.untyped_storage().data_ptr() for p in net.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)  # kept, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(net)
    return sum(size for size, _ in seen.values())


@pytest.mark.parametrize("name", NAMES)
def test_blocks_hold_most_of_a_network_and_none_holds_another(name):
    net = network(name)
    blocks = blocks_of(net)
    held = [p for block in blocks for p in block.parameters()]
    assert len({id(p) for p in held}) == len(held)
    assert sum(p.numel() for p in held) > 0.5 * sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_running_blocks_again_changes_no_bit_of_loss_or_gradients(name):
    plain, again = network(name), network(name)
    assert recompute(again) == len(blocks_of(plain)) > 1
    ours, theirs = gradients(plain), gradients(again)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_running_blocks_again_keeps_less_for_the_way_back():
    plain, again = network("thumb"), network("thumb")
    recompute(again)
    assert saved_bytes(again) < 0.5 * saved_bytes(plain)


@pytest.fixture
def alone():
    """A group of one process, in which sharding is real but every slice is the whole."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield parallel.Group(0, 1, torch.device("cpu"))
    parallel.leave()


@pytest.mark.parametrize("name", NAMES)
def test_sharded_networks_compute_what_whole_ones_do_keys_ahead_of_their_turn_included(name, alone):
    ours, net = gradients(network(name)), network(name)
    parallel.shard(torch.nn.ModuleDict({"net": net}), blocks_of(net), alone)
    assert any(parallel.is_sharded(p) for p in net.parameters())
    theirs = gradients(net)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in ours)
    again = network(name)
    parallel.shard(torch.nn.ModuleDict({"net": again}), blocks_of(again), alone)
    recompute(again)
    assert all(torch.allclose(ours[key], value, atol=1e-6) for key, value in gradients(again).items())


def test_tied_weights_stay_whole(alone):
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(x)

    net = torch.nn.ModuleList([Block(), Block()])
    net[1].layer.weight = net[0].layer.weight
    parallel.shard(torch.nn.ModuleDict({"net": net}), blocks_of(net), alone)
    assert {name: parallel.is_sharded(p) for name, p in net.named_parameters()} == {
        "0.layer.weight": False, "0.layer.bias": True, "1.layer.bias": True,
    }  # fmt: skip
    net[1](net[0](torch.ones(1, 2))).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
