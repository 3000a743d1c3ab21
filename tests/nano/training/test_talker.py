"""Tests that the assembled Talker computes what the trained one does."""

from __future__ import annotations

import torch

from omnijet.nano.training.talker import CODES, TalkerNet, fold_prompt_row, said_before
from omnijet.nano.training.tokenizer import model_dims


def test_a_prompt_row_without_a_code_is_one_with_row_0() -> None:
    """Folded weights on rows without a code equal trained weights on rows with row 0."""
    net = TalkerNet().eval()
    with torch.no_grad():
        net.model.embed_tokens.weight[0] = torch.randn(net.model.embed_tokens.embedding_dim)
    codec = model_dims().codec
    fed = torch.tensor([[0, 0, 0, codec.pad, codec.bos, 5, 1, CODES]])
    text = torch.randn(1, fed.shape[1], net.model.embed_tokens.embedding_dim)
    positions = torch.arange(fed.shape[1])[None]
    with torch.no_grad():
        trained, _ = net(text + net.model.embed_tokens(fed), positions)
        net.load_state_dict(fold_prompt_row(net.state_dict()))
        carried = net.model.embed_tokens(fed) * (fed != 0)[..., None]
        assembled, _ = net(text + carried, positions)
        ignored, _ = net(text + carried * 0, positions)
    scale = trained.abs().max()
    assert (assembled - trained).abs().max() < 1e-4 * scale
    assert (ignored - trained).abs().max() > 1e-1 * scale
    unused = net.model.embed_tokens.weight[CODES + 1 : codec.pad]
    assert not unused.any() and not net.model.embed_tokens.weight[0].any()


def test_said_before_looks_back_alone() -> None:
    said = said_before(torch.tensor([[-100, 3, 4, 3, 0]]))
    assert said[0].nonzero().tolist() == [[2, 3], [3, 3], [3, 4], [4, 3], [4, 4]]
