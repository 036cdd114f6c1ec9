"""The video transformer of Wan 2.1 (arXiv:2503.20314, section 4.2): full attention over all tokens of a clip, text by cross-attention.

One block, repeated: x += g1 Attn(mod(LN x)); x += CrossAttn(LN x, rows); x += g2 MLP(mod(LN x)), modulated by the noise level through one
network for all blocks and a table for each (adaLN-single). Queries and keys are normalised over all heads at once and turn with the
(frame, row, column) of their token. Rows behind the end of a sentence are zeros which every token reads, as in training; they are all
alike, so that one of them, counted as often as it occurs, serves for all.

The image-to-video variant reads besides what it denoises the known latents and their mask (`channels`), and rows of a picture
(`picture_tokens`), whose attention is added to the text's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.attention import attend, softmax_attention
from flipbook.nn.dit_block import modulated
from flipbook.nn.dit_ends import Head, check_call, text_rows, xavier_
from flipbook.nn.doors import Doors
from flipbook.nn.embed import RMSNorm, TimeEmbedding
from flipbook.nn.fused import GELULayers
from flipbook.nn.patches import PatchEmbed
from flipbook.nn.rope_pairs import rotary_pairs, rotate_pairs
from flipbook.nn.rows import collapsed, log_counts
from flipbook.nn.run import Run, compile_each, run_plain

FEW, QUERIES = 128, 4096        # rows of text up to which plain products beat the fused kernel on a CPU, and queries at a time


@dataclass(frozen=True, kw_only=True)
class WanConfig:
    """Sizes of a network; the defaults are the 1.3 B text-to-video model.

    channel_door:      channels that the `channels` door adds to the input: 20 for image-to-video, the mask of 4 frames and the latent.
    picture_dim:       width of the `picture_tokens` rows; None: the network reads no picture.
    picture_positions: learned positions of those rows, for networks that read two pictures; None: none.
    """

    in_channels: int = 16
    channel_door: int = 0
    text_dim: int = 4096
    picture_dim: int | None = None
    picture_positions: int | None = None
    dim: int = 1536
    depth: int = 30
    num_heads: int = 12
    mlp_dim: int = 8960
    time_frequencies: int = 256
    patch: int = 2                      # patch height and width in latent cells; one frame each
    norm_before_text: bool = True
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(f"dim={self.dim} and num_heads={self.num_heads}: a head needs an even number of channels. Try heads of 64 or 128.")

    @property
    def cell(self) -> int:
        """Latent cells of a token's side."""
        return self.patch


