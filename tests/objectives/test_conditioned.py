"""Clips and stills together, what the network is told, and which weights learn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clips import batch
from denoisers.unet_tiny import waken
from flipbook import systems
from flipbook.long.known import resized
from flipbook.objectives.base import build_objective
from flipbook.objectives.conditioned import Conditioned, ConditionedOptions, min_snr_weight
from flipbook.objectives.known import KnownFrames, any_places, some_places
from flipbook.process import VP, Cosine, Process
from flipbook.systems import imagen_video, videoldm
from flipbook.training.optim import Average, Optimizer, named_tensors
from flipbook.training.recipe import OptimizerRecipe

SEEDS = [11, 12, 13, 14]


def awake(system):
    waken(system.denoiser, only="inserts")
    waken(system.denoiser, only="conv_out")
    return system


def vdm():
    torch.manual_seed(0)
    return awake(systems.build("vdm", tiny=True))


def ordered(b, rows):
    return replace(
        b, video=b.video[rows], captions=[b.captions[i] for i in rows], frame_index=b.frame_index[rows], fps=b.fps[rows],
        index=[b.index[i] for i in rows], source=[b.source[i] for i in rows],
    )  # fmt: skip


def test_processes_that_share_weights_each_need_clips_and_stills_for_two_calls(monkeypatch):
    """Else one of them would wait for ever for a call that the others do not make."""
    o = build_objective("conditioned", vdm(), {"stills": 1, "form": "separate"})
    monkeypatch.setattr("flipbook.parallel.is_sharded", lambda tensor: True)
    assert o.loss(batch(2), SEEDS[:2]).loss.isfinite().all()
    with pytest.raises(ValueError, match=r"give clips alone.* Try a micro_batch of 2"):
        o.loss(batch(1), SEEDS[:1])
    build_objective("conditioned", vdm(), {"stills": 1, "form": "append"}).loss(batch(1), SEEDS[:1])
    monkeypatch.undo()
    o.loss(batch(1), SEEDS[:1])


def test_shuffling_the_stills_of_a_batch_leaves_every_loss_unchanged():
    o, rows = build_objective("conditioned", vdm(), {"stills": 3, "drop_text": 0.0}), [0, 3, 1, 2]
    shuffled = o.loss(ordered(batch(), rows), [SEEDS[i] for i in rows]).loss
    torch.testing.assert_close(shuffled, o.loss(batch(), SEEDS).loss[rows], atol=1e-5, rtol=1e-5)


def test_other_stills_behind_a_clip_leave_its_loss_unchanged_and_without_the_switch_they_do_not(monkeypatch):
    o, b = build_objective("conditioned", vdm(), {"stills": 3, "drop_text": 0.0}), batch()
    other = replace(b, video=torch.cat([b.video[:1], -b.video[1:]]))
    moved = lambda: (o.loss(b, SEEDS).loss - o.loss(other, SEEDS).loss).detach().abs()
    assert moved()[0] < 1e-6
    assert moved()[1:].min() > 1e-4
    net = o.system.denoiser
    monkeypatch.setattr(net, "forward", lambda *a, image_only=None, real=net.forward, **k: real(*a, **k))
    assert moved()[0] > 1e-4


def test_the_three_forms_give_every_row_the_same_loss():
    """Appended stills touch nothing, so they could as well be a call of their own, or of another process."""
    system, b = vdm(), batch()
    loss = {form: build_objective("conditioned", system, {"stills": 1, "form": form}).loss(b, SEEDS) for form in ("append", "separate")}
    torch.testing.assert_close(loss["append"].loss, loss["separate"].loss, atol=1e-5, rtol=1e-5)
    options = ConditionedOptions(stills=1, form="ranks")
    first, second = (Conditioned(system, options, (rank, 2)).loss(b, SEEDS) for rank in (0, 1))
    torch.testing.assert_close(first.loss[[1, 3]], loss["separate"].loss[[1, 3]], atol=1e-5, rtol=1e-5)      # rows that give stills
    torch.testing.assert_close(second.loss[[0, 2]], loss["separate"].loss[[0, 2]], atol=1e-5, rtol=1e-5)
    assert not first.parts["clips"].any()
    assert not second.parts["stills"].any()


def test_clips_and_stills_are_logged_apart_each_as_its_own_mean():
    o = build_objective("conditioned", vdm(), {"stills": 1})
    losses = o.loss(batch(), SEEDS)
    torch.testing.assert_close(losses.parts["clips"].mean(), losses.loss[[0, 2]].mean())
    torch.testing.assert_close(losses.parts["stills"].mean(), losses.loss[[1, 3]].mean())


def test_missing_stills_are_made_up_for_and_not_counted():
    """Three clips and one still: the call has a place behind each clip, and only one of them counts."""
    o = build_objective("conditioned", vdm(), {"stills": 1})
    b = replace(batch(), index=[0, 2, 4, 5])
    alone = [o.loss(ordered(b, [i]), [SEEDS[i]]).loss for i in range(4)]
    torch.testing.assert_close(o.loss(b, SEEDS).loss, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_forms_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"needs more processes.*separate"):
        build_objective("conditioned", vdm(), {"stills": 1, "form": "ranks"})
    with pytest.raises(ValueError, match=r"DiT cannot keep stills apart.*separate"):
        build_objective("conditioned", systems.build("thumb", tiny=True), {"stills": 1})
    with pytest.raises(ValueError, match=r"no such parameter group.*temporal"):
        build_objective("conditioned", vdm(), {"train": {"denoiser": "time"}})


@pytest.mark.parametrize("groups", ["temporal", ["temporal", "conditioning"], "spatial"])
def test_weights_outside_the_groups_keep_their_bits_and_so_does_their_average(groups):
    torch.manual_seed(0)
    system = awake(videoldm.build(videoldm.TINY))
    o = build_objective("conditioned", system, {"train": {"denoiser": groups}})
    before = {name: p.detach().clone() for name, p in system.denoiser.named_parameters()}
    model = o.trainable()
    optimizer, average = Optimizer(model, OptimizerRecipe(lr=1e-2)), Average(model, 0.5)
    o.loss(batch(), SEEDS).loss.mean().backward()
    optimizer.step(1.0)
    average.update(1)
    from flipbook.denoisers.unet import parameter_group

    wanted = {groups} if isinstance(groups, str) else set(groups)
    moved = {name for name, p in system.denoiser.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert {parameter_group(name) for name in moved} == wanted
    with average.in_place():
        held = {name.removeprefix("denoiser."): t for name, t in named_tensors(model).items()}
        assert all(torch.equal(held[name], before[name]) for name in before if name not in moved)


def test_only_hidden_frames_are_counted():
    """A perfect answer on them brings the loss to zero, whatever is said of the known ones."""
    torch.manual_seed(0)
    system = videoldm.build(replace(videoldm.TINY, kind="interpolation"))
    o = build_objective("conditioned", system, {"known": {"take": "ends"}})
    rows = o.rows(batch(), range(4), SEEDS, torch.full((4,), 0.5), False)
    perfect = system.process.target(rows.z0, rows.eps, rows.t).clone()
    perfect[:, :, [0, -1]] = 1e3
    assert o.errors(rows, perfect).abs().max() == 0
    perfect[:, :, 1] += 1.0
    assert o.errors(rows, perfect).min() == 1


def test_what_is_hidden_does_not_leak_into_what_is_told():
    torch.manual_seed(0)
    system = videoldm.build(replace(videoldm.TINY, kind="prediction"))
    o = build_objective("conditioned", system, {"known": {"take": "first", "counts": (1,)}})
    b, t = batch(), torch.full((4,), 0.5)
    other = b.video.clone()
    other[:, :, 1:] = 0.0
    told, again = (o.rows(one, range(4), SEEDS, t, False).doors.channels for one in (b, replace(b, video=other)))
    assert torch.equal(told, again)
    assert torch.equal(told[:, -1].amax((0, 2, 3)), torch.tensor([1.0, 0.0, 0.0]))
    assert told[:, :-1, 0].abs().max() > 0


def test_the_level_that_is_told_is_the_level_that_is_there():
    torch.manual_seed(0)
    system = imagen_video.build(replace(imagen_video.TINY, kind="spatial"))
    b = replace(batch(), video=torch.zeros(4, 3, 3, 16, 16))                 # of a black clip only the noise is left
    o = build_objective("conditioned", system, {"known": {"take": "small", "levels": (0.0, 1.0)}})
    doors = o.rows(b, range(4), SEEDS, torch.full((4,), 0.5), False).doors
    sigma = Cosine().sigma(doors.vector[:, 0])
    assert doors.vector[:, 0].std() > 0.05
    torch.testing.assert_close(doors.channels.flatten(1).std(1), sigma, atol=0.03, rtol=0.05)


def test_known_frames_enter_the_noisy_clip_at_their_own_level_frame_by_frame():
    torch.manual_seed(0)
    system = systems.build("lvdm", tiny=True)
    o = build_objective("conditioned", system, {"known": {"take": "first", "counts": (1,), "levels": (0.2, 0.2)}, "loss": "l1"})
    rows = o.rows(batch(), range(4), SEEDS, torch.full((4,), 0.9), False)
    assert rows.is_given.tolist() == [[True, False, False]] * 4
    torch.testing.assert_close(rows.t, torch.tensor([[0.2, 0.9, 0.9]]).expand(4, -1))
    path = system.process.path
    noise = (rows.x - path.alpha(torch.tensor(0.2)) * rows.z0)[:, :, 0] / path.sigma(torch.tensor(0.2))
    assert noise.std().item() == pytest.approx(1.0, abs=0.1)


def test_the_mask_sampler_always_hides_a_frame_and_gives_all_kinds():
    g = torch.Generator().manual_seed(0)
    kinds = [some_places(6, float(k), g) for k in torch.rand(400, generator=g)]
    assert all(len(places) < 6 for places in kinds)
    assert {(), (0,), (0, 5), (5,), (3, 4, 5)} <= set(kinds)
    assert 0.2 < sum(not places for places in kinds) / 400 < 0.35


def test_any_frames_may_be_known_none_of_them_or_all():
    g = torch.Generator().manual_seed(0)
    kinds = [any_places(4, float(k), g) for k in torch.rand(400, generator=g)]
    assert {(), (0, 1, 2, 3), (0, 3), (1, 2), (0, 2, 3)} <= set(kinds)
    assert 0.04 < sum(len(places) == 4 for places in kinds) / 400 < 0.2      # half of the clips, a fifth of those


@pytest.mark.parametrize("counted", [False, True])
def test_known_frames_are_in_the_loss_only_where_they_count(counted):
    torch.manual_seed(0)
    system = systems.build("make-a-video", tiny=True, kind="interpolation")
    o = build_objective("conditioned", system, {"known": {"take": "ends"}, "count_known": counted})
    rows = o.rows(batch(), range(4), SEEDS, torch.full((4,), 0.5), False)
    answer = o.predict(rows).detach()
    elsewhere = answer.clone()
    elsewhere[:, :, [0, -1]] += 1.0
    assert torch.equal(o.errors(rows, elsewhere), o.errors(rows, answer)) == (not counted)
    assert not torch.equal(o.errors(rows, answer + 1.0), o.errors(rows, answer))


@pytest.mark.parametrize("take", ["keys", "ends", "first", "some", "any"])
def test_a_still_is_told_no_frames_of_itself(take):
    g = torch.Generator().manual_seed(0)
    assert KnownFrames(take=take).of(torch.zeros(3, 1, 8, 8), g) is None


def test_a_first_frame_that_is_done_is_told_in_full_and_clean_in_its_share_of_the_clips():
    video = torch.rand(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    told = [KnownFrames(take="small", factor=4, levels=(0.1, 0.5), done=0.5).of(video, torch.Generator().manual_seed(k)) for k in range(200)]
    done = [known for known in told if known.clean]
    assert 70 < len(done) < 130
    small = resized(video[None], 4, 4)[0]
    for known in told:
        frames = resized(known.frames[None], 16, 16)[0]
        assert torch.equal(frames[:, 0], video[:, 0]) == bool(known.clean)
        torch.testing.assert_close(frames[:, 1:], resized(small[None], 16, 16)[0, :, 1:])
    assert all(known.clean == (0,) and known.level >= 0.1 for known in done)
    with pytest.raises(ValueError, match=r"known\.done=0\.5"):
        KnownFrames(take="ends", done=0.5)


def test_min_snr_caps_the_weight_of_clean_levels_on_every_prediction():
    t, path = torch.tensor([[0.1, 0.5, 0.9]]), VP(schedule="cosine")
    snr = (path.alpha(t) / path.sigma(t)).square()
    on_x0 = {"x0": torch.ones_like(t), "eps": snr, "v": snr + 1}              # loss on the prediction in units of the loss on x0
    for predicts, unit in on_x0.items():
        torch.testing.assert_close(min_snr_weight(Process(path, predicts), t, 5.0) * unit, snr.clamp(max=5.0), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="min_snr=0"):
        min_snr_weight(Process(path, "flow"), t, 5.0)


def test_offset_noise_is_one_number_for_all_frames_and_cells_of_a_channel():
    """Beside the plain noise, of the strength that is asked for, another one in each clip and channel; the state and the target hold it."""
    plain, shifted = (build_objective("conditioned", vdm(), {"drop_text": 0.0, "offset_noise": k}) for k in (0.0, 0.1))
    b, t = batch(), torch.full((4,), 0.7)
    with torch.no_grad():
        base, rows = (o.rows(b, range(4), SEEDS, t, False) for o in (plain, shifted))
        more = rows.eps - base.eps
        torch.testing.assert_close(more, more[:, :, :1, :1, :1].expand_as(more), atol=1e-6, rtol=0)
        assert more[:, :, 0, 0, 0].unique().numel() == 12                    # 4 clips of 3 channels
        torch.testing.assert_close(rows.x - base.x, plain.system.process.path.sigma(t)[:, None, None, None, None] * more, atol=1e-5, rtol=1e-5)
        many = [100 + n for n in range(60)]
        noises = [torch.cat([o.rows(b, [0], [seed], t[:1], False).eps for seed in many]) for o in (plain, shifted)]
        assert (noises[1] - noises[0])[:, :, 0, 0, 0].std().item() == pytest.approx(0.1, rel=0.2)
        alone = shifted.rows(b, [2], SEEDS, t, False)
        assert torch.equal(alone.eps[0], rows.eps[2])


def test_an_expert_sees_its_own_range_of_noise_alone():
    o = build_objective("conditioned", vdm(), {"times": (0.0, 0.3)})
    assert o.loss(batch(), SEEDS).t.max() < 0.3
    t = o._times(replace(batch(), index=list(range(500))), list(range(500)))
    assert 0.27 < t.max() < 0.3


def test_fine_tuning_a_decoder_moves_its_layers_over_time_and_nothing_else():
    torch.manual_seed(0)
    system = videoldm.build(videoldm.TINY)
    o = build_objective("decoding", system, {})
    before = {name: p.detach().clone() for name, p in system.autoencoder.named_parameters()}
    optimizer = Optimizer(o.trainable(), OptimizerRecipe(lr=1e-2))
    for _ in range(2):
        o.loss(batch(), SEEDS).loss.mean().backward()
        optimizer.step(1.0)
    moved = {name for name, p in system.autoencoder.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert moved <= {name for name, _ in system.autoencoder.temporal_parameters()}
    with pytest.raises(ValueError, match="one by one"):
        build_objective("decoding", vdm(), {})


def test_the_prior_learns_and_nothing_else():
    torch.manual_seed(0)
    system = systems.build("make-a-video", tiny=True)
    o = build_objective("prior", system, {"drop_text": 0.0})
    o.loss(batch(), SEEDS).loss.mean().backward()
    assert any(p.grad is not None and p.grad.any() for p in system.text_encoder.parameters())
    assert all(p.grad is None for part in (system.denoiser, system.image_encoder) for p in part.parameters())
    with pytest.raises(ValueError, match="no text prior"):
        build_objective("prior", vdm(), {})


# ---------------------------------------------------------------- entering


def rows_of(o, b):
    return o.rows(b, range(len(b)), SEEDS, torch.full((len(b),), 0.5), False)


def test_each_clip_of_a_batch_is_told_its_own_frame_rate():
    torch.manual_seed(0)
    o = build_objective("conditioned", awake(systems.build("videocrafter", tiny=True)), {"drop_text": 0.0})
    o.system.denoiser.eval()                                                 # no dropout
    mixed, same = replace(batch(), fps=torch.tensor([8.0, 4.0, 8.0, 2.0])), batch()
    rows = rows_of(o, mixed)
    assert rows.doors.vector.flatten().tolist() == [8.0, 4.0, 8.0, 2.0]
    for row, rate in enumerate(mixed.fps.tolist()):                          # all else of a row is as in a batch of its own rate
        alone = rows_of(o, replace(same, fps=torch.full((4,), rate)))
        torch.testing.assert_close(o.predict(rows)[row], o.predict(alone)[row], atol=1e-5, rtol=1e-5)


def test_frames_are_counted_as_sampling_will_count_them():
    torch.manual_seed(0)
    sparse = replace(batch(), frame_index=2 * batch().frame_index, fps=torch.full((4,), 4.0))
    plain = build_objective("conditioned", systems.build("animatediff", tiny=True), {})
    timed = build_objective("conditioned", vdm(), {})
    assert rows_of(plain, sparse).index[0].tolist() == [0.0, 1.0, 2.0]
    assert rows_of(timed, sparse).index[0].tolist() == [0.0, 2.0, 4.0]


def animating(**options):
    torch.manual_seed(0)
    return build_objective("conditioned", awake(systems.build("svd", tiny=True)), {"animate": True, "drop_text": 1.0, **options})


def test_an_animation_is_told_its_own_first_picture_and_how_much_moves_and_a_tenth_of_them_nothing():
    o = animating()
    b = replace(batch(), extra=[{"motion": motion} for motion in (0.0, 0.03, 0.06, 0.6)])
    rows = rows_of(o, b)
    assert rows.doors.vector[:, 0].tolist() == [7.0] * 4                     # fps - 1
    assert rows.doors.vector[:, 1].tolist() == [0.0, 127.5, 255.0, 255.0]
    levels = rows.doors.vector[:, 2]
    assert ((levels > 0.005) & (levels < 0.5)).all()
    assert len(set(levels.tolist())) == 4
    other = b.video.clone()
    other[:, :, 1:] *= -1.0                                                  # the frames after the first say nothing
    assert torch.equal(rows_of(o, replace(b, video=other)).doors.channels, rows.doors.channels)
    assert not torch.equal(rows_of(o, replace(b, video=-b.video)).doors.channels, rows.doors.channels)
    told = torch.cat([o.rows(b, range(4), [100 * k + row for row in range(4)], torch.full((4,), 0.5), False).doors.tokens.any((1, 2)) for k in range(40)])
    assert 0.04 < 1 - told.float().mean() < 0.18
    with pytest.raises(ValueError, match="motion: true"):
        rows_of(o, batch())


def test_levels_are_log_normal_where_a_stage_draws_them_so():
    o = animating(log_normal=(0.7, 1.6))
    n = 400
    many = replace(batch(1), index=list(range(n)), video=batch(1).video.expand(n, -1, -1, -1, -1))
    ratio = torch.tan(o._times(many, list(range(n))).double() * torch.pi / 2).log()
    assert ratio.mean().item() == pytest.approx(0.7, abs=0.05)
    assert ratio.std().item() == pytest.approx(1.6, abs=0.1)
