"""What is true about a clip, read off its layers: who is seen where, how far away, and where each point goes next."""

from __future__ import annotations

import numpy as np

from .layers import Stack

CANVAS_DEPTH = 10.0
_TO_CANVAS = -1


def visible_shares(stack: Stack) -> np.ndarray:
    """How much of each pixel every layer is seen in, behind those nearer: float32 (L, T, H, W)."""
    shape = stack.canvas.shape[1:]
    shares = np.zeros((len(stack.layers), *shape), np.float32)
    free = np.ones(shape, np.float32)
    for k in range(len(stack.layers) - 1, -1, -1):
        y0, y1, x0, x1 = stack.layers[k].box
        window = free[:, y0:y1, x0:x1]
        shares[k, :, y0:y1, x0:x1] = window * stack.layers[k].coverage
        window *= np.float32(1.0) - stack.layers[k].coverage
    return shares


def object_masks(stack: Stack, num_objects: int) -> np.ndarray:
    """Pixels in which each object is seen at least by half, bool (N, T, H, W)."""
    shares = visible_shares(stack)
    seen = np.zeros((num_objects, *shares.shape[1:]), np.float32)
    for layer, share in zip(stack.layers, shares, strict=True):
        if layer.object is not None:
            seen[layer.object] += share
    return seen >= 0.5


def mask_boxes(masks: np.ndarray) -> np.ndarray:
    """[x0, y0, x1, y1] in [0, 1] around every mask (N, T, H, W), float32 (N, T, 4); zeros where nothing is seen."""
    height, width = masks.shape[-2:]
    boxes = np.zeros((*masks.shape[:2], 4), np.float32)
    for axis, size, places in ((-2, width, (0, 2)), (-1, height, (1, 3))):
        line = np.asarray(masks.any(axis=axis))
        seen = np.asarray(line.any(axis=-1))
        boxes[..., places[0]] = np.where(seen, line.argmax(axis=-1) / size, 0.0)
        boxes[..., places[1]] = np.where(seen, 1.0 - line[..., ::-1].argmax(axis=-1) / size, 0.0)
    return boxes


def top_layer(stack: Stack) -> np.ndarray:
    """Index of the nearest layer that covers at least half of each pixel, int16 (T, H, W); -1 is the canvas."""
    owner = np.full(stack.canvas.shape[1:], _TO_CANVAS, np.int16)
    for k, layer in enumerate(stack.layers):
        y0, y1, x0, x1 = layer.box
        owner[:, y0:y1, x0:x1][layer.coverage >= 0.5] = k
    return owner


def depth_map(stack: Stack) -> np.ndarray:
    """Depth of what is seen, float32 (T, H, W): larger is farther, the canvas lies at 10."""
    return np.array([layer.depth for layer in stack.layers] + [CANVAS_DEPTH], np.float32)[top_layer(stack)]


def contours(stack: Stack) -> np.ndarray:
    """Borders between objects, scenery and canvas, bool (T, H, W): the right or lower neighbour is another thing."""
    things = [layer.object if layer.object is not None else 1000 + k for k, layer in enumerate(stack.layers)]
    owner = np.array([*things, _TO_CANVAS])[top_layer(stack)]
    edges = np.zeros(owner.shape, bool)
    edges[:, :, :-1] |= owner[:, :, :-1] != owner[:, :, 1:]
    edges[:, :-1] |= owner[:, :-1] != owner[:, 1:]
    return edges


def flow_fields(stack: Stack, *, backward: bool = False) -> np.ndarray:
    """Where the point seen in each pixel is one frame later (or earlier): float32 (T - 1, H, W, 2), (dx, dy) in pixels.

    Forward field i lives on the grid of frame i, and frame_{i+1}(p + f(p)) = frame_i(p); backward field i lives on the
    grid of frame i + 1 and leads to frame i. Where a point is hidden or outside in the other frame, it says where.
    """
    num_frames, height, width = stack.canvas.shape[1:]
    owner = top_layer(stack)
    flow = np.empty((num_frames - 1, height, width, 2), np.float32)
    poses = [layer.pose for layer in stack.layers] + [stack.pose]
    for i in range(num_frames - 1):
        here, there = (i + 1, i) if backward else (i, i + 1)
        for k in np.unique(owner[here]):
            y, x = np.nonzero(owner[here] == k)
            flow[i, y, x] = _displacement(poses[k][here], poses[k][there], x + 0.5, y + 0.5)
    return flow


def _displacement(here: np.ndarray, there: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """From the picture to the thing's own coordinates in one pose, and back by the other, minus the start: (P, 2)."""
    x0, y0, a, b = here
    square = a * a + b * b
    p = (a * (x - x0) + b * (y - y0)) / square
    q = (a * (y - y0) - b * (x - x0)) / square
    x1, y1, a, b = there
    return np.stack([x1 + a * p - b * q - x, y1 + b * p + a * q - y], axis=-1)


def camera_motion(stack: Stack) -> np.ndarray:
    """How the camera moves the picture, float32 (T, 3): shift right and down in units of S, zoom about the middle."""
    height, width = stack.canvas.shape[2:]
    zoom = stack.view[:, 2]
    shift = stack.view[:, :2] - np.array([width, height]) / 2.0 * (1.0 - zoom)[:, None]
    return np.concatenate([shift / min(height, width), zoom[:, None]], axis=1).astype(np.float32)