class Wan(nn.Module):
    """A denoiser of latent clips; see the module's first lines."""

    def __init__(self, config: WanConfig):
        super().__init__()
        self.config = c = config
        self.time = TimeEmbedding(c.dim, c.time_frequencies)
        self.modulation = nn.Linear(c.dim, 6 * c.dim)
        self.text = text_rows(c.text_dim, c.dim)
        self.picture = None if c.picture_dim is None else PictureRows(c.picture_dim, c.dim, c.picture_positions)
        self.embed = PatchEmbed(c.in_channels + c.channel_door, c.dim, c.patch)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.head = Head(c.dim, c.in_channels, c.patch, eps=c.eps)
        xavier_(self)
        self.head.start()

    def compile_blocks(self) -> None:
        """Compile the blocks."""
        compile_each(self.blocks)

    def prepare(self, doors: Doors) -> Doors:
        """Compute what does not change over the sampler's steps: keys and values of the text, then of the pictures, in every block.

        Raises ValueError for pictures that the network has no way to read.
        """
        if doors.tokens is None or doors.keys_values is not None:
            return doors
        tokens = doors.tokens if doors.token_mask is None else collapsed(doors.tokens, doors.token_mask)
        rows = self.text(tokens)
        made = [block.cross.keys_values(rows) for block in self.blocks if isinstance(block, Block)]
        if doors.picture_tokens is not None:
            if self.picture is None:
                raise ValueError("this network reads text alone, and picture_tokens are given. Try an image-to-video model.")
            rows = self.picture(doors.picture_tokens)
            made += [block.cross.picture_keys_values(rows) for block in self.blocks if isinstance(block, Block)]
        return doors.with_(keys_values=tuple(made))

    def forward(
        self,
        x: Tensor,                                                          # (B, C, T, H, W)
        t: Tensor,                                                          # (B,) or (B, T)
        doors: Doors | None = None,
        *,
        frame_is_given: Tensor | None = None,                               # (B, T) bool; the level of a frame says as much
        frame_index: Tensor | None = None,                                  # (B, T) real, in latent frames
        frame_attends: Tensor | None = None,                                # (T, T) bool, True = may attend
        cache: None = None,
        run: Run = run_plain,
    ) -> Tensor:
        """The network's prediction, same shape as x. Any T; H and W are multiples of `config.patch`. Text is needed.

        The `residuals` door: maps (B, dim, T, H / patch, W / patch), the i-th added after block i. run: what runs the blocks, `StepCache.run`
        for instance.
        Raises ValueError if H or W is no multiple of `config.patch`, without text, and for a `vector` or a `cache`, which have no place here.
        """
        c, doors = self.config, doors or Doors()
        b, _, frames, height, width = x.shape
        check_call(x, c.patch, doors, cache, text=True, closed=("vector",))
        if doors.channels is not None:
            x = torch.cat([x, doors.channels], dim=1)
        if frame_index is None:
            frame_index = torch.arange(frames, dtype=torch.float32, device=x.device).expand(b, frames)
        levels = t[:, None] if t.dim() == 1 else t
        emb = self.time(levels)                                             # (B, 1 or T, D)
        modulation = self.modulation(F.silu(emb)).unflatten(-1, (6, c.dim)).unsqueeze(3)    # (B, 1 or T, 6, 1, D)

        tokens = self.embed(x)                                              # (B, T, S, D)
        turns = rotary_pairs(frame_index, height // c.patch, width // c.patch, c.dim // c.num_heads)
        doors = self.prepare(doors)
        assert doors.keys_values is not None
        keys_values, pictures = doors.keys_values[: c.depth], doors.keys_values[c.depth :]
        bias = None if doors.token_mask is None else log_counts(doors.token_mask, keys_values[0][0].shape[1])[:, None, None]

        for i, block in enumerate(self.blocks):
            tokens = run(block, tokens, modulation, turns, keys_values[i], bias, pictures[i] if pictures else None, frame_attends)
            if i < len(doors.residuals):
                tokens = tokens + doors.residuals[i].flatten(3).permute(0, 2, 3, 1)         # (B, D, T, h, w) to (B, T, S, D)

        return self.head.clip(tokens, emb, height, width)


class Block(nn.Module):
    """One layer; see the module's first lines."""

    def __init__(self, config: WanConfig):
        super().__init__()
        dim = config.dim
        self.eps = config.eps
        self.table = nn.Parameter(torch.randn(6, dim) / dim**0.5)
        self.attention = SelfAttention(dim, config.num_heads, config.eps)
        self.norm_cross = nn.LayerNorm(dim, eps=config.eps) if config.norm_before_text else nn.Identity()
        self.cross = CrossAttention(dim, config.num_heads, config.eps, pictures=config.picture_dim is not None)
        self.mlp = GELULayers(dim, config.mlp_dim)

    def forward(
        self,
        x: Tensor,                                                          # (B, T, S, D)
        modulation: Tensor,                                                 # (B, 1 or T, 6, 1, D)
        turns: Tensor,
        text: tuple[Tensor, Tensor],
        text_bias: Tensor | None,                                           # (B, 1, 1, L)
        picture: tuple[Tensor, Tensor] | None,
        frame_attends: Tensor | None,
    ) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.table[:, None]).unbind(2)     # (B, 1 or T, 1, D) each
        x = torch.addcmul(x, gate1, self.attention(modulated(x, shift1, scale1, self.eps), turns, frame_attends))
        x = x + self.cross(self.norm_cross(x), text, text_bias, picture)
        return torch.addcmul(x, gate2, self.mlp(modulated(x, shift2, scale2, self.eps)))


class SelfAttention(nn.Module):
    """Every token of the clip reads every other."""

    def __init__(self, dim: int, num_heads: int, eps: float):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm, self.k_norm = RMSNorm(dim, eps), RMSNorm(dim, eps)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, turns: Tensor, frame_attends: Tensor | None) -> Tensor:
        b, frames, cells, dim = x.shape
        q, k, v = self.qkv(x).view(b, frames * cells, 3, dim).unbind(2)
        q, k = self.q_norm(q.float()), self.k_norm(k.float())               # float32 until they have turned
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in (q, k, v))
        out = attend(rotate_pairs(q, turns).to(v.dtype), rotate_pairs(k, turns).to(v.dtype), v, (frames, cells), "full", frame_attends)
        return self.out(out.reshape(b, frames, cells, dim))


class CrossAttention(nn.Module):
    """Every token reads the rows of the text, and beside them those of pictures; both answers are added."""

    def __init__(self, dim: int, num_heads: int, eps: float, *, pictures: bool):
        super().__init__()
        self.num_heads = num_heads
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.q_norm, self.k_norm = RMSNorm(dim, eps), RMSNorm(dim, eps)
        if pictures:
            self.picture_kv, self.picture_norm = nn.Linear(dim, 2 * dim), RMSNorm(dim, eps)
        self.out = nn.Linear(dim, dim)

    def keys_values(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the text (B, L, D) to keys and values, (B, L, heads, head_dim) each."""
        k, v = self.kv(rows).chunk(2, dim=-1)
        return self._by_head(self.k_norm(k)), self._by_head(v)

    def picture_keys_values(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The same of the rows of pictures."""
        k, v = self.picture_kv(rows).chunk(2, dim=-1)
        return self._by_head(self.picture_norm(k)), self._by_head(v)

    def forward(self, x: Tensor, text: tuple[Tensor, Tensor], bias: Tensor | None, picture: tuple[Tensor, Tensor] | None) -> Tensor:
        q = self._by_head(self.q_norm(self.q(x)).flatten(1, 2))             # (B, N, heads, head_dim)
        out = read_rows(q, *text, bias)
        if picture is not None:
            out = out + softmax_attention(q, *picture)
        return self.out(out.reshape(x.shape))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))


def read_rows(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """`softmax_attention` with numbers added to the logits. On a CPU few rows are read by plain products, many queries at a time."""
    if bias is None or q.device.type != "cpu" or k.shape[1] > FEW:
        return softmax_attention(q, k, v, bias)
    k_t, v = (k * k.shape[-1] ** -0.5).permute(0, 2, 3, 1), v.transpose(1, 2)
    parts = q.transpose(1, 2).split(QUERIES, dim=2)                         # (B, heads, n, head_dim)
    read = [torch.softmax(torch.matmul(part, k_t) + bias, dim=-1, dtype=torch.float32).to(v.dtype) @ v for part in parts]
    return torch.cat(read, dim=2).transpose(1, 2)


class PictureRows(nn.Module):
    """Rows of an image encoder (B, L, picture_dim) to rows (B, L, D). Two pictures of a sample stand one behind the other."""

    def __init__(self, picture_dim: int, dim: int, positions: int | None):
        super().__init__()
        self.norm_in, self.norm_out = nn.LayerNorm(picture_dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(picture_dim, picture_dim), nn.GELU(), nn.Linear(picture_dim, dim))
        self.positions = None if positions is None else nn.Parameter(torch.zeros(positions, picture_dim))

    def forward(self, rows: Tensor) -> Tensor:
        if self.positions is not None:
            if rows.shape[1] != len(self.positions):
                raise ValueError(f"{rows.shape[1]} rows of pictures: this network reads {len(self.positions)}, those of a first and a last frame.")
            rows = rows + self.positions
        return self.norm_out(self.mlp(self.norm_in(rows)))
